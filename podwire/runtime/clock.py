"""The two clocks: the machine's, and the virtual loop's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podwire.runtime.simloop import SimLoop

EPOCH_NS = 1_767_225_600 * 10**9
"""Where virtual wall time starts: 2026-01-01T00:00:00Z."""


def process_age_s() -> float:
    """Seconds since this process was started (imports included), as people feel it."""
    with Path("/proc/self/stat").open() as file:
        started_ticks = int(file.read().rpartition(")")[2].split()[19])
    with Path("/proc/uptime").open() as file:
        uptime_s = float(file.read().split()[0])
    return uptime_s - started_ticks / os.sysconf("SC_CLK_TCK")


class RealClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start."""
        return time.monotonic_ns()

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> Any:
        """Run ``call(*args)`` after ``delay_s`` seconds on the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, call, *args)

    async def sleep(self, delay_s: float) -> None:
        """Suspend the calling task."""
        await asyncio.sleep(delay_s)


class SimClock:
    """The clock of a virtual loop; starts at EPOCH_NS."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.call_later = loop.call_later
        """Run a call after a delay in seconds."""

    def now_ns(self) -> int:
        """Virtual nanoseconds since the Unix epoch."""
        return EPOCH_NS + self._loop.now_ns

    def monotonic_ns(self) -> int:
        """Virtual nanoseconds since the run began."""
        return self._loop.now_ns

    async def sleep(self, delay_s: float) -> None:
        """Suspend the calling task for virtual seconds."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        due: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        timer = self.call_later(delay_s, _wake, due)
        try:
            await due
        except BaseException:
            timer.cancel()  # one that fired is no work for the loop: most do
            raise


def _wake(due: asyncio.Future[None]) -> None:
    if not due.done():
        due.set_result(None)
