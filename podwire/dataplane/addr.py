"""IPv4 and MAC addresses as people write them, and as integers where arithmetic is needed."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ZERO_MAC = "00:00:00:00:00:00"
ALL_ONES = 0xFFFFFFFF


class Prefix(NamedTuple):
    """A network: its first address as an integer, and the length of its mask in bits."""

    network: int
    length: int

    def __str__(self) -> str:
        return f"{ip_text(self.network)}/{self.length}"

    def holds(self, address: int) -> bool:
        """Whether an address lies inside."""
        return (address ^ self.network) >> (32 - self.length) == 0


@lru_cache(maxsize=65536)
def ip_int(text: str) -> int:
    """A dotted quad as an integer. Raises ValueError for anything else (IPv6 is not modelled)."""
    parts = text.split(".")
    if len(parts) != 4:
        raise ValueError(f"not an IPv4 address: {text!r}")
    value = 0
    for part in parts:
        if not (part.isascii() and part.isdigit()) or int(part) > 255:
            raise ValueError(f"not an IPv4 address: {text!r}")
        value = value << 8 | int(part)
    return value


@lru_cache(maxsize=65536)
def ip_text(value: int) -> str:
    """The dotted quad of an integer."""
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def mask_int(length: int) -> int:
    """The netmask of a prefix length."""
    return ALL_ONES << (32 - length) & ALL_ONES


@lru_cache(maxsize=65536)
def parse_prefix(text: str) -> Prefix:
    """``10.244.0.0/16``, a plain address (/32), ``default``, or a dotted mask. Host bits are cut.

    Raises ValueError.
    """
    if text in {"default", "0/0", "any"}:
        return Prefix(0, 0)
    address, _, tail = text.partition("/")
    if not tail:
        length = 32
    elif "." in tail:
        mask = ip_int(tail)
        length = mask.bit_count()
        if mask_int(length) != mask:
            raise ValueError(f"not a netmask: {tail!r}")
    else:
        length = int(tail)
    if not 0 <= length <= 32:
        raise ValueError(f"not a prefix length: {tail!r}")
    return Prefix(ip_int(address) & mask_int(length), length)


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Whether an address lies in 127.0.0.0/8."""
    return address.startswith("127.")


def is_multicast(address: str) -> bool:
    """Whether an address lies in 224.0.0.0/4."""
    return ip_int(address) >> 28 == 0xE


def is_broadcast_mac(mac: str) -> bool:
    """Whether a frame to this MAC is for everyone (broadcast or multicast)."""
    return int(mac[1], 16) & 1 == 1
