"""Captured bytes to what people read: Ethernet, ARP, IP, TCP, UDP, SCTP, ICMP, DNS, VXLAN.

The words are tcpdump's (4.99): its printers of these protocols, without -v.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from podwire.client import dnstext, dnswire
from podwire.client.dnswire import DnsError

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, IPIP, TCP, UDP, ICMPV6, SCTP = 1, 4, 6, 17, 58, 132
_CHUNKS = {
    0: "DATA", 1: "INIT", 2: "INIT ACK", 3: "SACK", 4: "HB REQ", 5: "HB ACK", 6: "ABORT",
    7: "SHUTDOWN", 8: "SHUTDOWN ACK", 9: "OP ERR", 10: "COOKIE ECHO", 11: "COOKIE ACK",
    14: "SHUTDOWN COMPLETE",
}  # fmt: skip
_FLAGS = ((2, "S"), (1, "F"), (4, "R"), (8, "P"), (16, "."))
_HTTP_PORTS = {80, 8080, 3128}
_METHODS = ("GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "PATCH ", "OPTIONS ", "HTTP/")
VXLAN_PORTS = {4789, 8472}
MAX_NESTING = 4


@dataclass(frozen=True, slots=True)
class Dissected:
    """A frame's fields. ``protocol`` is IP's number, or -1; ports are 0 where there are none."""

    kind: int
    src_mac: str = ""
    dst_mac: str = ""
    src: str = ""
    dst: str = ""
    protocol: int = -1
    src_port: int = 0
    dst_port: int = 0
    flags: int = 0
    payload: bytes = b""
    """What the transport header is followed by (of ICMP and ARP: all)."""
    seq: int = 0
    ack: int = 0
    window: int = 0
    options: bytes = b""
    size_bytes: int = 0

    @property
    def icmp_type(self) -> int:
        """Of ICMP, or -1."""
        return self.payload[0] if self.protocol in {ICMP, ICMPV6} and self.payload else -1


def dissect(data: bytes) -> Dissected:
    """The fields of an Ethernet frame; what is too short to be one has kind 0."""
    if len(data) < 14:
        return Dissected(0)
    dst, src = _mac(data[:6]), _mac(data[6:12])
    kind = int.from_bytes(data[12:14], "big")
    return _network(kind, data[14:], src, dst, len(data))


def _network(kind: int, data: bytes, src: str, dst: str, size: int) -> Dissected:
    if kind == IPV4 and len(data) >= 20:
        head = (data[0] & 15) * 4
        ends = (str(ipaddress.IPv4Address(data[12:16])), str(ipaddress.IPv4Address(data[16:20])))
        total = int.from_bytes(data[2:4], "big")
        return _transport(kind, src, dst, ends, data[9], data[head:total], size)
    if kind == IPV6 and len(data) >= 40:
        ends = (str(ipaddress.IPv6Address(data[8:24])), str(ipaddress.IPv6Address(data[24:40])))
        return _transport(kind, src, dst, ends, data[6], data[40:], size)
    return Dissected(kind, src, dst, payload=data, size_bytes=size)


def _transport(
    kind: int, src: str, dst: str, ends: tuple[str, str], protocol: int, body: bytes, size: int
) -> Dissected:
    if protocol == TCP and len(body) >= 20:
        sport, dport, seq, ack, offset, flags, window = struct.unpack("!HHIIBBH", body[:16])
        head = (offset >> 4) * 4
        return Dissected(
            kind, src, dst, *ends, protocol, sport, dport, flags, body[head:], seq, ack, window,
            body[20:head], size,
        )  # fmt: skip
    if protocol == UDP and len(body) >= 8:
        sport, dport = struct.unpack("!HH", body[:4])
        return Dissected(
            kind, src, dst, *ends, protocol, sport, dport, payload=body[8:], size_bytes=size
        )
    if protocol == SCTP and len(body) >= 16:
        sport, dport = struct.unpack("!HH", body[:4])
        return Dissected(
            kind, src, dst, *ends, protocol, sport, dport, payload=body[12:], size_bytes=size
        )
    return Dissected(kind, src, dst, *ends, protocol, payload=body, size_bytes=size)


def _mac(data: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in data)


class Printer:
    """Prints frames one after the other; TCP's sequence numbers count from the first seen."""

    def __init__(self, *, absolute: bool = False, ethernet: bool = False) -> None:
        self._absolute = absolute
        self._ethernet = ethernet
        self._first: dict[tuple[str, int, str, int], int] = {}

    def line(self, frame: Dissected) -> str:
        """A frame, without its time."""
        if frame.kind == ARP:
            text, name = _arp(frame.payload), "ARP"
        elif frame.kind in {IPV4, IPV6}:
            text, name = self._ip(frame, 0), "IPv4" if frame.kind == IPV4 else "IPv6"
        else:
            text, name = f"length {frame.size_bytes}", "Unknown"
        if self._ethernet:
            head = f"{frame.src_mac} > {_shown_mac(frame.dst_mac)}, ethertype {name} "
            body = text.removeprefix("ARP, ")
            return f"{head}(0x{frame.kind:04x}), length {frame.size_bytes}: {body}"
        return text if frame.kind == ARP else f"IP{'6' if frame.kind == IPV6 else ''} {text}"

    def _ip(self, frame: Dissected, depth: int) -> str:
        if frame.protocol == SCTP and frame.src_port:
            ends = f"{frame.src}.{frame.src_port} > {frame.dst}.{frame.dst_port}: "
            return f"{ends}sctp{_chunks(frame.payload)}"
        if frame.protocol in {TCP, UDP}:
            ends = f"{frame.src}.{frame.src_port} > {frame.dst}.{frame.dst_port}: "
            if frame.protocol == TCP:
                return ends + self._tcp(frame)
            return ends + self._udp(frame, depth)
        ends = f"{frame.src} > {frame.dst}: "
        if frame.protocol == ICMP:
            return ends + f"ICMP {_icmp(frame)}, length {len(frame.payload)}"
        if frame.protocol == ICMPV6:
            return ends + f"ICMP6, {_icmp6(frame)}, length {len(frame.payload)}"
        if frame.protocol == IPIP and depth < MAX_NESTING:
            inner = _network(IPV4, frame.payload, "", "", len(frame.payload))
            return ends + f"IP {self._ip(inner, depth + 1)}"
        return ends + f"ip-proto-{frame.protocol} {len(frame.payload)}"

    def _tcp(self, frame: Dissected) -> str:
        words = "".join(letter for bit, letter in _FLAGS if frame.flags & bit) or "none"
        text = f"Flags [{words}]"
        key = (frame.src, frame.src_port, frame.dst, frame.dst_port)
        back = (frame.dst, frame.dst_port, frame.src, frame.src_port)
        seq, ack = frame.seq, frame.ack
        if frame.flags & 2 or self._absolute:
            self._first[key] = seq
        else:
            fresh = key not in self._first
            base = self._first.setdefault(key, seq)
            other = self._first.setdefault(back, ack - 1)
            if not fresh:
                seq = (seq - base) & 0xFFFFFFFF
                ack = (ack - other) & 0xFFFFFFFF
        size = len(frame.payload)
        if frame.flags & 7 or size:
            text += f", seq {seq}:{seq + size}" if size else f", seq {seq}"
        if frame.flags & 16:
            text += f", ack {ack}"
        text += f", win {frame.window}"
        if frame.options[:2] == b"\x02\x04":
            text += f", options [mss {int.from_bytes(frame.options[2:4], 'big')}]"
        text += f", length {size}"
        return text + _http(frame)

    def _udp(self, frame: Dissected, depth: int) -> str:
        size = len(frame.payload)
        if 53 in {frame.src_port, frame.dst_port}:
            return _dns(frame.payload)
        if frame.dst_port in VXLAN_PORTS and size > 22 and depth < MAX_NESTING:
            vni = int.from_bytes(frame.payload[4:7], "big")
            inner = dissect(frame.payload[8:])
            if frame.dst_port == 4789 or inner.kind in {IPV4, IPV6, ARP}:
                shown = _arp(inner.payload) if inner.kind == ARP else (
                    f"IP{'6' if inner.kind == IPV6 else ''} {self._ip(inner, depth + 1)}"
                )  # fmt: skip
                name = "VXLAN" if frame.dst_port == 4789 else "OTV"
                overlay = "" if name == "VXLAN" else ", overlay 0"
                word = "vni" if name == "VXLAN" else "instance"
                return f"{name}, flags [I] (0x08){overlay}, {word} {vni}\n{shown}"
        return f"UDP, length {size}"


def _shown_mac(mac: str) -> str:
    return "Broadcast" if mac == "ff:ff:ff:ff:ff:ff" else mac


def _arp(data: bytes) -> str:
    if len(data) < 28:
        return f"ARP, length {len(data)}"
    op = int.from_bytes(data[6:8], "big")
    sender, target = (
        str(ipaddress.IPv4Address(data[14:18])),
        str(ipaddress.IPv4Address(data[24:28])),
    )
    if op == 1:
        return f"ARP, Request who-has {target} tell {sender}, length {len(data)}"
    return f"ARP, Reply {sender} is-at {_mac(data[8:14])}, length {len(data)}"


def _chunks(data: bytes) -> str:
    """SCTP's chunks; each word is followed by a space, as print-sctp.c has it."""
    text, number = "", 0
    while len(data) >= 4:
        number += 1
        kind, flags, size = struct.unpack("!BBH", data[:4])
        if size < 4:
            break
        body, data = data[4:size], data[size + -size % 4 :]
        name = _CHUNKS.get(kind, f"Unknown chunk type: 0x{kind:x}")
        text += f" ({number}) [{name}] "
        if name == "DATA" and len(body) >= 12:
            tsn, stream, sequence, protocol = struct.unpack("!IHHI", body[:12])
            parts = ("(B)" if flags & 2 else "") + ("(E)" if flags & 1 else "")
            text += f"{parts} " if parts else ""
            text += f"[TSN: {tsn}] [SID: {stream}] [SSEQ {sequence}] [PPID 0x{protocol:x}] "
        elif name in {"INIT", "INIT ACK"} and len(body) >= 16:
            tag, window, out, most, tsn = struct.unpack("!IIHHI", body[:16])
            text += f"[init tag: {tag}] [rwnd: {window}] [OS: {out}] [MIS: {most}] "
            text += f"[init TSN: {tsn}] "
        elif name == "SACK" and len(body) >= 12:
            tsn, window, gaps, twice = struct.unpack("!IIHH", body[:12])
            text += f"[cum ack {tsn}] [a_rwnd {window}] [#gap acks {gaps}] [#dup tsns {twice}] "
    return text


def _original(data: bytes, kind: int) -> Dissected:
    return _network(kind, data[:2] + b"\xff\xff" + data[4:] if kind == IPV4 else data, "", "", 0)


def _icmp(frame: Dissected) -> str:
    data = frame.payload
    if len(data) < 8:
        return "truncated"
    kind, code = data[0], data[1]
    ident, sequence = struct.unpack("!HH", data[4:8])
    if kind in {0, 8}:
        name = "echo request" if kind == 8 else "echo reply"
        return f"{name}, id {ident}, seq {sequence}"
    if kind == 11:
        return "time exceeded in-transit" if code == 0 else "ip reassembly time exceeded"
    if kind != 3:
        return f"type-#{kind}"
    about = _original(data[8:], IPV4)
    if code == 3:
        name = {TCP: "tcp", UDP: "udp"}.get(about.protocol, f"ip-proto-{about.protocol}")
        return f"{about.dst} {name} port {about.dst_port} unreachable"
    if code == 4:
        return f"{about.dst} unreachable - need to frag (mtu {sequence})"
    words = {
        0: f"net {about.dst} unreachable", 1: f"host {about.dst} unreachable",
        2: f"{about.dst} protocol {about.protocol} unreachable",
        9: f"net {about.dst} unreachable - admin prohibited",
        10: f"host {about.dst} unreachable - admin prohibited",
        13: f"host {about.dst} unreachable - admin prohibited filter",
    }  # fmt: skip
    return words.get(code, f"{about.dst} unreachable - #{code}")


def _icmp6(frame: Dissected) -> str:
    data = frame.payload
    if len(data) < 8:
        return "truncated"
    kind, code = data[0], data[1]
    ident, sequence = struct.unpack("!HH", data[4:8])
    if kind in {128, 129}:
        name = "echo request" if kind == 128 else "echo reply"
        return f"{name}, id {ident}, seq {sequence}"
    if kind in {135, 136} and len(data) >= 24:
        target = str(ipaddress.IPv6Address(data[8:24]))
        if kind == 135:
            return f"neighbor solicitation, who has {target}"
        return f"neighbor advertisement, tgt is {target}"
    if kind == 3:
        return "time exceeded in-transit"
    if kind == 2:
        return f"packet too big, mtu {int.from_bytes(data[4:8], 'big')}"
    if kind == 1:
        about = _original(data[8:], IPV6)
        if code == 4:
            name = {TCP: "tcp", UDP: "udp"}.get(about.protocol, "")
            port = f"{about.dst} {name} port {about.dst_port}"
            return f"destination unreachable, unreachable port, {port}"
        words = {0: "unreachable route", 1: "unreachable prohibited", 3: "unreachable address"}
        why = words.get(code, f"unknown unreach code ({code})")
        return f"destination unreachable, {why} {about.dst}"
    return f"type {kind}"


def _http(frame: Dissected) -> str:
    if not frame.payload or not _HTTP_PORTS & {frame.src_port, frame.dst_port}:
        return ""
    first = frame.payload.partition(b"\r\n")[0].decode("latin-1")
    return f": HTTP: {first}" if first.startswith(_METHODS) else ": HTTP"


def _dns(data: bytes) -> str:
    try:
        message = dnswire.decode(data)
    except DnsError:
        return f"[|domain] ({len(data)})"
    extra = len(message.additional) + (message.edns is not None)
    kinds = [f" {dnstext.type_name(q.type)}? {q.name}" for q in message.questions]
    if not message.qr:
        marks = ("+" if message.rd else "") + (f" [{extra}au]" if extra else "")
        return f"{message.id}{marks}{''.join(kinds)} ({len(data)})"
    rcode = "" if not message.rcode else " " + {3: "NXDomain", 2: "ServFail", 5: "Refused"}.get(
        message.rcode, f"Resp{message.rcode}"
    )  # fmt: skip
    marks = ("*" if message.aa else "") + ("" if message.ra else "-") + ("|" if message.tc else "")
    counts = f"{len(message.answer)}/{len(message.authority)}/{extra}"
    shown = [f"{dnstext.type_name(rr.type)} {dnstext.data_text(rr)}" for rr in message.answer[:3]]
    told = f" {', '.join(shown)}" if shown else ""
    return f"{message.id}{rcode}{marks} {counts}{told} ({len(data)})"
