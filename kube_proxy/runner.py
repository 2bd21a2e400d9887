"""Runs a sync soon after it is asked for, but not too often.

Source: kubernetes pkg/proxy/runner (BoundedFrequencyRunner): a token bucket that refills one run
per ``min_interval_s`` and holds ``burst``; requests meanwhile fold into one run; a failed run
is repeated after ``retry_s``. With a lineup of many, runs begin at common moments: one that waited
for its token begins up to half an interval early or late, and its bucket keeps the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from podwire.kube_proxy.lineup import Lineup
from podwire.runtime.ports import Clock, Timer

BURST = 2


class Runner:
    """``run`` answers whether it worked."""

    def __init__(
        self,
        clock: Clock,
        run: Callable[[], Awaitable[bool]],
        *,
        min_interval_s: float,
        retry_s: float,
        burst: int = BURST,
        lineup: Lineup | None = None,
    ) -> None:
        self._clock = clock
        self._run = run
        self._interval_ns = int(min_interval_s * 1e9)
        self._retry_s = retry_s
        self._burst = burst
        self._lineup = lineup
        self._tokens = float(burst)
        self._last_ns = clock.monotonic_ns()
        self._wanted = asyncio.Event()
        self._retry: Timer | None = None

    def request(self) -> None:
        """Ask for a run; asked twice before it starts, it runs once."""
        self._wanted.set()

    def retry(self) -> None:
        """Ask for a run once ``retry_s`` have passed, as after one that failed."""
        self._end_retry()
        self._retry = self._clock.call_later(self._retry_s, self.request)

    def _end_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _refill(self) -> None:
        now = self._clock.monotonic_ns()
        refill = (now - self._last_ns) / self._interval_ns
        self._tokens = min(float(self._burst), self._tokens + refill)
        self._last_ns = now

    def _delay_s(self) -> float:
        """Take a token, or how long until there is one."""
        if self._interval_ns <= 0:
            return 0.0
        self._refill()
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        missing_ns = int((1.0 - self._tokens) * self._interval_ns) + 1
        return missing_ns / 1e9

    async def _turn(self) -> None:
        """Wait until a run may begin."""
        lineup = self._lineup
        if lineup is None or not lineup.together:
            while delay_s := self._delay_s():
                await self._clock.sleep(delay_s)
        elif delay_s := self._delay_s():
            await lineup.moment(delay_s, self._interval_ns)
            self._refill()
            self._tokens -= 1.0
        else:
            await lineup.moment(0.0, 0)

    async def loop(self) -> None:
        """Serve requests until cancelled."""
        lineup = self._lineup
        if lineup is not None:
            lineup.join()
        try:
            while True:
                await self._wanted.wait()
                await self._turn()
                self._wanted.clear()
                self._end_retry()
                if not await self._run():
                    self.retry()
        finally:
            if lineup is not None:
                lineup.leave()
            self._end_retry()
