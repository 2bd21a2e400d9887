"""Bob Jenkins' hash as Linux has it (include/linux/jhash.h), for nft's ``jhash`` and for Cilium."""

from __future__ import annotations

_ALL = 0xFFFFFFFF
_INITIAL = 0xDEADBEEF


def _turn(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _ALL


def jhash(data: bytes, seed: int) -> int:
    """The hash of some bytes."""
    left = len(data)
    a = b = c = (_INITIAL + left + seed) & _ALL
    at = 0
    while left > 12:
        a = (a + int.from_bytes(data[at : at + 4], "little")) & _ALL
        b = (b + int.from_bytes(data[at + 4 : at + 8], "little")) & _ALL
        c = (c + int.from_bytes(data[at + 8 : at + 12], "little")) & _ALL
        a, b, c = _mix(a, b, c)
        at, left = at + 12, left - 12
    if not left:
        return c
    tail = data[at:] + bytes(12 - left)
    a = (a + int.from_bytes(tail[:4], "little")) & _ALL
    b = (b + int.from_bytes(tail[4:8], "little")) & _ALL
    c = (c + int.from_bytes(tail[8:], "little")) & _ALL
    return _final(a, b, c)


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c & _ALL) ^ _turn(c, 4)
    c = c + b & _ALL
    b = (b - a & _ALL) ^ _turn(a, 6)
    a = a + c & _ALL
    c = (c - b & _ALL) ^ _turn(b, 8)
    b = b + a & _ALL
    a = (a - c & _ALL) ^ _turn(c, 16)
    c = c + b & _ALL
    b = (b - a & _ALL) ^ _turn(a, 19)
    a = a + c & _ALL
    c = (c - b & _ALL) ^ _turn(b, 4)
    b = b + a & _ALL
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _turn(b, 14) & _ALL
    a = (a ^ c) - _turn(c, 11) & _ALL
    b = (b ^ a) - _turn(a, 25) & _ALL
    c = (c ^ b) - _turn(b, 16) & _ALL
    a = (a ^ c) - _turn(c, 4) & _ALL
    b = (b ^ a) - _turn(a, 14) & _ALL
    return (c ^ b) - _turn(b, 24) & _ALL
