"""Probes: single packets of a namespace that wait for their answer (ping, traceroute, mtr)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podwire.client.counters import Probe, ProbeAnswer
from podwire.dataplane import family as families
from podwire.dataplane.packet import (
    ICMP_PROTOCOLS,
    ICMP_TIME_EXCEEDED,
    ICMPV6_TIME_EXCEEDED,
    RST,
    SYN,
    Packet,
    replace,
)
from podwire.fabric.segment import Segment

if TYPE_CHECKING:
    from podwire.fabric.space import Space

Key = tuple[str, int, int]
"""Protocol, own port or echo identifier, other port or sequence."""
Socket = tuple[str, str, int, str, int]
"""Protocol, own address and port, far address and port."""
MSS_BYTES = 1460


@dataclass(frozen=True, slots=True)
class Sent:
    """A probe on its way. ``owns`` are the sockets that the kernel was told of for it."""

    key: Key
    answered: asyncio.Future[ProbeAnswer]
    sent_ns: int
    owns: tuple[Socket, ...] = ()


class Probes:
    """Those of one namespace."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._waiting: dict[Key, Sent] = {}
        self._ident = 0

    def start(self, probe: Probe, answered: asyncio.Future[ProbeAnswer]) -> Sent:
        """Send one; ``answered`` gets what comes back. Raises OSError, and then nothing waits."""
        space = self._space
        address, port = probe.address, probe.port
        if probe.protocol != "icmp":
            address, port = space.translate(probe.protocol, probe.source_port, address, port)
        source, mtu_bytes = space.route(address)
        packet = self._packet(probe, source, address, port)
        if probe.dont_fragment and probe.size_bytes > mtu_bytes:
            answered.set_result(ProbeAnswer("too-big", "", 0.0, mtu_bytes=mtu_bytes))
            return Sent(_key(packet), answered, space.now_ns())
        owns: tuple[Socket, ...] = ()
        if probe.protocol != "icmp":
            far = (address, port) if probe.protocol == "tcp" else ("", 0)
            owns = ((probe.protocol, source, packet.src_port, *far),)
            for owned in owns:
                space.layer.hardware.open_socket(space.node, space.netns, *owned)
        sent = self._waiting[_key(packet)] = Sent(_key(packet), answered, space.now_ns(), owns)
        try:
            space.send(packet)
        except BaseException:
            self.end(sent)
            raise
        return sent

    def _packet(self, probe: Probe, source: str, address: str, port: int) -> Packet:
        space = self._space
        family = families.of(address)
        packet = Packet(
            source, address, probe.protocol, ttl=probe.ttl, size_bytes=probe.size_bytes,
            dont_fragment=probe.dont_fragment,
        )  # fmt: skip
        if probe.protocol == "icmp":
            self._ident = self._ident % 0xFFFF + 1
            return replace(
                packet, protocol=family.icmp, icmp_type=family.echo, icmp_id=self._ident,
                icmp_seq=probe.sequence,
            )  # fmt: skip
        own = probe.source_port or space.ephemeral(probe.protocol, source, address, port)
        if probe.protocol == "udp":
            return replace(packet, src_port=own, dst_port=port, payload=b"")
        return replace(
            packet, src_port=own, dst_port=port, tcp_flags=SYN, mss_bytes=MSS_BYTES,
            payload=Segment(SYN, 0),
        )  # fmt: skip

    def end(self, sent: Sent) -> None:
        """Nobody waits for it any longer."""
        if self._waiting.get(sent.key) is sent:
            del self._waiting[sent.key]
        space = self._space
        for owned in sent.owns:
            space.layer.hardware.close_socket(space.node, space.netns, *owned)

    # ------------------------------------------------------------ what comes back

    def replied(self, packet: Packet) -> bool:
        """Whether a packet that is no error answers a probe."""
        if packet.protocol in ICMP_PROTOCOLS:
            key, kind = (packet.protocol, packet.icmp_id, packet.icmp_seq), "echo"
        else:
            key = (packet.protocol, packet.dst_port, packet.src_port)
            kind = "closed" if packet.tcp_flags & RST else "open"
        return self._tell(key, packet, kind)

    def failed(self, packet: Packet, original: Packet) -> bool:
        """Whether an ICMP error is about a probe."""
        exceeded = {"icmp": ICMP_TIME_EXCEEDED, "icmpv6": ICMPV6_TIME_EXCEEDED}
        kind = "unreachable"
        if packet.icmp_type == exceeded.get(packet.protocol):
            kind = "time-exceeded"
        elif packet.icmp_mtu_bytes:
            kind = "too-big"
        return self._tell(_key(original), packet, kind)

    def _tell(self, key: Key, packet: Packet, kind: str) -> bool:
        sent = self._waiting.get(key)
        if sent is None:
            return False
        if not sent.answered.done():
            seconds = (self._space.now_ns() - sent.sent_ns) / 1e9
            answer = ProbeAnswer(
                kind, packet.src, seconds, packet.ttl, packet.icmp_code, packet.icmp_mtu_bytes
            )
            sent.answered.set_result(answer)
        return True


def _key(packet: Packet) -> Key:
    if packet.protocol in ICMP_PROTOCOLS:
        return packet.protocol, packet.icmp_id, packet.icmp_seq
    return packet.protocol, packet.src_port, packet.dst_port
