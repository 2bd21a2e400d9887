"""What a packet costs a real kernel: rules walked, tables asked, bytes wrapped around it; and time.

The model finds rules by an index; Linux walks them. The account is Linux's: every rule that
``ipt_do_table`` or ``nft_do_chain`` would have tried counts, whether it matched or not (a chain's
policy is no rule). A lookup is one question to a hash or tree: a set or map of nft (anonymous ones
too), an ipset, a list of ``recent``, conntrack (one as a packet arrives, two as a new connection is
put in: its tuple and its answers'), IPVS' connections, templates and virtual servers, eBPF's maps.
Not counted: routing, neighbours, FDBs, NAT's search for a free port, sockets.

``latency_ns`` is an estimate: those numbers by ``NS``. The rest of the stack, wires and what a
cache misses are not in it, so compare it with others of its kind and with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

NS = {
    "iptables rule": 10,
    "nft rule": 8,
    "recent": 40,
    "ipset": 40,
    "nft set": 40,
    "conntrack": 60,
    "conntrack insertion": 220,
    "ipvs": 60,
    "ebpf map": 12,
    "encapsulation": 1000,
}
"""Nanoseconds of each item, rounded from ``python -m benchmarks kernelcost``: one rule of
KUBE-SERVICES that is not for the packet (iptables-nft 1.8.9; iptables-legacy: 5), one more lookup
among 10,000 elements, a packet of a known connection and the first of one beside untracked ones,
VXLAN at both ends beside a bare veth. Linux 6.18 on 2 vCPU of an AMD EPYC. Not measured: ``ipvs``,
which that kernel does not have, is conntrack's (a hash of the same five-tuple), ``recent`` is
ipset's.
"""


class Cost(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was spent. ``encap_bytes`` are what tunnels put around the packet."""

    rules_traversed: int = 0
    lookups: int = 0
    encap_bytes: int = 0
    latency_ns: int = 0

    def __bool__(self) -> bool:
        return self != NOTHING

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            rules_traversed=self.rules_traversed + other.rules_traversed,
            lookups=self.lookups + other.lookups,
            encap_bytes=self.encap_bytes + other.encap_bytes,
            latency_ns=self.latency_ns + other.latency_ns,
        )

    def __str__(self) -> str:
        return ", ".join([*self.counted(), f"about {duration_words(self.latency_ns)}"])

    def counted(self) -> list[str]:
        """What there is of it, but for the time: ``1,204 rules``, ``1 lookup``, ``+50 bytes``."""
        found = [
            _counted(self.rules_traversed, "rule"),
            _counted(self.lookups, "lookup"),
            f"+{self.encap_bytes} bytes" if self.encap_bytes else "",
        ]
        return [words for words in found if words]


NOTHING = Cost()


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}" if number else ""


def duration_words(ns: int) -> str:
    """A duration for people: ``640 ns``, ``12.3 us``, ``4.1 ms``, ``2.1 s``."""
    if ns < 1_000:
        return f"{ns} ns"
    for unit, size in (("us", 1_000), ("ms", 1_000_000)):
        if ns < 999.95 * size:
            return f"{ns / size:.1f} {unit}"
    return f"{ns / 1e9:.1f} s"


def total(costs: Iterable[Cost | None]) -> Cost:
    """All of them together."""
    found = NOTHING
    for cost in costs:
        if cost is not None:
            found += cost
    return found


class Meter:
    """Counts while a packet is on its way."""

    __slots__ = ("encap_bytes", "latency_ns", "lookups", "rules")

    def __init__(self) -> None:
        self.rules = self.lookups = self.encap_bytes = self.latency_ns = 0

    def walked(self, item: str, number: int) -> None:
        """Rules were tried."""
        self.rules += number
        self.latency_ns += number * NS[item]

    def asked(self, item: str, number: int = 1) -> None:
        """Tables were asked."""
        self.lookups += number
        self.latency_ns += number * NS[item]

    def wrapped(self, size_bytes: int) -> None:
        """A tunnel put so many bytes around a packet."""
        self.encap_bytes += size_bytes
        self.latency_ns += NS["encapsulation"]

    def take(self) -> Cost | None:
        """What was counted since the last time; None for nothing."""
        if not self.rules and not self.lookups and not self.encap_bytes:
            return None
        taken = Cost(
            rules_traversed=self.rules,
            lookups=self.lookups,
            encap_bytes=self.encap_bytes,
            latency_ns=self.latency_ns,
        )
        self.rules = self.lookups = self.encap_bytes = self.latency_ns = 0
        return taken
