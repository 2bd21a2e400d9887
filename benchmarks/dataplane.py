"""The dataplane: new connections and established flows carried by hand, rules loaded, forks.

Two nodes, flannel's VXLAN, kube-proxy's own iptables rules; no fabric, no sockets, no time.
"""

from __future__ import annotations

import gc
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest import mock

import msgspec

from benchmarks import proxy
from podwire.dataplane.commands import Command, NftApply, RulesRestore
from podwire.dataplane.emit import Deliver, Recorder, ToWire
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.netfilter import compile as compiled
from podwire.dataplane.netfilter import interpret
from podwire.dataplane.packet import ACK, PSH, SYN, Packet
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab

MANY, FEW, PODS = 10_000, 100, 5
HOT = 64
"""Destinations that most figures are told for: as many Services as a busy pod speaks to."""
RUNS = 5
NETNS = "pwbench"
CONFIG = Config(cluster_cidr="10.244.0.0/16")
Took = tuple[float, float]
"""Seconds on the wall and of the processor."""


def _timed(call: Callable[[], Any]) -> Took:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _median(runs: Sequence[Took]) -> Took:
    """The median run by processor time."""
    return sorted(runs, key=lambda took: took[1])[len(runs) // 2]


def _repeated(call: Callable[[], Any], runs: int = RUNS) -> Took:
    """The median of so many runs."""
    return _median([_timed(call) for _ in range(runs)])


def _rate(number: int, took: Took) -> str:
    return f"{number / took[0]:,.0f}/s ({number / took[1]:,.0f}/s of processor time)"


def rules(services: int, mode: str = "iptables", first: int = 0) -> tuple[Command, ...]:
    """A node's commands for Services of five endpoints each, all on node-2: ``s<first>`` ..."""
    facts = NodeFacts("node-1", "", ("192.168.0.11",))
    one = Proxier(MODES[mode], MODES[mode].settings(CONFIG, facts, "ipv4"), facts, Shared())
    ends = [{"addresses": [f"10.244.2.{k + 2}"], "nodeName": "node-2"} for k in range(PODS)]
    for number in range(first, first + services):
        made = proxy.endpoint_slice(number)
        body = {**msgspec.to_builtins(made), "endpoints": ends}
        one.service(None, proxy.service(number, local=False))
        one.slice(None, msgspec.convert(body, type(made)))
    existing = {("iptables-save",): "", ("nft", "list", "ruleset"): ""}
    plan = one.plan(full=True, existing=existing)
    assert plan is not None
    return tuple(plan.commands)


class Path:
    """Two nodes with the same rules: pod a1 on node-1, the endpoints on node-2."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.lab = Lab(nodes=2, pods=PODS)
        for node in ("node-1", "node-2"):
            self.lab.run(node, *commands)
        for letter in "abcde":
            self.lab.listen("node-2", f"{letter}2", 8080)
        self.client = self.lab.world.kernels["node-1"]
        self.server = self.lab.world.kernels["node-2"]
        self._ports = count()
        for number in range(40):  # every pair of neighbours has met
            self.lab.send("node-1", "a1", self.syn(number % 3))
        self.lab.settle([])

    def syn(self, service: int) -> Packet:
        """The first packet of another connection."""
        port = 10_000 + next(self._ports) % 50_000
        return Packet("10.244.1.2", proxy.cluster_ip(service), "tcp", port, 80, SYN)

    def connect(self, service: int, *, read: bool) -> None:
        """One traced SYN, from the pod to the endpoint's socket; ``read``: also look at it."""
        there, far = Recorder(), Recorder()
        now = self.lab.now
        (sent,) = self.client.send("a1", self.syn(service), now, there)
        assert isinstance(sent, ToWire)
        (got,) = self.server.receive("eth0", sent.frame, now, far)
        assert isinstance(got, Deliver)
        if read:
            assert there.steps
            assert far.steps

    def connections(self, number: int, services: Sequence[int], *, read: bool = False) -> None:
        """That many new connections, the Services in turn; a microsecond apart."""
        for i in range(number):
            self.lab.now += 1_000
            self.connect(services[i % len(services)], read=read)

    def establish(self, number: int) -> list[tuple[str, Packet, Packet]]:
        """Connections that shook hands: the endpoint's namespace, a packet there and one back."""
        found = []
        for i in range(number):
            asked = self.syn(i)
            ends = (asked.src, asked.src_port, asked.dst, asked.dst_port)
            self.client.connect_socket("a1", "tcp", *ends)
            (_, netns, arrived) = next(
                (n, e.netns, e.packet)
                for n, e in self.lab.send("node-1", "a1", asked)
                if isinstance(e, Deliver)
            )
            back = Packet(
                arrived.dst, arrived.src, "tcp", arrived.dst_port, arrived.src_port, SYN | ACK
            )
            self.lab.send("node-2", netns, back)
            there = msgspec.structs.replace(asked, tcp_flags=PSH | ACK, size_bytes=500)
            self.lab.send("node-1", "a1", there)
            answer = msgspec.structs.replace(back, tcp_flags=PSH | ACK, size_bytes=1400)
            self.lab.send("node-2", netns, answer)
            found.append((netns, there, answer))
        return found

    def talk(self, number: int, flows: list[tuple[str, Packet, Packet]]) -> None:
        """That many packets on established flows, through both nodes, every second one back."""
        client, server, now = self.client, self.server, self.lab.now
        for i in range(number // 2):
            netns, there, back = flows[i % len(flows)]
            now += 1_000
            (sent,) = client.send("a1", there, now)
            server.receive("eth0", sent.frame, now)  # type: ignore[union-attr]
            (sent,) = server.send(netns, back, now)
            (got,) = client.receive("eth0", sent.frame, now)  # type: ignore[union-attr]
            assert type(got) is Deliver
        self.lab.now = now


def _packets(path: Path, few: Path) -> dict[str, str]:
    told, number = {}, 4_000
    hot = range(HOT)
    for each in (path, few):
        each.connections(PODS * HOT * 40, hot)  # every endpoint of every Service was met
    pairs = [
        (
            _timed(lambda: path.connections(number, hot)),
            _timed(lambda: few.connections(number, hot)),
        )
        for _ in range(RUNS)
    ]
    many = _median([a for a, _ in pairs])
    label = "traced new connections, two nodes, VXLAN"
    told[f"{label}, 10,000 Services"] = _rate(number, many)
    ratio = statistics.median(a[1] / b[1] for a, b in pairs)
    told["its processor time / that with 100 Services"] = f"{ratio:.2f}"
    read = _repeated(lambda: path.connections(number, hot, read=True), 3)
    told["the same, every step read"] = _rate(number, read)
    spread = _repeated(lambda: path.connections(MANY, range(MANY)), 3)
    told["the same, every Service in turn (each met for the 1st to 3rd time)"] = _rate(MANY, spread)
    flows = path.establish(HOT)
    path.talk(4 * HOT, flows)
    talked = _repeated(lambda: path.talk(4 * number, flows))
    told["packets on established flows, two nodes, VXLAN"] = _rate(4 * number, talked)
    for kernel in path.lab.world.kernels.values():
        kernel.paths = None
    plain = _repeated(lambda: path.connections(number // 8, hot))
    told["traced new connections by the plain road alone"] = _rate(number // 8, plain)
    talked = _repeated(lambda: path.talk(number // 2, flows))
    told["packets on established flows by the plain road alone"] = _rate(number // 2, talked)
    return told


def _interpreters(path: Path) -> dict[str, str]:
    """Rules only: one packet's walk through nat PREROUTING, compiled and plain, in turn."""
    from podwire.dataplane.netfilter.env import Env, RngChance  # noqa: PLC0415
    from podwire.dataplane.skb import Skb  # noqa: PLC0415

    ns = path.client.netns("")
    nf = ns.netfilter

    def walked(walk: Callable[..., Any], number: int) -> list[Any]:
        chance, found = RngChance(SeededRng(3)), []
        for i in range(number):
            to = proxy.cluster_ip(i * 97 % MANY)
            packet = Packet("10.244.1.2", to, "tcp", 20_000 + i, 80, SYN)
            env = Env(ns, path.lab.now, chance, "nat", nf)
            found.append(walk(nf, "nat", "PREROUTING", Skb(packet, in_dev="cni0"), env, None))
        return found

    number = 50
    assert walked(compiled.walk, number) == walked(interpret.walk, number)
    ratios = []
    for _ in range(RUNS):
        fast = _timed(lambda: [walked(compiled.walk, number) for _ in range(20)])[1] / 20
        slow = _timed(lambda: walked(interpret.walk, number))[1]
        ratios.append(fast / slow)
    return {"nat walk, compiled / plain interpreter, 10,000 Services": (
        f"{statistics.median(ratios):.5f} (verdicts equal)"
    )}  # fmt: skip


@contextmanager
def _namespace() -> Iterator[list[str]]:
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    try:
        yield ["ip", "netns", "exec", NETNS]
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], check=True)


def _loads() -> dict[str, str]:
    """The same text into a namespace of this machine and into a modelled kernel, in turn."""
    if not shutil.which("iptables-legacy-restore") or not shutil.which("nft"):
        return {"rule text against the kernel": "skipped: no iptables-legacy-restore or nft"}
    told = {}
    for mode, argv in (
        ("iptables", ["iptables-legacy-restore", "--noflush"]),
        ("nftables", ["nft", "-f", "-"]),
    ):
        for services in (1_000, 4_000):
            pairs = [_load(mode, argv, services, MANY + run * services) for run in range(3)]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            label = f"{mode} text of {services:,} Services loaded: ours / {argv[0]}"
            told[label] = f"{ours * 1e3:.0f} / {theirs * 1e3:.0f} ms, ratio {ratio:.2f}"
    return told


def _load(mode: str, argv: list[str], services: int, first: int) -> tuple[float, float]:
    """Wall seconds of both; a text that this process has not seen before."""
    commands = [c for c in rules(services, mode, first) if isinstance(c, RulesRestore | NftApply)]
    kernel = Kernel("n", SeededRng(1))
    ours = _timed(lambda: [kernel.execute(command, 0) for command in commands])[0]
    with _namespace() as inside:
        began = time.perf_counter()
        for command in commands:
            subprocess.run([*inside, *argv], input=command.text, text=True, check=True)
        theirs = time.perf_counter() - began
    return ours, theirs


def _forks() -> dict[str, str]:
    """A cluster of 1,000 pods on nine nodes."""
    lab = Lab(nodes=9, pods=8)
    for i in range(1, 10):
        for k in range(8, 112):
            lab.pod(i, f"p{k}-", k + 2)
    twins: list[Any] = []
    took = _repeated(lambda: twins.append(lab.world.fork()))
    pods = sum(len(kernel.namespaces()) - 1 for kernel in lab.world.kernels.values())
    return {f"fork of a cluster of {pods:,} pods": f"{took[0] * 1e3:.2f} ms"}


def dataplane() -> dict[str, str]:
    """All figures of this file."""
    path, few = Path(rules(MANY)), Path(rules(FEW))
    gc.collect()
    gc.freeze()
    told = {**_packets(path, few), **_interpreters(path)}
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told["resident memory with both worlds"] = f"{resident_mb:.0f} MiB"
    with mock.patch.dict("os.environ", {"LC_ALL": "C"}):
        told |= _loads()
    return {**told, **_forks()}
