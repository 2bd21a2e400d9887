"""Randomness: one root seed, named child streams."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


class SeededRng:
    """A stream derived from a seed and a path of names.

    Adding a stream never shifts another: each child's state comes from the hash of its path, not
    from draws of its parent.
    """

    __slots__ = ("_path", "_random", "random")
    _random: random.Random
    random: Callable[[], float]
    """A float in [0, 1)."""

    def __init__(self, seed: int | str, path: str = "") -> None:
        self._path = path or f"{seed}"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The state weighs 2.5 KB: it is made for the first draw, which most streams never
            see.
            """
            if name not in {"_random", "random"}:
                raise AttributeError(name)
            digest = hashlib.blake2b(self._path.encode(), digest_size=16).digest()
            self._random = random.Random(int.from_bytes(digest, "big"))  # noqa: S311  no secrets
            self.random = self._random.random
            return getattr(self, name)

    def child(self, name: str) -> SeededRng:
        """An independent stream; the same name always gives the same stream."""
        return SeededRng(0, f"{self._path}/{name}")

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._random.random() * n)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        return low + (high - low) * self._random.random()

    def choice(self, options: Sequence[T]) -> T:
        """One of a non-empty sequence."""
        return options[self.below(len(options))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def bytes(self, n: int) -> bytes:
        """``n`` random bytes."""
        return self._random.getrandbits(8 * n).to_bytes(n, "big") if n else b""


def fresh_seed() -> int:
    """A seed from the operating system, for runs that were given none."""
    return int.from_bytes(os.urandom(4), "big")
