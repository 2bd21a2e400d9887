"""Identifiers drawn from a stream of the root seed."""

from __future__ import annotations

from podwire.runtime.ports import Rng

# apimachinery pkg/util/rand: no vowels (no words), no 0, 1 and 3 (no look-alikes).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class SeededIds:
    """Ids as Kubernetes makes them, replayable by seed."""

    __slots__ = ("_rng",)

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    def uid(self) -> str:
        """A UUID (version 4 form)."""
        raw = bytearray(self._rng.bytes(16))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, n: int = 5) -> str:
        """``n`` characters of the vowel-free alphabet."""
        below = self._rng.below
        return "".join(_ALPHABET[below(len(_ALPHABET))] for _ in range(n))
