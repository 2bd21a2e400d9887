"""Frames as bytes: what a capture of the modelled network holds.

RFC 791, 8200, 9293, 768, 9260, 826.
"""

from __future__ import annotations

import ipaddress
import struct

from podwire.dataplane.packet import (
    ICMP_PROTOCOLS,
    PROTOCOL_NUMBERS,
    PSH,
    SYN,
    Arp,
    Discovery,
    Encapsulated,
    Frame,
    Packet,
    Vxlan,
)
from podwire.fabric.sctp import COOKIE_BYTES, Chunk
from podwire.fabric.segment import Segment

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
IPIP = 4
WIREGUARD_PORT_BYTES = 32


def encode(frame: Frame) -> bytes:
    """A frame's bytes. What the model does not know (identification, urgent pointers) is zero."""
    head = _mac(frame.dst) + _mac(frame.src)
    if frame.arp is not None:
        return head + struct.pack("!H", ARP) + _arp(frame.arp)
    packet = frame.packet
    if packet is None:
        return head + b"\0\0"
    return head + struct.pack("!H", IPV6 if ":" in packet.dst else IPV4) + ip(packet)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _arp(arp: Arp) -> bytes:
    return (
        struct.pack("!HHBBH", 1, IPV4, 6, 4, arp.op)
        + _mac(arp.sender_mac) + _ip(arp.sender_ip) + _mac(arp.target_mac) + _ip(arp.target_ip)
    )  # fmt: skip


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def ip(packet: Packet) -> bytes:
    """An IP packet with what it carries."""
    six = ":" in packet.dst
    number = PROTOCOL_NUMBERS.get(packet.protocol, IPIP if packet.protocol == "ipip" else 255)
    src, dst = _ip(packet.src or ("::" if six else "0.0.0.0")), _ip(packet.dst)
    body = _body(packet)
    pseudo = src + dst + struct.pack("!II" if six else "!HH", *_pseudo(six, len(body), number))
    body = _summed(packet.protocol, body, pseudo)
    if six:
        return struct.pack("!IHBB", 6 << 28, len(body), number, packet.ttl) + src + dst + body
    flags = 0x4000 if packet.dont_fragment else 0
    size = min(20 + len(body), 0xFFFF)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, flags, packet.ttl, number, 0) + src + dst
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def _pseudo(six: bool, size: int, number: int) -> tuple[int, int]:
    return (size, number) if six else (number, size & 0xFFFF)


def _summed(protocol: str, body: bytes, pseudo: bytes) -> bytes:
    """The body with its checksum in place."""
    at = {"tcp": 16, "udp": 6, "icmp": 2, "icmpv6": 2}.get(protocol)
    if at is None or len(body) < at + 2:
        return body
    value = checksum(body if protocol == "icmp" else pseudo + body)
    if protocol == "udp" and value == 0:
        value = 0xFFFF
    return body[:at] + struct.pack("!H", value) + body[at + 2 :]


def _body(packet: Packet) -> bytes:
    payload = packet.payload
    if packet.protocol == "tcp":
        return _tcp(packet, payload if isinstance(payload, Segment) else None)
    if packet.protocol in ICMP_PROTOCOLS:
        return _icmp(packet)
    if packet.protocol == "sctp":
        return _sctp(packet, payload if isinstance(payload, Chunk) else Chunk(packet.sctp_chunk))
    left = max(packet.size_bytes - (40 if ":" in packet.dst else 20), 0)
    if packet.protocol == "udp":
        data = payload if isinstance(payload, bytes) else b""
        if isinstance(payload, Vxlan):
            data = _tunnelled(payload)
        elif not data:
            data = bytes(max(left - 8, 0))
        size = (8 + len(data)) & 0xFFFF
        return struct.pack("!HHHH", packet.src_port, packet.dst_port, size, 0) + data
    if isinstance(payload, Encapsulated) and not payload.key:
        return ip(payload.packet)
    return bytes(left)


def _tunnelled(payload: Vxlan) -> bytes:
    if payload.kind == "geneve":
        head = struct.pack("!BBHI", 0, 0, 0x6558, payload.vni << 8)
    else:
        head = struct.pack("!II", 0x08000000, payload.vni << 8)
    return head + encode(payload.frame)


def _tcp(packet: Packet, segment: Segment | None) -> bytes:
    options = b""
    if packet.tcp_flags & SYN and packet.mss_bytes:
        options = struct.pack("!BBH", 2, 4, packet.mss_bytes)
    seq, ack = (segment.seq, segment.ack) if segment is not None else (0, 0)
    window = min(segment.window, 0xFFFF) if segment is not None else 0
    data = segment.data if segment is not None else b""
    offset = (20 + len(options)) // 4
    flags = packet.tcp_flags | (PSH if data else 0)  # a modelled segment ends what was written
    return (
        struct.pack(
            "!HHIIBBHHH", packet.src_port, packet.dst_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
            offset << 4, flags & 0x3F, window, 0, 0,
        )
        + options + data
    )  # fmt: skip


_CHUNKS = {
    "data": 0, "init": 1, "init_ack": 2, "sack": 3, "heartbeat": 4, "heartbeat_ack": 5, "abort": 6,
    "shutdown": 7, "shutdown_ack": 8, "cookie_echo": 10, "cookie_ack": 11, "shutdown_complete": 14,
}  # fmt: skip
_RWND_BYTES = 106496
"""Half of ``net.core.rmem_default``, as Linux offers it."""
_OPTIONS = struct.pack("!HHHH", 0x8000, 4, 0xC000, 4)
"""ECN and forward TSN."""


def _sctp(packet: Packet, chunk: Chunk) -> bytes:
    """The verification tag and CRC32c are zero, an initiate tag is the first TSN."""
    flags, body, tsn = 0, b"", chunk.tsn & 0xFFFFFFFF
    if chunk.kind in {"init", "init_ack"}:
        body = struct.pack("!IIHHI", tsn, _RWND_BYTES, 0xFFFF, 0xFFFF, tsn)
        if chunk.kind == "init_ack":
            body += struct.pack("!HH", 7, 4 + COOKIE_BYTES) + bytes(COOKIE_BYTES)
        body += _OPTIONS
    elif chunk.kind == "cookie_echo":
        body = bytes(COOKIE_BYTES)
    elif chunk.kind == "data":
        flags = 2 * chunk.first + chunk.last
        body = struct.pack("!IHHI", tsn, 0, chunk.sequence & 0xFFFF, 0) + chunk.data
    elif chunk.kind == "sack":
        body = struct.pack("!IIHH", tsn, _RWND_BYTES, 0, 0)
    elif chunk.kind == "shutdown":
        body = struct.pack("!I", tsn)
    elif chunk.kind.startswith("heartbeat"):  # what Linux remembers of its question
        body = struct.pack("!HH52x", 1, 56)
    return (
        struct.pack("!HHII", packet.src_port, packet.dst_port, 0, 0)
        + struct.pack("!BBH", _CHUNKS.get(chunk.kind, 0xFF), flags, 4 + len(body))
        + body + bytes(-len(body) % 4)
    )  # fmt: skip


def _icmp(packet: Packet) -> bytes:
    if isinstance(packet.payload, Discovery):
        said = packet.payload
        flags = (0x40000000 if said.solicited else 0) | (0x20000000 if said.override else 0)
        option = struct.pack("!BB", 2 if packet.icmp_type == 136 else 1, 1) + _mac(said.mac)
        head = struct.pack("!BBHI", packet.icmp_type, 0, 0, flags if packet.icmp_type == 136 else 0)
        return head + _ip(said.target) + option
    head = struct.pack("!BBH", packet.icmp_type, packet.icmp_code, 0)
    if packet.original is not None:
        rest = struct.pack("!I", packet.icmp_mtu_bytes)
        return head + rest + ip(packet.original)[: 1232 if ":" in packet.dst else 548]
    left = packet.size_bytes - (40 if ":" in packet.dst else 20) - 8
    return head + struct.pack("!HH", packet.icmp_id, packet.icmp_seq) + bytes(max(left, 0))
