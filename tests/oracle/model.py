"""What the model says of a question: every outcome it holds possible, and the world after each.

An outcome is what a program would see: ``<who answered> <source it saw>``, REFUSED, TIMEOUT, or an
errno's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from podwire.dataplane.emit import Deliver, Drop
from podwire.dataplane.journey import Journey, arrival, tells
from podwire.dataplane.packet import (
    ACK,
    ICMP_TIME_EXCEEDED,
    ICMPV6_TIME_EXCEEDED,
    ICMPV6_TOO_BIG,
    PSH,
    RST,
    SYN,
    Packet,
    answer_to,
)
from podwire.dataplane.verdict import Fate, Hop
from podwire.dataplane.walk import Script, scripts
from podwire.dataplane.world import World
from tests.oracle.cluster import Probe

ICMP_ERRNO = {0: "ENETUNREACH", 1: "EHOSTUNREACH", 3: "REFUSED", 4: "EMSGSIZE",
              9: "ENETUNREACH", 10: "EHOSTUNREACH", 13: "EHOSTUNREACH"}  # fmt: skip
"""What an ICMP "unreachable" does to a socket, by code (net/ipv4/icmp.c, icmp_err_convert)."""
ICMPV6_ERRNO = {0: "ENETUNREACH", 1: "EACCES", 2: "EHOSTUNREACH", 3: "EHOSTUNREACH",
                4: "REFUSED", 5: "EACCES", 6: "EACCES"}  # fmt: skip
"""The same of ICMPv6 (net/ipv6/icmp.c, tab_unreach)."""
LOCAL_ERRNO = {
    "blackhole": "EINVAL", "unreachable": "EHOSTUNREACH", "prohibit": "EACCES",
}  # fmt: skip
TABLES = ("raw", "mangle", "nat", "filter", "security")
NFT = ("ip ", "ip6 ", "inet ")
SMALL_BYTES = 60


@dataclass(frozen=True)
class Connection:
    """An open TCP connection: both ends, and the segments they send each other."""

    origin: tuple[str, str]
    server: tuple[str, str]
    outgoing: Packet
    answering: Packet
    outcome: str


@dataclass(frozen=True)
class Attempt:
    """One way a question may go."""

    outcome: str
    probability: float
    world: World
    hops: list[Hop]
    connection: Connection | None = None


def attempts(world: World, probe: Probe, src_port: int, now_ns: int) -> Iterator[Attempt]:
    """Every way a question may go: one per sequence of load-balancing decisions."""
    for script in scripts():
        yield _attempt(world, probe, src_port, script, now_ns)


def outcomes(found: list[Attempt]) -> dict[str, float]:
    """Possible outcomes and their probabilities."""
    shares: dict[str, float] = {}
    for attempt in found:
        shares[attempt.outcome] = shares.get(attempt.outcome, 0.0) + attempt.probability
    return shares


class _Talk:
    """Packets to and fro on one fork; remembers all hops."""

    def __init__(self, base: World, script: Script, now_ns: int) -> None:
        self.world = base.fork()
        for kernel in self.world.kernels.values():
            kernel.forget_waiting()
            kernel.chance = script
        self.now_ns = now_ns
        self.hops: list[Hop] = []

    def send(self, at: tuple[str, str], packet: Packet) -> Journey:
        journey = Journey(self.world, self.now_ns)
        journey.send(*at, packet)
        self.hops += journey.hops
        return journey


def _attempt(base: World, probe: Probe, src_port: int, script: Script, now_ns: int) -> Attempt:
    talk = _Talk(base, script, now_ns)
    origin = (probe.node, probe.netns)
    kernel = talk.world.kernels[probe.node]
    src = kernel.source_address(probe.netns, probe.dst)
    ends = (probe.protocol, src, src_port, probe.dst, probe.port)
    kernel.connect_socket(probe.netns, *ends)
    header = 48 if ":" in probe.dst else 28
    packet = Packet(
        src=src,
        dst=probe.dst,
        protocol=probe.protocol,
        src_port=src_port,
        dst_port=probe.port,
        tcp_flags=SYN if probe.protocol == "tcp" else 0,
        size_bytes=probe.size_bytes + header if probe.size_bytes else SMALL_BYTES,
    )
    outcome, connection = _converse(talk, origin, packet)
    return Attempt(outcome, script.probability, talk.world, talk.hops, connection)


def _converse(
    talk: _Talk, origin: tuple[str, str], packet: Packet
) -> tuple[str, Connection | None]:
    there = talk.send(origin, packet)
    got = arrival(there)
    if got is None:
        return failure(there, origin, packet), None
    server = (got[0], got[1].netns)
    seen = got[1].packet
    words = f"{server[1] or server[0]} {seen.src}"
    answer = answer_to(seen)
    back = talk.send(server, answer)
    if arrival(back, origin) is None:
        return "TIMEOUT", None
    if packet.protocol != "tcp":
        return words, None
    outgoing = _data(packet)
    connection = Connection(origin, server, outgoing, _data(answer), words)
    return _request(talk, connection), connection


def _data(packet: Packet) -> Packet:
    return Packet(
        src=packet.src, dst=packet.dst, protocol="tcp", src_port=packet.src_port,
        dst_port=packet.dst_port, tcp_flags=ACK | PSH,
    )  # fmt: skip


def _request(talk: _Talk, connection: Connection) -> str:
    """A line and its answer on an open connection."""
    got = arrival(talk.send(connection.origin, connection.outgoing))
    if got is None or (got[0], got[1].netns) != connection.server:
        return "TIMEOUT"
    back = arrival(talk.send(connection.server, connection.answering), connection.origin)
    return connection.outcome if back is not None else "TIMEOUT"


def again(world: World, connection: Connection, now_ns: int) -> Attempt:
    """A further request on an open connection."""
    talk = _Talk(world, Script(()), now_ns)
    outcome = _request(talk, connection)
    return Attempt(outcome, 1.0, talk.world, talk.hops, connection)


def failure(journey: Journey, origin: tuple[str, str], packet: Packet) -> str:
    """What the socket sees of a packet that reached no socket."""
    for _, event in journey.events:
        if isinstance(event, Drop) and event.fate is Fate.UNKNOWN:
            return f"UNKNOWN: {event.reason}"
    for node, event in journey.events:
        if not isinstance(event, Deliver) or (node, event.netns) != origin:
            continue
        answer = event.packet
        if answer.protocol == "tcp" and answer.tcp_flags & RST:
            return "REFUSED"
        if answer.is_icmp_error and tells(answer, packet):
            return told(answer)
    return _at_home(journey, origin, packet)


def told(error: Packet) -> str:
    """What an ICMP error does to the socket that it is about."""
    if error.protocol == "icmpv6":
        if error.icmp_type == ICMPV6_TOO_BIG:
            return "EMSGSIZE"
        if error.icmp_type == ICMPV6_TIME_EXCEEDED:
            return "EHOSTUNREACH"
        return ICMPV6_ERRNO.get(error.icmp_code, "TIMEOUT")
    if error.icmp_type == ICMP_TIME_EXCEEDED:
        return "EHOSTUNREACH"
    return ICMP_ERRNO.get(error.icmp_code, "TIMEOUT")


def _at_home(journey: Journey, origin: tuple[str, str], packet: Packet) -> str:
    """Losses inside the sender's own namespace that its system call tells of."""
    for node, event in journey.events:
        if not isinstance(event, Drop) or (node, event.netns) != origin:
            continue
        if event.fate is Fate.NO_ROUTE:
            return "ENETUNREACH"
        if event.fate is Fate.NULL_ROUTED:
            return LOCAL_ERRNO.get(event.reason.split()[0], "EHOSTUNREACH")
        if event.fate is Fate.MTU_EXCEEDED:
            return "EMSGSIZE"
        if event.fate is Fate.NEIGHBOR_UNREACHABLE:
            return "EHOSTUNREACH"
        break
    if packet.protocol == "udp" and dropped_while_sending(journey.hops, origin):
        return "EPERM"
    return "TIMEOUT"


def dropped_while_sending(hops: list[Hop], origin: tuple[str, str]) -> bool:
    """Whether a rule of the sender's own output hooks dropped the packet: send() then fails."""
    if not hops or hops[0].node != origin[0]:
        return False
    for step in hops[0].steps:
        rules = step.stage in TABLES or step.stage.startswith(NFT)
        if rules and step.result == "drop":
            return step.netns == origin[1]
        if not rules and step.stage not in {"out", "conntrack"} and step.result != "out":
            return False
    return False
