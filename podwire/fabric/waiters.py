"""Coroutines that wait for something to happen at a socket."""

from __future__ import annotations

import asyncio
from collections import deque


class Waiters:
    """A line of waiting coroutines. They look again when woken: being woken promises nothing."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._line)

    async def wait(self) -> None:
        """Stand in line until woken."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.wake_one()  # woken and cancelled at once: the next one takes over
            elif waiter in self._line:
                self._line.remove(waiter)
            raise

    def wake_one(self) -> None:
        """Wake who came first."""
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def wake_all(self) -> None:
        """Wake everybody."""
        while self._line:
            self.wake_one()
