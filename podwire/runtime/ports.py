"""Protocols through which pure rooms receive time and chance.

Pure rooms import this module and ``civil``, and nothing else of the runtime; both import no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Timer(Protocol):
    """A scheduled call that can be cancelled."""

    def cancel(self) -> None:
        """Forget the call; harmless when it already happened."""


class Clock(Protocol):
    """Time in integer nanoseconds; virtual in simulation, the machine's otherwise."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch (wall time; for timestamps in objects)."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back (for intervals)."""

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> Timer:
        """Run ``call(*args)`` after ``delay_s`` seconds on the loop."""

    async def sleep(self, delay_s: float) -> None:
        """Suspend the calling task for ``delay_s`` seconds."""


class Rng(Protocol):
    """A named stream of randomness derived from the one root seed."""

    def child(self, name: str) -> Rng:
        """An independent stream; the same name always gives the same stream."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def below(self, n: int) -> int:
        """An integer in [0, n)."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""

    def choice(self, options: Sequence[T]) -> T:
        """One of a non-empty sequence."""

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle in place."""

    def bytes(self, n: int) -> bytes:
        """``n`` random bytes."""


class Ids(Protocol):
    """Identifiers as Kubernetes makes them."""

    def uid(self) -> str:
        """A UUID (version 4 form) for metadata.uid and the like."""

    def suffix(self, n: int = 5) -> str:
        """``n`` characters of the vowel-free alphabet that generateName uses."""


class TraceLog(Protocol):
    """Where history is recorded for ``trace-hash``: ordered facts with virtual nanoseconds."""

    def record(self, kind: str, *facts: str | int | bytes) -> None:
        """Append one fact (store write, node command, verdict, probe result) to the history."""
