"""``make demo``: the main job on real input, with the real kubectl; non-zero when it is wrong.

Boots three nodes, applies the article, waits by watching, looks around as its reader would, traces
three packets, runs one chaos scenario and stops. With ``--kubeconfig FILE`` it tours a cluster that
runs already (``make demo-compose``), which must enforce policies (calico), and leaves it running.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NAME = "demo"


class WrongError(Exception):
    """A step of the demo did not show what it must."""


def run(*argv: str, expect: str = "", code: int = 0, quiet: bool = False) -> str:
    """Run a command as a reader would type it; its output must contain ``expect`` (a regex)."""
    print(f"\n$ {' '.join(argv)}", flush=True)
    program = str(BIN / argv[0])
    done = subprocess.run(
        [program, *argv[1:]], capture_output=True, text=True, check=False, timeout=120
    )
    output = done.stdout + done.stderr
    if not quiet:
        print(output.rstrip(), flush=True)
    if done.returncode != code:
        raise WrongError(f"{' '.join(argv)}: exit code {done.returncode}, not {code}\n{output}")
    if expect and re.search(expect, output) is None:
        raise WrongError(f"{' '.join(argv)}: printed nothing like {expect!r}\n{output}")
    return output


def place(selector: str, namespace: str = "default") -> dict[str, str]:
    """Pods that a selector matches -> the node each runs on."""
    listed = run(
        "kubectl", "get", "pods", "-n", namespace, "-l", selector,
        "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{'\\n'}{end}", quiet=True,
    )  # fmt: skip
    return dict(line.split() for line in listed.splitlines())


def workloads(namespace: str) -> list[str]:
    """DaemonSets and Deployments of a namespace, as kubectl names them."""
    return run(
        "kubectl", "get", "daemonsets,deployments", "-n", namespace, "-o", "name", quiet=True
    ).split()


def traces(*cluster: str) -> None:
    """Same node, across nodes, and a denial that says what would help."""
    frontends, backends = place("app=frontend"), place("app=backend")
    near = [(f, b) for f, n in frontends.items() for b, m in backends.items() if n == m]
    far = [(f, b) for f, n in frontends.items() for b, m in backends.items() if n != m]
    if not near or not far:
        raise WrongError(f"no same-node and cross-node pair in {frontends} and {backends}")
    run("podwire", "trace", *cluster, f"pod/{near[0][0]}", f"pod/{near[0][1]}:8080",
        expect="DELIVERED")  # fmt: skip
    across = run("podwire", "trace", *cluster, f"pod/{far[0][0]}", f"pod/{far[0][1]}:8080",
                 expect="DELIVERED")  # fmt: skip
    if "flannel.1" not in across or "encap" not in across:
        raise WrongError("the packet across nodes did not pass the VXLAN device")
    run("podwire", "trace", *cluster, "deploy/frontend", "svc/backend:80",
        expect=r"branches: 3 of 3 DELIVERED")  # fmt: skip
    run("podwire", "trace", *cluster, "deploy/frontend", "svc/backend:80",
        "--destination-namespace", "production", code=1,
        expect=r"(?s)DENIED_IN.*nearest +add")  # fmt: skip
    run("podwire", "trace", *cluster, "external", "ingress/app-ingress",
        "--url", "https://app.example.com/api",
        expect=r"(?s)rule app.example.com /api .*2 of 2 DELIVERED")  # fmt: skip


def tour(*cluster: str) -> None:
    """What a reader of the article does; ``cluster`` are the flags that name it to podwire."""
    run("kubectl", "get", "nodes", expect=r"(?s)node-1 +Ready.*node-3 +Ready")
    run("kubectl", "apply", "-f", str(ROOT / "examples/article"), expect=r"created|unchanged")
    print("\n • Waiting for the workloads by watching ...", flush=True)
    for workload in ("deployment/backend", "deployment/frontend", "deployment/api",
                     "statefulset/stateful-app"):  # fmt: skip
        run("kubectl", "rollout", "status", workload, "--timeout=60s")
    run("kubectl", "rollout", "status", "-n", "production", "deployment/backend",
        "--timeout=60s")  # fmt: skip
    run("kubectl", "wait", "--for=jsonpath={.status.loadBalancer.ingress}", "ingress/app-ingress",
        "--timeout=60s", expect="condition met")  # fmt: skip
    run("kubectl", "get", "pods,svc,endpointslices", "-o", "wide", expect="frontend")
    run("kubectl", "exec", "deploy/frontend", "--", "nslookup", "backend",
        expect=r"backend\.default\.svc\.cluster\.local")  # fmt: skip
    run("kubectl", "exec", "deploy/frontend", "--", "curl", "-s", "http://backend",
        expect="NOW:")  # fmt: skip
    traces(*cluster)
    run("podwire", "chaos", "run", str(ROOT / "examples/chaos/pod-kill.yaml"), "--seed", "7",
        expect=r"trace-hash: [0-9a-f]{32}")  # fmt: skip


def with_cluster_of_its_own() -> None:
    """Boot, tour, stop."""
    print(" • Booting three nodes ...", flush=True)
    run("podwire", "up", "--name", NAME, "--nodes", "3", "--cni", "calico", "--detach", "--wait",
        "--time-profile", "fast", expect="Nodes and kube-system Ready")  # fmt: skip
    try:
        tour("--name", NAME)
    finally:
        run("podwire", "down", "--name", NAME, expect="Stopped")


def with_running_cluster(file: str) -> None:
    """Tour a cluster that somebody else started; it may still be booting."""
    print(f" • Waiting for the cluster of {file} ...", flush=True)
    run("kubectl", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    agents = {namespace: workloads(namespace) for namespace in ("kube-system", "ingress-nginx")}
    for namespace, names in agents.items():
        for workload in names:
            run("kubectl", "rollout", "status", "-n", namespace, workload, "--timeout=60s")
    if not any("calico" in name for name in agents["kube-system"]):
        raise WrongError(
            "the demo denies packets by NetworkPolicies, which this cluster's CNI does not "
            "enforce: start it with calico (PODWIRE_CNI=calico docker compose up -d)"
        )
    tour("--kubeconfig", file)


def main() -> None:
    """Tour the cluster that the command line names, or one of its own."""
    parser = argparse.ArgumentParser(description="Apply the article, trace its packets.")
    parser.add_argument("--kubeconfig", metavar="FILE", help="of a cluster that runs already")
    file = parser.parse_args().kubeconfig
    if file and not Path(file).is_file():
        parser.error(f"--kubeconfig: {file} is no file; docker compose up -d makes one in .podwire")
    with tempfile.TemporaryDirectory() as home:
        # The reader's own kubeconfig and state stay untouched.
        own = Path(home) / "kubeconfig"
        os.environ["KUBECONFIG"] = str(Path(file).absolute() if file else own)
        os.environ["XDG_STATE_HOME"] = str(Path(home) / "state")
        os.environ["HOME"] = home
        try:
            if file:
                with_running_cluster(file)
            else:
                with_cluster_of_its_own()
        except WrongError as wrong:
            print(f"\n ✗ {wrong}", file=sys.stderr)
            sys.exit(1)
    print("\n ✓ All as it should be.")


if __name__ == "__main__":
    main()
