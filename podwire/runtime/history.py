"""``trace-hash``: a digest of what happened, blind to how the code is arranged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from podwire.runtime.ports import Clock


class History:
    """Ordered facts (store writes, node commands, verdicts, probe results) with virtual time.

    ``keep`` retains the facts themselves, to show where two runs part.
    """

    def __init__(self, clock: Clock, *, keep: bool = False) -> None:
        self._monotonic_ns = clock.monotonic_ns
        self._hash = hashlib.blake2b(digest_size=16)
        self._update = self._hash.update
        self.on_fact: Callable[[str, tuple[str | int | bytes, ...]], None] | None = None
        """Called with each fact: how a driver waits for the world to move."""
        self.facts: list[tuple[int, str, tuple[str | int | bytes, ...]]] | None = (
            [] if keep else None
        )

    def record(self, kind: str, *facts: str | int | bytes) -> None:
        """Append one fact."""
        now = self._monotonic_ns()
        self._update(repr((now, kind, facts)).encode())
        if self.facts is not None:
            self.facts.append((now, kind, facts))
        if self.on_fact is not None:
            self.on_fact(kind, facts)

    @property
    def hash(self) -> str:
        """The digest so far, in hex."""
        return self._hash.hexdigest()


class NoHistory:
    """For real time, where no two runs are alike and nothing is replayed."""

    def record(self, kind: str, *facts: str | int | bytes) -> None:
        """Forget the fact."""
