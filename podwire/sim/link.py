"""The seeded link between a room and the API server: delay, jitter, partition.

Only simulations have it. Frames of one watch stay in order; different streams overtake each other
as the seed decides. A partitioned link fails requests as a real one does and breaks watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from podwire.client.counters import Api, Frame, Request, Response
from podwire.runtime.ports import Clock, Rng

_TOGETHER = 1024
"""Frames that travel together at most: many nodes may be on the way with them at once."""


class LinkedApi:
    """The API counter seen over a link. ``up`` tells whether the link carries at this moment."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        rng: Rng,
        *,
        delay_s: float,
        jitter_s: float,
        up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._api = api
        self._clock = clock
        self._random = rng.random
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._up = up

    def _delay(self) -> float:
        return self._delay_s + self._jitter_s * self._random()

    async def send(self, request: Request) -> Response:
        """Perform one request over the link. Raises ConnectionError while it is down."""
        await self._clock.sleep(self._delay())
        self._check()
        response = await self._api.send(request)
        await self._clock.sleep(self._delay())
        self._check()
        if response.stream is not None:
            response.stream = self._carried(response.stream)
        return response

    async def restored(self) -> None:
        """Never: nothing tells a simulated room that its wire is whole again."""
        await asyncio.get_running_loop().create_future()

    def _check(self) -> None:
        if not self._up():
            raise ConnectionError("the API server cannot be reached: the link is down")

    async def _carried(self, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
        """Frames after a delay; what is ready together travels together, up to a limit."""
        pending = getattr(frames, "pending", None)
        try:
            async for frame in frames:
                batch = [frame]
                while pending is not None and len(batch) < _TOGETHER:
                    if (more := pending()) is None:
                        break
                    batch.append(more)
                await self._clock.sleep(self._delay())
                self._check()
                for each in batch:
                    yield each
        finally:
            close = getattr(frames, "aclose", None)
            if close is not None:
                await close()
