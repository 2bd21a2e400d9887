"""Addresses, networks and URLs.

Source: Kubernetes' apiserver pkg/cel/library/ip.go, cidr.go, urls.go; the messages are those of
Go's net/netip and net/url.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from podwire.api.cel.functions import costs
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.functions.urls import Url, UrlError, parse_request_uri, parse_url
from podwire.api.cel.types import BOOL, INT, STRING, list_of, map_of, opaque
from podwire.api.cel.values import CelError, name_type, no_overload, size_of

IP = opaque("net.IP")
CIDR = opaque("net.CIDR")
URL = opaque("kubernetes.URL")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SIGNS = frozenset("0123456789abcdefABCDEF:.")


class Cidr:
    """An address and the length of a prefix; the bits behind it are kept."""

    __slots__ = ("address", "length")

    def __init__(self, address: Address, length: int) -> None:
        self.address = address
        self.length = length

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Cidr)
            and self.address == other.address
            and self.length == other.length
        )

    def __hash__(self) -> int:
        return hash((self.address, self.length))

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    def masked(self) -> Cidr:
        """The same network with zeros behind its prefix."""
        shift = self.address.max_prefixlen - self.length
        return Cidr(type(self.address)(int(self.address) >> shift << shift), self.length)

    def holds(self, address: Address) -> bool:
        """Whether an address is in the network."""
        shift = self.address.max_prefixlen - self.length
        same = address.version == self.address.version
        return same and int(address) >> shift == int(self.address) >> shift


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _parse_address(text: str) -> Address:
    """Go's netip.ParseAddr. Raises ValueError with its message."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"ParseAddr({_quoted(text)}): {_why(text)}") from None


def _why(text: str) -> str:
    for sign in text:
        if sign == ".":
            return _why_four(text)
        if sign == ":":
            return _why_six(text)
        if sign == "%":
            return "missing IPv6 address"
    return "unable to parse IP"


def _why_four(text: str) -> str:
    parts = text.split(".")
    for place, part in enumerate(parts):
        if not all("0" <= sign <= "9" for sign in part):
            bad = next(sign for sign in part if not "0" <= sign <= "9")
            return f"unexpected character (at {_quoted(text[text.index(bad) :])})"
        if not part:
            return f"IPv4 field must have at least one digit (at {_quoted(text)})"
        if len(part) > 1 and part[0] == "0":
            return "IPv4 field has octet with leading zero"
        if int(part[:5]) > 255:
            return "IPv4 field has value >255"
        if place == 3 and len(parts) > 4:
            return "IPv4 address too long"
    return "IPv4 address too short"


def _why_six(text: str) -> str:
    body = text.split("%", 1)[0]
    rest = body.removeprefix("::")
    while rest:
        part = rest.split(":", 1)[0]
        if len(part) > 4 and "." not in part:
            return f"each group must have 4 or less digits (at {_quoted(rest)})"
        if not part:
            return f"each colon-separated field must have at least one digit (at {_quoted(rest)})"
        if "." in part:
            return f"embedded IPv4 address must replace the final 2 fields (at {_quoted(rest)})"
        rest = rest[len(part) :]
        if rest.startswith("::"):
            rest = rest[2:]
        elif rest:
            rest = rest[1:]
            if not rest:
                return 'colon must be followed by more characters (at ":")'
    return "address string too short"


def address(text: str) -> Address:
    """An address without a zone, and no IPv4 one in IPv6's form. Raises CelError."""
    try:
        parsed = _parse_address(text)
    except ValueError as wrong:
        raise CelError(
            f"IP Address {_quoted(text)} parse error during conversion from string: {wrong}"
        ) from None
    if "%" in text:
        raise CelError(f"IP address {_quoted(text)} with zone value is not allowed")
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        raise CelError(f"IPv4-mapped IPv6 address {_quoted(text)} is not allowed")
    return parsed


def cidr(text: str) -> Cidr:
    """A network. Raises CelError."""
    start = "network address parse error during conversion from string: "
    try:
        parsed = _parse_prefix(text)
    except ValueError as wrong:
        shown = f"netip.ParsePrefix({_quoted(text)}): {wrong}"
        raise CelError(f"{start}{start}{shown}") from None
    if isinstance(parsed.address, ipaddress.IPv6Address) and parsed.address.ipv4_mapped is not None:
        raise CelError(f"{start}IPv4-mapped IPv6 address {_quoted(text)} is not allowed")
    return parsed


def _parse_prefix(text: str) -> Cidr:
    place = text.rfind("/")
    if place < 0:
        raise ValueError("no '/'")
    parsed = _parse_address(text[:place])
    if "%" in text:
        raise ValueError("IPv6 zones cannot be present in a prefix")
    bits = text[place + 1 :]
    if not (bits.isascii() and bits.isdigit() and len(bits) < 4) or (bits[0] == "0" < bits[1:]):
        raise ValueError(f"bad bits after slash: {_quoted(bits)}")
    if int(bits) > parsed.max_prefixlen:
        raise ValueError("prefix length out of range")
    return Cidr(parsed, int(bits))


def _is_ip(text: str) -> bool:
    """Whether ``address`` takes a text; most texts that it does not take are no digits at all."""
    return _SIGNS.issuperset(text) and _holds(address, text)


def _holds(make: Any, text: str) -> bool:
    try:
        make(text)
    except (CelError, UrlError):
        return False
    return True


def _contains_text(network: Cidr, text: str) -> bool:
    try:
        return network.holds(address(text))
    except CelError:
        # upstream gives the error of the conversion to a comparison, which does not know it
        raise no_overload() from None


def _contains_network(network: Cidr, other: Cidr) -> bool:
    return network.length <= other.length and network.holds(other.address)


def _link_local_multicast(one: Address) -> bool:
    if one.version == 4:
        return int(one) >> 8 == 0xE00000
    return (int(one) >> 112) & 0xFF0F == 0xFF02


def _link_local_unicast(one: Address) -> bool:
    if one.version == 4:
        return int(one) >> 16 == 0xA9FE
    return int(one) >> 118 == 0xFE80 >> 6


def _loopback(one: Address) -> bool:
    return int(one) >> 24 == 127 if one.version == 4 else int(one) == 1


def _multicast(one: Address) -> bool:
    return int(one) >> 28 == 0xE if one.version == 4 else int(one) >> 120 == 0xFF


def _global_unicast(one: Address) -> bool:
    broadcast = one.version == 4 and int(one) == 0xFFFFFFFF
    special = _loopback(one) or _multicast(one) or _link_local_unicast(one)
    return int(one) != 0 and not broadcast and not special


def _cidr_cost(args: tuple[Any, ...], _: Any) -> int:
    return costs.tenth(2 * _prefix_size(args[0]))


def _prefix_size(one: Any) -> int:
    """Upstream's size of a network: the bits of its addresses' octets rounded to whole ones."""
    return -(-one.length // 8) if isinstance(one, Cidr) else size_of(one)


def _contains_ip_cost(args: tuple[Any, ...], _: Any) -> int:
    extra = costs.tenth(len(args[1])) if isinstance(args[1], str) else 0
    return costs.tenth(2 * _prefix_size(args[0])) + extra


def _contains_cidr_cost(args: tuple[Any, ...], _: Any) -> int:
    size = _prefix_size(args[0])
    extra = costs.tenth(len(args[1])) if isinstance(args[1], str) else 0
    return costs.tenth(2 * size) + costs.tenth(size) + 1 + extra


function("ip", "string_to_ip", (STRING,), IP, address, costs.traversal)
method("family", "ip_family", (IP,), INT, lambda one: one.version)
function(
    "ip.isCanonical", "ip_is_canonical", (STRING,), BOOL,
    lambda text: str(address(text)) == text, costs.traversal_twice,
)  # fmt: skip
for _name, _id, _test in (
    ("isUnspecified", "ip_is_unspecified", lambda one: int(one) == 0),
    ("isLoopback", "ip_is_loopback", _loopback),
    ("isLinkLocalMulticast", "ip_is_link_local_multicast", _link_local_multicast),
    ("isLinkLocalUnicast", "ip_is_link_local_unicast", _link_local_unicast),
    ("isGlobalUnicast", "ip_is_global_unicast", _global_unicast),
):
    method(_name, _id, (IP,), BOOL, _test)
function("isIP", "is_ip", (STRING,), BOOL, _is_ip, costs.traversal)
function("string", "ip_to_string", (IP,), STRING, str)
function("cidr", "string_to_cidr", (STRING,), CIDR, cidr, costs.traversal)
method(
    "containsIP", "cidr_contains_ip_string", (CIDR, STRING), BOOL, _contains_text,
    _contains_ip_cost,
)  # fmt: skip
method("containsIP", "cidr_contains_ip_ip", (CIDR, IP), BOOL, Cidr.holds, _contains_ip_cost)
method(
    "containsCIDR", "cidr_contains_cidr_string", (CIDR, STRING), BOOL,
    lambda x, y: _contains_network(x, cidr(y)), _contains_cidr_cost,
)  # fmt: skip
method(
    "containsCIDR", "cidr_contains_cidr", (CIDR, CIDR), BOOL, _contains_network,
    _contains_cidr_cost,
)  # fmt: skip
method("ip", "cidr_ip", (CIDR,), IP, lambda one: one.address)
method("prefixLength", "cidr_prefix_length", (CIDR,), INT, lambda one: one.length)
method("masked", "cidr_masked", (CIDR,), CIDR, Cidr.masked)
function("isCIDR", "is_cidr", (STRING,), BOOL, lambda text: _holds(cidr, text), costs.traversal)
function("string", "cidr_to_string", (CIDR,), STRING, str)


def _url(text: str) -> Url:
    try:
        parse_request_uri(text)
        return parse_url(text)
    except UrlError as wrong:
        raise CelError(f"URL parse error during conversion from string: {wrong}") from None


function("url", "string_to_url", (STRING,), URL, _url, costs.traversal)
for _name, _id in (
    ("getScheme", "scheme"), ("getHost", "host"), ("getHostname", "hostname"),
    ("getPort", "port"), ("getEscapedPath", "escaped_path"),
):  # fmt: skip
    method(_name, f"url_get_{_id}", (URL,), STRING, lambda one, field=_id: getattr(one, field))
method(
    "getQuery", "url_get_query", (URL,), map_of(STRING, list_of(STRING)), lambda one: one.query()
)
function("isURL", "is_url_string", (STRING,), BOOL, lambda text: _holds(parse_request_uri, text))
name_type(ipaddress.IPv4Address, "net.IP")
name_type(ipaddress.IPv6Address, "net.IP")
name_type(Cidr, "net.CIDR")
name_type(Url, "kubernetes.URL")
