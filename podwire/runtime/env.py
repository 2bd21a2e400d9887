"""``Env``: clock, rng, ids, history and log of one run, real or simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from podwire.runtime.clock import RealClock
from podwire.runtime.entropy import Secret, of_system
from podwire.runtime.history import NoHistory
from podwire.runtime.ids import SeededIds
from podwire.runtime.log import logger
from podwire.runtime.ports import Clock, Ids, Rng, TraceLog
from podwire.runtime.rng import SeededRng, fresh_seed


@dataclass(frozen=True, slots=True)
class Env:
    """What the runtime gives to those who compose a world."""

    clock: Clock
    rng: Rng
    ids: Ids
    secret: Secret
    trace: TraceLog
    log: FilteringBoundLogger
    seed: int
    virtual: bool

    def child(self, name: str) -> Env:
        """The same world with other chance: for a later life of what is kept on disk."""
        rng = self.rng.child(name)
        return replace(self, rng=rng, ids=SeededIds(rng.child("ids")))


def real(seed: int | None = None, log_level: str = "info") -> Env:
    """An environment on the machine's clock; ``seed`` None draws one."""
    seed = fresh_seed() if seed is None else seed
    clock = RealClock()
    rng = SeededRng(seed)
    return Env(
        clock,
        rng,
        SeededIds(rng.child("ids")),
        of_system(),
        NoHistory(),
        logger(clock, log_level),
        seed,
        False,
    )
