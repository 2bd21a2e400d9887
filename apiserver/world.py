"""What the API server needs of its surroundings; ``Env`` and ``Ctx`` both have it."""

from __future__ import annotations

from typing import Protocol

from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock, Ids, Rng


class World(Protocol):
    """Time, chance, ids and a log."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def rng(self) -> Rng:
        """Chance."""

    @property
    def ids(self) -> Ids:
        """Uids and name suffixes."""

    @property
    def log(self) -> FilteringBoundLogger:
        """Where events are told."""
