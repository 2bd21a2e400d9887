"""The two clocks: the machine's, and the virtual loop's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podwire.runtime.simloop import SimLoop

EPOCH_NS = 1_767_225_600 * 10**9
"""Where virtual wall time starts: 2026-01-01T00:00:00Z."""


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
        await asyncio.sleep(delay_s)
