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

ICMPV6_UNREACHABLE, ICMPV6_TOO_BIG, ICMPV6_TIME_EXCEEDED = 1, 2, 3
ICMPV6_ECHO, ICMPV6_ECHO_REPLY, ICMPV6_SOLICITATION, ICMPV6_ADVERTISEMENT = 128, 129, 135, 136
ICMPV6_ERRORS = frozenset(range(1, 5))

PROTOCOL_NUMBERS = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
}
ICMP_PROTOCOLS = frozenset({"icmp", "icmpv6"})
_DISCOVERY = frozenset({ICMPV6_SOLICITATION, ICMPV6_ADVERTISEMENT})

_FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."))


class Dsr(msgspec.Struct, frozen=True):
    """Cilium's option of a packet whose backend is to answer in the Service's name: the address
    that the client asked. An IPv4 option of 8 bytes (type 0x9a), a destination option of IPv6 of
    24. Source: cilium bpf/lib/nodeport.h (dsr_set_opt4, dsr_set_ext6).
    """

    ip: str
    port: int

    @property
    def size_bytes(self) -> int:
        """What it adds to the header."""
        return 24 if ":" in self.ip else 8

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"dsr option {host}:{self.port}"


class Packet(msgspec.Struct, frozen=True, omit_defaults=True):
    """An IP packet; its addresses (canonical text) say of which version.

    ``protocol``: tcp | udp | sctp | icmp | icmpv6 ... ``tcp_flags``: bits as in the header.
    ``icmp_id`` is the echo identifier; ``icmp_mtu_bytes`` the next hop's MTU of "fragmentation
    needed" and "packet too big"; ``original`` the packet that an ICMP error is about. ``ttl`` is
    IPv6's hop limit. ``size_bytes`` is the whole length with the IP header. ``gso_bytes``, when
    set, says that this stands for several packets on the wire, the largest of this size (what the
    MTU is compared with). ``mark`` is the skb's firewall mark and never leaves a namespace.
    ``mss_bytes`` is a SYN's maximum segment size option; ``sctp_chunk`` the name of the chunk that
    decides an SCTP packet's meaning (init, init_ack, cookie_echo ... data). ``dsr`` is an option of
    the IP header.
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
    mss_bytes: int = 0
    sctp_chunk: str = ""
    dsr: Dsr | None = None

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
    def is_icmp_error(self) -> bool:
        """Whether it tells of another packet's failure."""
        if self.protocol == "icmp":
            return self.icmp_type in ICMP_ERRORS
        return self.protocol == "icmpv6" and self.icmp_type in ICMPV6_ERRORS

    @property
    def is_discovery(self) -> bool:
        """Whether it is IPv6's counterpart of an ARP message."""
        return self.protocol == "icmpv6" and self.icmp_type in _DISCOVERY

    @property
    def largest_bytes(self) -> int:
        """The size that an MTU is compared with."""
        return self.gso_bytes or self.size_bytes

    def __str__(self) -> str:
        if self.protocol in ICMP_PROTOCOLS:
            return f"{self.src} > {self.dst} {self.protocol} {icmp_words(self)}"
        text = f"{self.flow} {self.protocol}"
        return f"{text} [{flag_letters(self.tcp_flags)}]" if self.protocol == "tcp" else text


class Arp(msgspec.Struct, frozen=True):
    """An ARP message. ``op``: 1 request, 2 reply."""

    op: int
    sender_mac: str
    sender_ip: str
    target_ip: str
    target_mac: str = "00:00:00:00:00:00"


class Discovery(msgspec.Struct, frozen=True):
    """The payload of a neighbour solicitation or advertisement (RFC 4861)."""

    target: str
    mac: str
    solicited: bool = False
    override: bool = True


ETHERNET_BYTES, ARP_BYTES = 14, 28


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """An Ethernet frame holding a packet or an ARP message.

    A VXLAN frame is one whose packet is UDP to port 8472 and whose payload is a ``Vxlan``.
    """

    src: str
    dst: str
    packet: Packet | None = None
    arp: Arp | None = None

    @property
    def asks_for(self) -> str:
        """The address whose MAC it asks for, by ARP or neighbour solicitation; "" if none."""
        if self.arp is not None:
            return self.arp.target_ip if self.arp.op == 1 else ""
        payload = self.packet.payload if self.packet is not None else None
        return payload.target if isinstance(payload, Discovery) and not payload.solicited else ""

    @property
    def size_bytes(self) -> int:
        """Its length without the Ethernet header."""
        return self.packet.size_bytes if self.packet is not None else ARP_BYTES

    @property
    def carries(self) -> bool:
        """Whether it holds somebody's packet: no ARP message, no neighbour discovery."""
        return self.packet is not None and not self.packet.is_discovery


VXLAN_BYTES = {"ipv4": 50, "ipv6": 70}
"""What VXLAN and Geneve cost: outer IP, UDP, their header, the inner Ethernet header."""


class Vxlan(msgspec.Struct, frozen=True):
    """The payload of a VXLAN or Geneve datagram: network identifier and inner frame."""

    vni: int
    frame: Frame
    kind: str = "vxlan"


class Encapsulated(msgspec.Struct, frozen=True):
    """The payload of an IPIP or WireGuard packet. ``key`` and ``to`` are WireGuard's sender and
    receiver.
    """

    packet: Packet
    key: str = ""
    to: str = ""


NO_PACKET = Packet(src="0.0.0.0", dst="0.0.0.0", protocol="arp")
"""What is told of when a frame without a packet is lost."""

replace = msgspec.structs.replace


def flag_letters(flags: int) -> str:
    """TCP flags as tcpdump prints them (``S``, ``S.``, ``.``, ``R.``)."""
    return "".join(letter for bit, letter in _FLAG_LETTERS if flags & bit) or "none"


_ICMPV6_WORDS = {
    ICMPV6_ECHO: "echo request id {p.icmp_id} seq {p.icmp_seq}",
    ICMPV6_ECHO_REPLY: "echo reply id {p.icmp_id} seq {p.icmp_seq}",
    ICMPV6_TIME_EXCEEDED: "time exceeded in-transit",
    ICMPV6_TOO_BIG: "packet too big (mtu {p.icmp_mtu_bytes})",
    ICMPV6_SOLICITATION: "neighbor solicitation, who has {p.payload.target}",
    ICMPV6_ADVERTISEMENT: "neighbor advertisement, tgt is {p.payload.target}",
}
_ICMPV6_UNREACHABLE_WORDS = {
    0: "unreachable route",
    1: "unreachable prohibited",
    2: "unreachable beyond scope",
    3: "unreachable address",
    4: "unreachable port",
    5: "unreachable policy fail",
    6: "unreachable reject route",
}


def icmp_words(packet: Packet) -> str:
    """An ICMP type as tcpdump names it."""
    if packet.protocol == "icmpv6":
        if packet.icmp_type == ICMPV6_UNREACHABLE:
            return _ICMPV6_UNREACHABLE_WORDS.get(
                packet.icmp_code, f"unreachable code {packet.icmp_code}"
            )
        return _ICMPV6_WORDS.get(packet.icmp_type, f"type {packet.icmp_type}").format(p=packet)
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


_SCTP_IGNORED = frozenset({"abort", "shutdown_complete", "cookie_ack", "error"})


def out_of_the_blue(packet: Packet) -> Packet | None:
    """What an SCTP packet of no association is answered by (RFC 9260 8.4); None: nothing."""
    if packet.sctp_chunk in _SCTP_IGNORED:
        return None
    return Packet(
        src=packet.dst,
        dst=packet.src,
        protocol="sctp",
        src_port=packet.dst_port,
        dst_port=packet.src_port,
        sctp_chunk="shutdown_complete" if packet.sctp_chunk == "shutdown_ack" else "abort",
        size_bytes=56 if ":" in packet.dst else 36,
    )


def answer_to(packet: Packet) -> Packet:
    """What a listener sends back first: SYN-ACK to a SYN, a datagram to a datagram."""
    header = 80 if ":" in packet.dst else 60
    return Packet(
        src=packet.dst,
        dst=packet.src,
        protocol=packet.protocol,
        src_port=packet.dst_port,
        dst_port=packet.src_port,
        tcp_flags=SYN | ACK if packet.protocol == "tcp" else 0,
        sctp_chunk="init_ack" if packet.protocol == "sctp" else "",
        size_bytes=header if packet.protocol == "tcp" else min(packet.size_bytes, header),
    )
