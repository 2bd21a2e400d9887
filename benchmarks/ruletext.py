"""Rule text becoming a kernel's state: loaded, loaded again elsewhere, changed, first met.

Processor time of both sides, and the wall beside it: the machine may be shared. What this process
spends includes the one collection of garbage that ends the load of a large text.
"""

from __future__ import annotations

import gc
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from benchmarks import proxy
from benchmarks.dataplane import MANY, rules
from podwire.dataplane.commands import NftApply, RulesRestore
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.netfilter import compile as program
from podwire.dataplane.netfilter import show
from podwire.dataplane.netfilter.env import Env, RngChance
from podwire.dataplane.packet import SYN, Packet
from podwire.dataplane.skb import Skb
from podwire.kube_proxy.core import Shared
from podwire.runtime.rng import SeededRng

RUNS = {1_000: 7, 4_000: 3}
TOOLS = {
    "iptables": ["iptables-legacy-restore", "--noflush"],
    "nftables": ["nft", "-f", "-"],
}
NETNS = "pwbench"
Took = tuple[float, float]
"""Seconds of the processor and on the wall."""


def _timed(call: Callable[[], Any]) -> Took:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


@contextmanager
def _namespace() -> Iterator[list[str]]:
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    try:
        yield ["ip", "netns", "exec", NETNS]
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], check=True)


def _spent() -> float:
    """Processor seconds of the children so far, in user space and in the kernel."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pair(mode: str, services: int, first: int) -> tuple[Took, Took]:
    """A text that this process has not seen before: ours, the real kernel's."""
    commands = [c for c in rules(services, mode, first) if isinstance(c, RulesRestore | NftApply)]
    kernel = Kernel("n", SeededRng(1))
    ours = _timed(lambda: [kernel.execute(command, 0) for command in commands])
    with _namespace() as inside:
        spent, began = _spent(), time.perf_counter()
        for command in commands:
            subprocess.run([*inside, *TOOLS[mode]], input=command.text, text=True, check=True)
        theirs = _spent() - spent, time.perf_counter() - began
    return ours, theirs


def _against_the_kernel() -> dict[str, str]:
    """The same text into a namespace of this machine and into a modelled kernel, in turn."""
    if not shutil.which("iptables-legacy-restore") or not shutil.which("nft"):
        return {"rule text against the kernel": "skipped: no iptables-legacy-restore or nft"}
    told = {}
    for mode, (tool, *_) in TOOLS.items():
        _pair(mode, 100, 2 * MANY)
        for services, runs in RUNS.items():
            pairs = [_pair(mode, services, MANY + run * services) for run in range(runs)]
            words = []
            for clock, which in enumerate(("processor", "wall")):
                ours = statistics.median(a[clock] for a, _ in pairs) * 1e3
                theirs = statistics.median(b[clock] for _, b in pairs) * 1e3
                ratio = statistics.median(a[clock] / b[clock] for a, b in pairs)
                words.append(f"{which} {ours:.0f} / {theirs:.0f} ms, ratio {ratio:.2f}")
            told[f"{mode} text of {services:,} Services: ours / {tool}"] = "; ".join(words)
    return told


def _ms(took: Took) -> str:
    return f"{took[0] * 1e3:.2f} ms"


def _ten_thousand() -> dict[str, str]:
    """Iptables mode, 10,000 Services of five endpoints; processor time."""
    shared = Shared()
    services, slices = proxy.services_of(shared), proxy.slices_of(shared)
    one = proxy.Node("n0", shared, services, slices)
    two = proxy.Node("n1", shared, services, slices)
    plan, same = one.build(), two.build()
    told = {"10,000 Services x 5, first kernel": _ms(_timed(lambda: one.load(plan)))}
    told["the same text, second kernel"] = _ms(_timed(lambda: two.load(same)))
    loads = []
    for number in range(5):
        old = slices[f"default/s{number}-x"]
        one.proxier.slice(old, proxy.endpoint_slice(number, number + 2, proxy.ENDPOINTS - 1))
        step = one.proxier.plan(full=False)
        assert step is not None
        loads.append(_timed(lambda step=step: one.load(step)))  # type: ignore[misc]
    lines = sum(c.text.count("\n") for c in step.commands if isinstance(c, RulesRestore))
    label = f"one endpoint gone: its {lines:,} lines loaded with --noflush"
    told[label] = _ms(sorted(loads)[len(loads) // 2])
    return {**told, **_first_packets(two.kernel)}


def _first_packets(kernel: Kernel) -> dict[str, str]:
    """What the first packet of a chain pays; 500 Services."""
    ns, chance = kernel.netns(""), RngChance(SeededRng(3))
    nf = ns.netfilter

    def walk(number: int) -> float:
        to = proxy.cluster_ip(number)
        skb = Skb(Packet("10.244.1.2", to, "tcp", 20_000 + number, 80, SYN), in_dev="cni0")
        env = Env(ns, 0, chance, "nat", nf)
        began = time.process_time()
        program.walk(nf, "nat", "PREROUTING", skb, env, None)
        return (time.process_time() - began) * 1e3

    told = {"first packet of all (KUBE-SERVICES is indexed)": f"{walk(0):.1f} ms"}
    each = sorted(walk(number) for number in range(1, 500))
    told["first packet of a Service (two chains): median"] = f"{each[250]:.3f} ms"
    each = sorted(walk(number) for number in range(1, 500))
    told["a later one"] = f"{each[250]:.3f} ms"
    told["iptables-save -t nat, first / again"] = " / ".join(
        _ms(_timed(lambda: show.save(nf, "nat"))) for _ in range(2)
    )
    return told


def ruletext() -> dict[str, str]:
    """All figures of this file."""
    gc.collect()
    gc.freeze()
    with mock.patch.dict("os.environ", {"LC_ALL": "C"}):
        return {**_against_the_kernel(), **_ten_thousand()}
