"""IP and MAC addresses as people write them, and as integers where arithmetic is needed.

An address is its canonical text everywhere (RFC 5952 for IPv6); which family it is shows in the
text itself. ``canonical`` makes such a text of what people type.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ZERO_MAC = "00:00:00:00:00:00"
ALL_ONES = 0xFFFFFFFF
LINK_LOCAL = 0xFE80 << 112
"""fe80::"""


class Prefix(NamedTuple):
    """A network: its first address as an integer, its mask's length, its family's 32 or 128."""

    network: int
    length: int
    bits: int = 32

    def __str__(self) -> str:
        return f"{ip_text(self.network, self.bits)}/{self.length}"

    def holds(self, address: int) -> bool:
        """Whether an address (of the same family) lies inside."""
        return (address ^ self.network) >> (self.bits - self.length) == 0

    @property
    def single(self) -> bool:
        """Whether it is one address: a /32 or /128."""
        return self.length == self.bits

    @property
    def shown(self) -> str:
        """As tools print it: one address without its length."""
        return ip_text(self.network, self.bits) if self.single else str(self)

    @property
    def last(self) -> int:
        """Its last address."""
        return self.network | ((1 << (self.bits - self.length)) - 1)


def family_of(address: str) -> str:
    """``ipv4`` or ``ipv6``."""
    return "ipv6" if ":" in address else "ipv4"


def bracketed(address: str) -> str:
    """An address as it stands before a port: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


@lru_cache(maxsize=65536)
def ip_int(text: str) -> int:
    """An address as an integer. Raises ValueError for what is not one."""
    if ":" in text:
        return _ipv6_int(text)
    parts = text.split(".")
    if len(parts) != 4:
        raise ValueError(f"not an IP address: {text!r}")
    value = 0
    for part in parts:
        if not (part.isascii() and part.isdigit()) or int(part) > 255:
            raise ValueError(f"not an IP address: {text!r}")
        value = value << 8 | int(part)
    return value


def _ipv6_int(text: str) -> int:
    if "%" in text:
        raise ValueError(f"not an IP address: {text!r}")
    try:
        return int(ipaddress.IPv6Address(text))
    except ipaddress.AddressValueError:
        raise ValueError(f"not an IP address: {text!r}") from None


@lru_cache(maxsize=65536)
def ip_text(value: int, bits: int = 32) -> str:
    """The canonical text of an integer; ``bits`` is its family's 32 or 128."""
    if bits == 128:
        if value >> 32 == 0xFFFF:
            return f"::ffff:{ip_text(value & ALL_ONES)}"
        return str(ipaddress.IPv6Address(value))
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


@lru_cache(maxsize=65536)
def canonical(text: str) -> str:
    """An address as the kernel prints it. Raises ValueError."""
    return ip_text(ip_int(text), 128 if ":" in text else 32)


def mask_int(length: int, bits: int = 32) -> int:
    """The netmask of a prefix length."""
    return (1 << bits) - (1 << (bits - length))


@lru_cache(maxsize=65536)
def parse_prefix(text: str, bits: int = 0) -> Prefix:
    """``10.244.0.0/16``, a plain address (/32, /128), ``default``, or a mask. Host bits are cut.

    ``bits`` (0: as the text says) is the family that is expected. Raises ValueError.
    """
    if text in {"default", "any", "all"}:
        return Prefix(0, 0, bits or 32)
    address, _, tail = text.partition("/")
    if text == "0/0":
        address = "0.0.0.0"
    size = 128 if ":" in address else 32
    if bits not in {0, size}:
        raise ValueError(f"not of the expected family: {text!r}")
    if not tail:
        length = size
    elif "." in tail or ":" in tail:
        mask = ip_int(tail)
        length = mask.bit_count()
        if mask_int(length, size) != mask:
            raise ValueError(f"not a netmask: {tail!r}")
    else:
        length = int(tail)
    if not 0 <= length <= size:
        raise ValueError(f"not a prefix length: {tail!r}")
    return Prefix(ip_int(address) & mask_int(length, size), length, size)


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Whether an address lies in 127.0.0.0/8, or is ::1."""
    return address.startswith("127.") or address == "::1"


@lru_cache(maxsize=65536)
def is_multicast(address: str) -> bool:
    """Whether an address lies in 224.0.0.0/4 or ff00::/8."""
    if ":" in address:
        return ip_int(address) >> 120 == 0xFF
    return ip_int(address) >> 28 == 0xE


@lru_cache(maxsize=65536)
def is_link_local(address: str) -> bool:
    """Whether an address lies in fe80::/10 (IPv4 has no such notion for routing)."""
    return ":" in address and ip_int(address) >> 118 == LINK_LOCAL >> 118


def is_broadcast_mac(mac: str) -> bool:
    """Whether a frame to this MAC is for everyone (broadcast or multicast)."""
    return int(mac[1], 16) & 1 == 1


@lru_cache(maxsize=65536)
def link_local(mac: str) -> str:
    """The link-local address that a device makes of its MAC (RFC 4291, modified EUI-64)."""
    raw = [int(part, 16) for part in mac.split(":")]
    eui = [raw[0] ^ 2, raw[1], raw[2], 0xFF, 0xFE, raw[3], raw[4], raw[5]]
    return ip_text(LINK_LOCAL | int.from_bytes(bytes(eui), "big"), 128)


@lru_cache(maxsize=65536)
def solicited_node(address: str) -> str:
    """The multicast group that neighbours ask an IPv6 address in (RFC 4291 2.7.1)."""
    return ip_text(0xFF02 << 112 | 1 << 32 | 0xFF << 24 | ip_int(address) & 0xFFFFFF, 128)


@lru_cache(maxsize=65536)
def multicast_mac(address: str) -> str:
    """The MAC of an IPv6 multicast group: 33:33 and its last 32 bits (RFC 2464)."""
    tail = ip_int(address) & ALL_ONES
    return "33:33:" + ":".join(f"{tail >> shift & 255:02x}" for shift in (24, 16, 8, 0))
