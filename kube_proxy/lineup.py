"""Lets the syncs of many kube-proxies in one process begin at common moments, so that those who
heard the same make the same text: it is planned once, and read once by all kernels.

Only on the machine's clock, where this process is the only reason why they would begin apart; a
simulation has each node begin by its own link and its own seed.
"""

from __future__ import annotations

import asyncio

from podwire.runtime.ports import Clock

FEW = 32
"""So many begin whenever they want."""
STEP_NS = 100_000
"""A moment each so long for every kube-proxy: 0.1 s of a thousand. What a sync costs this process
besides is more, so that nobody waits longer for a moment than for the processor.
"""


class Lineup:
    """The moments of one process. Members are kube-proxies' runners."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members = 0
        self._moments: dict[int, asyncio.Event] = {}

    def join(self) -> None:
        """One more that syncs."""
        self._members += 1

    def leave(self) -> None:
        """One less."""
        self._members -= 1

    @property
    def together(self) -> bool:
        """Whether there are enough for common moments."""
        return self._members > FEW

    async def moment(self, after_s: float, interval_ns: int) -> None:
        """Wait for a common moment: of all that lie an interval (0: as many as there are members)
        apart, the nearest to ``after_s`` from now that is not over yet; up to half an interval may
        be waited less than asked, or more.
        """
        now_ns = self._clock.monotonic_ns()
        step_ns = interval_ns or STEP_NS * self._members
        nearest = (now_ns + int(after_s * 1e9) + step_ns // 2) // step_ns
        at_ns = max(nearest, now_ns // step_ns + 1) * step_ns
        found = self._moments.get(at_ns)
        if found is None:
            found = self._moments[at_ns] = asyncio.Event()
            self._clock.call_later((at_ns - now_ns) / 1e9, self._come, at_ns)
        await found.wait()

    def _come(self, at_ns: int) -> None:
        self._moments.pop(at_ns).set()
