"""Pods waiting for a node: active, backing off, or unschedulable until something changes.

Source: kube-scheduler internal/queue (backoff 1 s doubling to 10 s). Not modelled: the periodic
flush of unschedulable pods, because here every relevant event moves them.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass

from podwire.api.views import Pod
from podwire.runtime.ports import Clock, Timer

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0


@dataclass(slots=True)
class Waiting:
    """One pod in the queue."""

    pod: Pod
    order: int
    attempts: int = 0
    ready_ns: int = 0
    """When its backoff ends (monotonic)."""
    place: str = ""
    """active, backoff, unschedulable, or "" while it is being scheduled."""
    timer: Timer | None = None


class SchedulingQueue:
    """Highest priority first, then first come first served."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pods: dict[str, Waiting] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._arrivals = 0
        self._getter: asyncio.Future[None] | None = None

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, pod: Pod) -> None:
        """A pod needs a node; or a waiting one changed, which may make it schedulable."""
        uid = pod.metadata.uid
        waiting = self._pods.get(uid)
        if waiting is None:
            self._arrivals += 1
            waiting = self._pods[uid] = Waiting(pod, self._arrivals)
            self._activate(waiting)
            return
        changed = waiting.pod.spec != pod.spec or waiting.pod.metadata.labels != pod.metadata.labels
        waiting.pod = pod
        if changed and waiting.place == "unschedulable":
            self._retry(waiting)

    def remove(self, uid: str) -> None:
        """The pod is bound or gone."""
        waiting = self._pods.pop(uid, None)
        if waiting is not None and waiting.timer is not None:
            waiting.timer.cancel()

    async def pop(self) -> Waiting:
        """The next pod to schedule; give it back by ``failed``, or ``remove`` it."""
        while True:
            while self._heap:
                _, order, uid = heapq.heappop(self._heap)
                waiting = self._pods.get(uid)
                if waiting is not None and waiting.order == order and waiting.place == "active":
                    waiting.place = ""
                    waiting.attempts += 1
                    return waiting
            self._getter = asyncio.get_running_loop().create_future()
            await self._getter

    def failed(self, uid: str, *, unschedulable: bool) -> None:
        """No node (wait for a change), or an error (retry after the backoff)."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        backoff_s = min(FIRST_BACKOFF_S * (1 << min(waiting.attempts - 1, 10)), MAX_BACKOFF_S)
        waiting.ready_ns = self._clock.monotonic_ns() + int(backoff_s * 1e9)
        waiting.place = "unschedulable"
        if not unschedulable:
            self._retry(waiting)

    def move_all(self) -> None:
        """Something relevant changed: every unschedulable pod gets another try."""
        stuck = [w for w in self._pods.values() if w.place == "unschedulable"]
        for waiting in sorted(stuck, key=lambda w: w.order):
            self._retry(waiting)

    def _retry(self, waiting: Waiting) -> None:
        left_ns = waiting.ready_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            self._activate(waiting)
            return
        waiting.place = "backoff"
        waiting.timer = self._clock.call_later(left_ns / 1e9, self._backed_off, waiting)

    def _backed_off(self, waiting: Waiting) -> None:
        waiting.timer = None
        if self._pods.get(waiting.pod.metadata.uid) is waiting and waiting.place == "backoff":
            self._activate(waiting)

    def _activate(self, waiting: Waiting) -> None:
        waiting.place = "active"
        uid = waiting.pod.metadata.uid
        heapq.heappush(self._heap, (-waiting.pod.spec.priority, waiting.order, uid))
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)
