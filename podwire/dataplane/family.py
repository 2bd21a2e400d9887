"""What differs between IPv4 and IPv6 in one table, so that one stack serves both."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Trouble(enum.Enum):
    """What an ICMP error can tell a sender, before a family's numbers are put to it."""

    NO_ROUTE = "no route"
    HOST_UNREACHABLE = "host unreachable"
    PROHIBITED = "prohibited"
    PORT_UNREACHABLE = "port unreachable"
    NO_PROTOCOL = "no such protocol"
    TOO_BIG = "too big"
    TIME_EXCEEDED = "time exceeded"


class Family(NamedTuple):
    """One IP version. ``errors``: the ICMP type and code of each ``Trouble``."""

    name: str
    bits: int
    any: str
    icmp: str
    header_bytes: int
    forwarding: str
    """The sysctl that makes a host a router."""
    ignore_echo: str
    """The sysctl that keeps a host from answering pings."""
    echo: int
    echo_reply: int
    errors: dict[Trouble, tuple[int, int]]
    largest_error_bytes: int
    smallest_mtu_bytes: int
    """Below this no path MTU is believed (RFC 8201; Linux' ip_rt_min_pmtu)."""


IPV4 = Family(
    name="ipv4",
    bits=32,
    any="0.0.0.0",
    icmp="icmp",
    header_bytes=20,
    forwarding="net.ipv4.ip_forward",
    ignore_echo="net.ipv4.icmp_echo_ignore_all",
    echo=8,
    echo_reply=0,
    errors={
        Trouble.NO_ROUTE: (3, 0),
        Trouble.HOST_UNREACHABLE: (3, 1),
        Trouble.PROHIBITED: (3, 13),
        Trouble.PORT_UNREACHABLE: (3, 3),
        Trouble.NO_PROTOCOL: (3, 2),
        Trouble.TOO_BIG: (3, 4),
        Trouble.TIME_EXCEEDED: (11, 0),
    },
    largest_error_bytes=576,
    smallest_mtu_bytes=552,
)
IPV6 = Family(
    name="ipv6",
    bits=128,
    any="::",
    icmp="icmpv6",
    header_bytes=40,
    forwarding="net.ipv6.conf.all.forwarding",
    ignore_echo="net.ipv6.icmp.echo_ignore_all",
    echo=128,
    echo_reply=129,
    errors={
        Trouble.NO_ROUTE: (1, 0),
        Trouble.HOST_UNREACHABLE: (1, 3),
        Trouble.PROHIBITED: (1, 1),
        Trouble.PORT_UNREACHABLE: (1, 4),
        Trouble.NO_PROTOCOL: (4, 1),
        Trouble.TOO_BIG: (2, 0),
        Trouble.TIME_EXCEEDED: (3, 0),
    },
    largest_error_bytes=1280,
    smallest_mtu_bytes=1280,
)
FAMILIES = {family.name: family for family in (IPV4, IPV6)}
BY_ICMP = {family.icmp: family for family in (IPV4, IPV6)}


def of(address: str) -> Family:
    """The family of an address."""
    return IPV6 if ":" in address else IPV4
