"""The data types of nftables: how a value reads, prints, sorts and compares.

A value of a packet and a value of a rule are the same Python value: addresses and device names
are strings, protocols their names, everything else a number. Source: nftables src/datatype.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from podwire.dataplane.addr import ip_int, ip_text
from podwire.dataplane.netdb import PROTOCOLS, SERVICES
from podwire.dataplane.nft.text import NftError, Token

Value = Any

PROTOCOL_ALIASES = {"icmpv6": "ipv6-icmp"}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

SYMBOLS: dict[str, dict[str, int]] = {
    "ct_state": {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64},
    "ct_status": {
        "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32,
        "dying": 512,
    },
    "ct_dir": {"original": 0, "reply": 1},
    "tcp_flag": {
        "fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128,
    },
    "nf_proto": {"ipv4": 2, "ipv6": 10},
    "ether_type": {"ip": 0x0800, "arp": 0x0806, "vlan": 0x8100, "ip6": 0x86DD},
    "pkt_type": {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3},
    "fib_addrtype": {
        "unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5,
        "blackhole": 6, "unreachable": 7, "prohibit": 8,
    },
    "icmp_type": {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5,
        "echo-request": 8, "router-advertisement": 9, "router-solicitation": 10,
        "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13,
        "timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17,
        "address-mask-reply": 18,
    },
    "icmp_code": {
        "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
        "frag-needed": 4, "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
    },
    "icmpv6_type": {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3,
        "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
        "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
        "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
        "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138,
        "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142, "mld2-listener-report": 143,
    },
    "icmpv6_code": {
        "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4,
        "policy-fail": 5, "reject-route": 6,
    },
    "icmpx_code": {
        "port-unreachable": 1, "admin-prohibited": 3, "no-route": 0, "host-unreachable": 2,
    },
    "dscp": {
        "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
        "lephb": 1, "af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
        "af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38, "ef": 46,
    },
    "boolean": {"exists": 1, "missing": 0},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DataType:
    """One type. ``per_line`` is how many elements of a set nft prints on a line."""

    name: str
    words: str
    """What nft calls it in messages."""
    bits: int
    read: Callable[[Token], Value]
    show: Callable[[Value], str]
    number: Callable[[Value], int]
    """The value as a number, which sets are sorted by."""
    per_line: int = 1
    flags: bool = False
    """Whether several values joined by ``,`` or ``|`` make one."""
    back: Callable[[int], Value] = field(default=int)
    """The value of a number."""


def _bad(token: Token, message: str) -> NftError:
    return NftError(message, token.start, token.end)


def _address(version: type[IPv4Address | IPv6Address]) -> Callable[[Token], str]:
    def read(token: Token) -> str:
        try:
            return str(version(token.value))
        except AddressValueError:
            message = "Could not resolve hostname: Name or service not known"
            raise _bad(token, message) from None

    return read


def _int(token: Token, bits: int, what: str = "Value") -> int:
    try:
        value = int(token.text, 0)
    except ValueError:
        raise _bad(token, "Could not parse integer") from None
    if value >> bits:
        limit = (1 << bits) - 1
        if what == "Value":
            raise _bad(token, f"Value {value} exceeds valid range 0-{limit}")
        raise _bad(token, f"{what} out of range")
    return value


def _service(token: Token) -> int:
    if token.kind == "number":
        return _int(token, 16, "Service")
    if token.value in SERVICES:
        return SERVICES[token.value]
    words = "Could not resolve service: Servname not supported for ai_socktype"
    raise _bad(token, words)


def _protocol(token: Token) -> str:
    if token.kind == "number":
        return protocol_name(_int(token, 8, "Protocol"))
    name = PROTOCOL_ALIASES.get(token.value, token.value)
    if name not in PROTOCOLS:
        raise _bad(token, "Could not resolve protocol name")
    return name


def protocol_name(number: int) -> str:
    """A protocol's name; the number itself where it has none."""
    return _PROTOCOL_NAMES.get(number, str(number))


def _protocol_number(value: str) -> int:
    return PROTOCOLS[value] if value in PROTOCOLS else int(value)


def _device(token: Token) -> str:
    if len(token.value) > 15:
        raise _bad(token, "String exceeds maximum length of 15")
    return token.value


def _device_number(value: str) -> int:
    """Names sort as numbers of their bytes, the first one least (as the host's order has it)."""
    return int.from_bytes(value.encode(), "little")


def _quoted(value: str) -> str:
    return f'"{value}"'


def _show_device(value: str) -> str:
    return value if value.isdigit() else f'"{value}"'


_TIME = re.compile(r"(\d+)(ms|[wdhms])")
_TIME_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def duration_ms(token: Token) -> int:
    """``1h30m``, ``10800s``, ``5ms`` or plain seconds, in milliseconds."""
    text = token.value
    if text.isdigit():
        return int(text) * 1000
    parts = _TIME.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise _bad(token, "syntax error, unexpected string")
    return sum(int(n) * _TIME_MS[u] for n, u in parts)


def duration_text(ms: int) -> str:
    """Milliseconds as nft prints them (``3h``, ``4m59s996ms``)."""
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms >= size:
            text += f"{ms // size}{unit}"
            ms %= size
    return text + (f"{ms}ms" if ms else "") or "0s"


def _symbolic(
    name: str, words: str, bits: int, *, per_line: int = 1, flags: bool = False
) -> DataType:
    known = SYMBOLS[name]
    names: dict[int, str] = {}
    for word, number in known.items():
        names.setdefault(number, word)
    if name == "pkt_type":
        names[0] = "unicast"

    def read(token: Token) -> int:
        if token.kind == "number":
            return _int(token, bits)
        if token.value not in known:
            raise _bad(token, f"Could not parse {words}" if flags else "Could not parse symbol")
        return known[token.value]

    def show(value: int) -> str:
        if value in names:
            return names[value]
        if not flags:
            return str(value)
        parts = [word for number, word in names.items() if value & number]
        return ",".join(parts) if parts else f"{value:#x}"

    return DataType(name, words, bits, read, show, int, per_line, flags)


def _integer(bits: int) -> DataType:
    return DataType("integer", "integer", bits, lambda t: _int(t, bits), str, int, 5)


def _hexadecimal(name: str, words: str, bits: int) -> DataType:
    return DataType(
        name, words, bits, lambda t: _int(t, bits), lambda v: f"0x{v:0{bits // 4}x}", int, 5
    )


IPV4 = DataType(
    "ipv4_addr", "IPv4 address", 32, _address(IPv4Address), str, ip_int, 2,
    back=ip_text,
)  # fmt: skip
IPV6 = DataType(
    "ipv6_addr", "IPv6 address", 128, _address(IPv6Address), str, ip_int, 1,
    back=lambda n: ip_text(n, 128),
)  # fmt: skip
PROTO = DataType(
    "inet_proto", "Internet protocol", 8, _protocol, str, _protocol_number, 5, back=protocol_name
)
SERVICE = DataType("inet_service", "internet network service", 16, _service, str, int, 5)
MARK = _hexadecimal("mark", "packet mark", 32)
IFNAME = DataType("ifname", "network interface name", 128, _device, _quoted, _device_number, 1)
IFINDEX = DataType(
    "iface_index", "network interface index", 32, _device, _show_device, _device_number, 5
)
INT8, INT16, INT32, INT64 = (_integer(bits) for bits in (8, 16, 32, 64))
TIME = DataType(
    "time", "relative time", 32, duration_ms, duration_text, int, 1
)  # fmt: skip
VERDICT = DataType("verdict", "netfilter verdict", 32, _device, str, lambda _: 0)
STRING = DataType("string", "string", 128, lambda t: t.value, _quoted, _device_number)
RAW = DataType("string", "string", 128, lambda t: t.text, str, lambda _: 0)
"""Values that are kept as they are spelled."""
CT_STATE = _symbolic("ct_state", "conntrack state", 32, per_line=2, flags=True)
CT_STATUS = _symbolic("ct_status", "conntrack status", 32, flags=True)
CT_DIR = _symbolic("ct_dir", "conntrack direction", 8)
TCP_FLAG = _symbolic("tcp_flag", "TCP flag", 8, flags=True)
NF_PROTO = _symbolic("nf_proto", "netfilter protocol", 8, per_line=3)
ETHER_TYPE = _symbolic("ether_type", "Ethernet protocol", 16)
PKT_TYPE = _symbolic("pkt_type", "packet type", 8)
ADDR_TYPE = _symbolic("fib_addrtype", "fib address type", 32)
ICMP_TYPE = _symbolic("icmp_type", "ICMP type", 8)
ICMP_CODE = _symbolic("icmp_code", "icmp code", 8)
ICMPV6_TYPE = _symbolic("icmpv6_type", "ICMPv6 type", 8)
ICMPV6_CODE = _symbolic("icmpv6_code", "icmpv6 code", 8)
DSCP = _symbolic("dscp", "Differentiated Services Code Point", 6)
BOOLEAN = _symbolic("boolean", "boolean type", 1)

ETHER_ADDR = DataType(
    "ether_addr", "Ethernet address", 48, lambda k: k.value.lower(), str,
    lambda v: int(v.replace(":", ""), 16),
)  # fmt: skip

NAMED: dict[str, DataType] = {
    t.name: t
    for t in (
        IPV4, IPV6, PROTO, SERVICE, MARK, IFNAME, IFINDEX, CT_STATE, CT_STATUS, CT_DIR, TCP_FLAG,
        NF_PROTO, ETHER_TYPE, PKT_TYPE, ADDR_TYPE, ICMP_TYPE, ICMP_CODE, ICMPV6_TYPE, ICMPV6_CODE,
        DSCP, TIME, VERDICT, BOOLEAN, ETHER_ADDR,
    )
}  # fmt: skip
"""Types that a set may be declared with."""


@dataclass(frozen=True, slots=True)
class Range:
    """Values from ``low`` to ``high``, as numbers; printed as a prefix where it is one."""

    low: int
    high: int
    dashed: bool = field(default=False, compare=False)
    """Spelled ``low-high``, which a plain comparison keeps even for a prefix."""

    def holds(self, number: int) -> bool:
        """Whether a value lies inside."""
        return self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class Wild:
    """Device names that begin so (``eth*``)."""

    start: str


_PREFIXES = ("ipv4_addr", "ipv6_addr", "mark")
"""Types whose ranges print as prefixes where they are some."""


def show_value(kind: DataType, value: Value, *, spelled: bool = False) -> str:
    """A value, range or wildcard of a type as nft prints it."""
    if isinstance(value, Wild):
        return f'"{value.start}*"'
    if not isinstance(value, Range):
        return kind.show(value)
    size = value.high - value.low + 1
    if size == 1:
        return kind.show(kind.back(value.low))
    if (
        kind.name in _PREFIXES
        and not (spelled and value.dashed)
        and size & (size - 1) == 0
        and value.low % size == 0
    ):
        return f"{kind.show(kind.back(value.low))}/{kind.bits - size.bit_length() + 1}"
    return f"{kind.show(kind.back(value.low))}-{kind.show(kind.back(value.high))}"


def prefix(kind: DataType, value: Value, length: int) -> Range:
    """The range of a prefix; host bits are cut."""
    host = kind.bits - length
    low = kind.number(value) >> host << host
    return Range(low, low + (1 << host) - 1)


HOST_ORDER = ("mark", "ifname", "iface_index", "ct_state", "ct_status", "integer")
"""Types whose bytes lie in the machine's order (little endian); all others are as on the wire."""


def sort_key(kinds: tuple[DataType, ...], key: Value, *, interval: bool) -> Value:
    """What elements are sorted by when they are printed (nft's expr_msort_cmp).

    A concatenation is compared as one little-endian number made of its fields' bytes; an interval
    set's strings as they are spelled.
    """
    if not isinstance(key, tuple):
        if kinds[0] is IFNAME and interval:
            return key.start if isinstance(key, Wild) else key
        return key.low if isinstance(key, Range) else kinds[0].number(key)
    raw = b""
    for kind, part in zip(kinds, key, strict=True):
        number = part.low if isinstance(part, Range) else kind.number(part)
        size = (kind.bits + 7) // 8
        raw += number.to_bytes(size, "little" if kind.name in HOST_ORDER else "big")
    return int.from_bytes(raw, "little")
