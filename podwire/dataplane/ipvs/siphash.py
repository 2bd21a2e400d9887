"""hsiphash of one 32-bit word, as 64-bit kernels compute it (lib/siphash.c: SipHash-1-3)."""

from __future__ import annotations

from functools import lru_cache

_MASK = (1 << 64) - 1
_START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _MASK
    b = _rotate(b, 13) ^ a
    a = _rotate(a, 32)
    c = (c + d) & _MASK
    d = _rotate(d, 16) ^ c
    a = (a + d) & _MASK
    d = _rotate(d, 21) ^ a
    c = (c + b) & _MASK
    b = _rotate(b, 17) ^ c
    return a, b, _rotate(c, 32), d


@lru_cache(maxsize=1 << 16)
def hsiphash_u32(word: int, key: int) -> int:
    """The hash of a word under a key whose two halves are equal."""
    a, b, c, d = (part ^ key for part in _START)
    last = 4 << 56 | (word & 0xFFFFFFFF)
    d ^= last
    a, b, c, d = _round(a, b, c, d)
    a ^= last
    c ^= 0xFF
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return (a ^ b ^ c ^ d) & 0xFFFFFFFF
