"""Run a coroutine on the virtual loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from podwire.runtime.clock import SimClock
from podwire.runtime.entropy import of_seed
from podwire.runtime.env import Env
from podwire.runtime.history import History
from podwire.runtime.ids import SeededIds
from podwire.runtime.log import logger
from podwire.runtime.rng import SeededRng
from podwire.runtime.simloop import SimLoop

T = TypeVar("T")


def env(loop: SimLoop, seed: int, log_level: str = "off", *, keep_history: bool = False) -> Env:
    """The environment of a virtual loop."""
    clock = SimClock(loop)
    rng = SeededRng(seed)
    return Env(
        clock,
        rng,
        SeededIds(rng.child("ids")),
        of_seed(rng),
        History(clock, keep=keep_history),
        logger(clock, log_level),
        seed,
        True,
    )


def close(loop: SimLoop) -> None:
    """Cancel what still runs, in order of task name, and close the loop."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()

    async def settle() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()

    loop.lift_bounds()
    try:
        loop.run_until_complete(settle())
    finally:
        loop.close()


def run(
    main: Callable[[Env], Coroutine[Any, Any, T]],
    seed: int = 0,
    *,
    horizon_s: float = 24 * 3600.0,
    max_steps: int = 200_000_000,
    log_level: str = "off",
) -> T:
    """Run ``main(env)`` to its end in virtual time. Raises SimulationError when a bound is hit."""
    loop = SimLoop(seed, horizon_s=horizon_s, max_steps=max_steps)
    try:
        return loop.run_until_complete(main(env(loop, seed, log_level)))
    finally:
        close(loop)
