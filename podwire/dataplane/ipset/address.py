"""Addresses of both families in ipset's words, as integers for masks and prefixes."""

from __future__ import annotations

from podwire.dataplane.addr import ip_int, ip_text

BITS = {"inet": 32, "inet6": 128}


def number(text: str, family: str) -> int:
    """An address as a tool reads it, as an integer. Raises ValueError for another family's, or
    none.
    """
    if family_of(text) != family:
        raise ValueError(text)
    parts = text.split(".")
    if family == "inet6" or len(parts) == 4:
        return ip_int(text)
    if len(parts) > 4 or not all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts):
        raise ValueError(text)
    # inet_aton: the last part fills what is left (1.1.1 is 1.1.0.1)
    value = 0
    for part in parts[:-1]:
        value = value << 8 | int(part)
    return value << 8 * (5 - len(parts)) | int(parts[-1])


def text(value: int, family: str) -> str:
    """The canonical text of an address."""
    return ip_text(value, BITS[family])


def family_of(address: str) -> str:
    """``inet`` or ``inet6``."""
    return "inet6" if ":" in address else "inet"


def masked(value: int, length: int, bits: int) -> int:
    """The first address of the network an address lies in."""
    shift = bits - length
    return value >> shift << shift


def networks(low: int, high: int, bits: int) -> list[tuple[int, int]]:
    """The fewest (network, length) that cover a range, from the lowest."""
    found = []
    while low <= high:
        size = low & -low if low else 1 << bits
        while size > high - low + 1:
            size >>= 1
        found.append((low, bits - size.bit_length() + 1))
        low += size
    return found
