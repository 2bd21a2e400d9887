"""What travels: IP packets, ARP messages and Ethernet frames. All immutable.

TCP sequence numbers are no business of the network: the owner of a connection keeps its own in
``payload``, which the dataplane carries along untouched.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.dataplane.verdict import Flow

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

ICMP_ECHO_REPLY, ICMP_UNREACHABLE, ICMP_ECHO, ICMP_TIME_EXCEEDED = 0, 3, 8, 11
NET_UNREACHABLE, HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = 0, 1, 2, 3
FRAGMENTATION_NEEDED, NET_PROHIBITED, HOST_PROHIBITED, ADMIN_PROHIBITED = 4, 9, 10, 13

ICMP_ERRORS = frozenset({ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED})

_FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."))


class Packet(msgspec.Struct, frozen=True, omit_defaults=True):
    """An IPv4 packet.

    ``protocol``: tcp | udp | icmp. ``tcp_flags``: bits as in the header. ``icmp_id`` is the echo
    identifier; ``icmp_mtu_bytes`` the next hop's MTU of "fragmentation needed"; ``original`` the
    packet that an ICMP error is about. ``size_bytes`` is the IP total length. ``gso_bytes``, when
    set, says that this stands for several packets on the wire, the largest of this size (what the
    MTU is compared with). ``mark`` is the skb's firewall mark and never leaves a namespace.
    """

    src: str
    dst: str
    protocol: str
    src_port: int = 0
    dst_port: int = 0
    tcp_flags: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    icmp_id: int = 0
    icmp_seq: int = 0
    icmp_mtu_bytes: int = 0
    original: Packet | None = None
    ttl: int = 64
    mark: int = 0
    size_bytes: int = 60
    dont_fragment: bool = True
    gso_bytes: int = 0
    payload: Any = None

    @property
    def flow(self) -> Flow:
        """The five-tuple, for people."""
        return Flow(
            protocol=self.protocol,
            src=self.src,
            src_port=self.src_port,
            dst=self.dst,
            dst_port=self.dst_port,
        )

    @property
    def largest_bytes(self) -> int:
        """The size that an MTU is compared with."""
        return self.gso_bytes or self.size_bytes

    def __str__(self) -> str:
        if self.protocol == "icmp":
            return f"{self.src} > {self.dst} icmp {icmp_words(self)}"
        text = f"{self.src}:{self.src_port} > {self.dst}:{self.dst_port} {self.protocol}"
        return f"{text} [{flag_letters(self.tcp_flags)}]" if self.protocol == "tcp" else text


class Arp(msgspec.Struct, frozen=True):
    """An ARP message. ``op``: 1 request, 2 reply."""

    op: int
    sender_mac: str
    sender_ip: str
    target_ip: str
    target_mac: str = "00:00:00:00:00:00"


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """An Ethernet frame holding a packet or an ARP message.

    A VXLAN frame is one whose packet is UDP to port 8472 and whose payload is a ``Vxlan``.
    """

    src: str
    dst: str
    packet: Packet | None = None
    arp: Arp | None = None


class Vxlan(msgspec.Struct, frozen=True):
    """The payload of a VXLAN datagram: network identifier and inner frame."""

    vni: int
    frame: Frame


replace = msgspec.structs.replace


def flag_letters(flags: int) -> str:
    """TCP flags as tcpdump prints them (``S``, ``S.``, ``.``, ``R.``)."""
    return "".join(letter for bit, letter in _FLAG_LETTERS if flags & bit) or "none"


def icmp_words(packet: Packet) -> str:
    """An ICMP type as tcpdump names it."""
    if packet.icmp_type == ICMP_ECHO:
        return f"echo request id {packet.icmp_id} seq {packet.icmp_seq}"
    if packet.icmp_type == ICMP_ECHO_REPLY:
        return f"echo reply id {packet.icmp_id} seq {packet.icmp_seq}"
    if packet.icmp_type == ICMP_TIME_EXCEEDED:
        return "time exceeded in-transit"
    names = {
        NET_UNREACHABLE: "net unreachable",
        HOST_UNREACHABLE: "host unreachable",
        PROTOCOL_UNREACHABLE: "protocol unreachable",
        PORT_UNREACHABLE: "port unreachable",
        FRAGMENTATION_NEEDED: f"unreachable - need to frag (mtu {packet.icmp_mtu_bytes})",
        NET_PROHIBITED: "net unreachable - admin prohibited",
        HOST_PROHIBITED: "host unreachable - admin prohibited",
        ADMIN_PROHIBITED: "host unreachable - admin prohibited filter",
    }
    return names.get(packet.icmp_code, f"unreachable code {packet.icmp_code}")


def answer_to(packet: Packet) -> Packet:
    """What a listener sends back first: SYN-ACK to a SYN, a datagram to a datagram."""
    return Packet(
        src=packet.dst,
        dst=packet.src,
        protocol=packet.protocol,
        src_port=packet.dst_port,
        dst_port=packet.src_port,
        tcp_flags=SYN | ACK if packet.protocol == "tcp" else 0,
        size_bytes=60 if packet.protocol == "tcp" else min(packet.size_bytes, 60),
    )
