"""The queue of client-go's util/workqueue: deduplicating, rate limited per key, delaying.

A key added while it is processed is processed once more afterwards, never concurrently; a key
added twice before processing is processed once.
"""

from __future__ import annotations

import asyncio
from collections import deque

from podwire.runtime.ports import Clock, Timer

FIRST_RETRY_S = 0.005
MAX_RETRY_S = 1000.0


class WorkQueue:
    """Keys waiting to be processed, in order of arrival."""

    def __init__(
        self, clock: Clock, retry_s: tuple[float, float] = (FIRST_RETRY_S, MAX_RETRY_S)
    ) -> None:
        """``retry_s``: the backoff of the first failure, and the longest one."""
        self._clock = clock
        self._retry_s = retry_s
        self._ready: deque[str] = deque()
        self._dirty: dict[str, None] = {}
        self._processing: dict[str, None] = {}
        self._failures: dict[str, int] = {}
        self._later: dict[str, tuple[int, Timer]] = {}
        self._getters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str) -> None:
        """Process the key soon."""
        if key in self._dirty:
            return
        self._dirty[key] = None
        if key not in self._processing:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: str, delay_s: float) -> None:
        """Process the key after a delay; of several delays the one that ends first counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due_ns = self._clock.monotonic_ns() + int(delay_s * 1e9)
        waiting = self._later.get(key)
        if waiting is not None:
            if waiting[0] <= due_ns:
                return
            waiting[1].cancel()
        self._later[key] = (due_ns, self._clock.call_later(delay_s, self._due, key))

    def add_rate_limited(self, key: str) -> float:
        """Process the key after its backoff (it doubles); the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        first_s, most_s = self._retry_s
        delay_s = min(first_s * float(1 << min(failures, 60)), most_s)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: str) -> None:
        """The key went well: its next failure starts the backoff anew."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        """How often the key failed since it last went well."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key, now being processed; call ``done`` afterwards."""
        while not self._ready:
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # hand the wake-up on
                elif getter in self._getters:
                    self._getters.remove(getter)
                raise
        key = self._ready.popleft()
        self._processing[key] = None
        del self._dirty[key]
        return key

    def done(self, key: str) -> None:
        """The key is no longer processed."""
        self._processing.pop(key, None)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def stop(self) -> None:
        """Cancel what waits for its time."""
        for _, timer in self._later.values():
            timer.cancel()
        self._later.clear()

    def _due(self, key: str) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
