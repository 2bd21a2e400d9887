"""Pods waiting for a node: active, backing off, unschedulable until something helps, or gated.

Source: kube-scheduler backend/queue (backoff 1 s doubling to 10 s, in whole seconds; who backs off
is taken before its time when nothing else waits, unless an error was the reason; after 5 minutes an
unschedulable pod is tried whatever happened).
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from enum import Enum

from podwire.runtime.ports import Clock, Timer
from podwire.scheduler.hints import HINTS, Change, What, helps
from podwire.scheduler.terms import PodInfo

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
UNSCHEDULABLE_S = 300.0
"""How long a pod stays unschedulable at most."""
FLUSH_S = 30.0
"""How often that is looked at."""
_SECOND_NS = 1_000_000_000


class Place(Enum):
    """Where a pod waits."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    NOWHERE = ""
    """It is being scheduled or bound."""


@dataclass(slots=True)
class Waiting:
    """One pod in the queue."""

    info: PodInfo
    since_ns: int
    """When it came, or failed last."""
    number: int
    """Tells heap entries that are out of date, and keeps the order of equals."""
    attempts: int = 0
    refusals: int = 0
    errors: int = 0
    """Attempts that failed one after the other because of an error."""
    place: Place = Place.NOWHERE
    plugins: tuple[str, ...] = ()
    """Who refused it last."""
    held: bool = False
    """Its victims are being told to end."""
    woken: bool = False
    """Something that may help happened meanwhile."""


_Entry = tuple[int, int, int, int, str]
"""When it may be taken (0: at once), negative priority, waiting since, number, uid."""


class SchedulingQueue:
    """Highest priority first, then who waits longest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pods: dict[str, Waiting] = {}
        self._active: list[_Entry] = []
        self._backoff: list[_Entry] = []
        self._errors: list[_Entry] = []
        self._refused_by: dict[str, dict[str, Waiting]] = {}
        """Unschedulable pods by the plugins that refused them; "" are those that none did."""
        self._numbers = 0
        self._began_ns = clock.now_ns()
        self._backoff_timer: tuple[int, Timer] | None = None
        self._flush_timer: Timer | None = None
        self._getter: asyncio.Future[None] | None = None

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def get(self, uid: str) -> Waiting | None:
        """The waiting pod."""
        return self._pods.get(uid)

    # ------------------------------------------------------------ in and out

    def add(self, pod: PodInfo) -> None:
        """A pod needs a node; with scheduling gates it waits until they are gone."""
        waiting = Waiting(pod, self._clock.now_ns(), 0)
        self._pods[pod.uid] = waiting
        if pod.pod.spec.scheduling_gates:
            waiting.place = Place.GATED
        else:
            self._activate(waiting)

    def update(self, pod: PodInfo) -> None:
        """A waiting pod changed, which may help it."""
        waiting = self._pods[pod.uid]
        old, waiting.info = waiting.info, pod
        if waiting.place is Place.GATED:
            if not pod.pod.spec.scheduling_gates:
                waiting.since_ns = self._clock.now_ns()
                self._activate(waiting)
        elif waiting.place is Place.UNSCHEDULABLE:
            change = Change(What.ITSELF, old.pod, pod.pod)
            if any(helps(plugin, pod, change) for plugin in waiting.plugins):
                self._wake(waiting)

    def remove(self, uid: str) -> None:
        """The pod is bound or gone."""
        waiting = self._pods.pop(uid, None)
        if waiting is not None:
            self._unblame(waiting)

    async def pop(self) -> Waiting:
        """The next pod to schedule; give it back by ``refused`` or ``failed``, or ``remove`` it."""
        while True:
            waiting = self.next()
            if waiting is not None:
                return waiting
            self._getter = asyncio.get_running_loop().create_future()
            await self._getter

    def next(self) -> Waiting | None:
        """What ``pop`` would give, if there is any."""
        waiting = self._first(self._active, Place.ACTIVE)
        if waiting is None:
            waiting = self._first(self._backoff, Place.BACKOFF)
        if waiting is not None:
            waiting.place = Place.NOWHERE
            waiting.attempts += 1
        return waiting

    def _first(self, heap: list[_Entry], place: Place) -> Waiting | None:
        while heap:
            *_, number, uid = heapq.heappop(heap)
            waiting = self._pods.get(uid)
            if waiting is not None and waiting.number == number and waiting.place is place:
                return waiting
        return None

    # ------------------------------------------------------------ back again

    def refused(self, uid: str, plugins: tuple[str, ...], *, hold: bool = False) -> None:
        """No node takes the pod. ``hold``: it is not tried again before ``release``."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        waiting.since_ns = self._clock.now_ns()
        waiting.refusals += 1
        waiting.errors = 0
        waiting.plugins = plugins
        waiting.held, waiting.woken = hold, False
        waiting.place = Place.UNSCHEDULABLE
        for plugin in plugins or ("",):
            self._refused_by.setdefault(plugin, {})[uid] = waiting
        if self._flush_timer is None:
            self._set_flush(waiting.since_ns)

    def failed(self, uid: str) -> None:
        """An error, not a node's refusal: the pod is tried again after its backoff."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        waiting.since_ns = self._clock.now_ns()
        waiting.errors += 1
        waiting.plugins = ()
        self._back_off(waiting)

    def release(self, uid: str, *, retry: bool = False) -> None:
        """The victims were told (``retry``: not all of them): changes may wake the pod again."""
        waiting = self._pods.get(uid)
        if waiting is None or not waiting.held:
            return
        waiting.held = False
        if waiting.place is Place.UNSCHEDULABLE and (waiting.woken or retry):
            self._wake(waiting)

    def changed(self, change: Change) -> None:
        """Something happened: those whom it may help get another try."""
        woken: dict[int, Waiting] = {}
        for plugin, refused in self._refused_by.items():
            hint = HINTS.get(plugin, {}).get(change.what) if plugin else None
            if plugin and hint is None:
                continue
            for waiting in refused.values():
                if waiting.number not in woken and (hint is None or hint(waiting.info, change)):
                    woken[waiting.number] = waiting
        for waiting in sorted(woken.values(), key=lambda w: (w.since_ns, w.number)):
            self._wake(waiting)

    def wake_all(self) -> None:
        """Every unschedulable pod gets another try."""
        for waiting in tuple(self._pods.values()):
            if waiting.place is Place.UNSCHEDULABLE:
                self._wake(waiting)

    # ------------------------------------------------------------ places

    def _wake(self, waiting: Waiting) -> None:
        if waiting.held:
            waiting.woken = True
            return
        self._unblame(waiting)
        if self._ready_ns(waiting) > self._clock.now_ns():
            self._back_off(waiting)
        else:
            self._activate(waiting)

    def _unblame(self, waiting: Waiting) -> None:
        if waiting.place is not Place.UNSCHEDULABLE:
            return
        uid = waiting.info.uid
        for plugin in waiting.plugins or ("",):
            refused = self._refused_by.get(plugin)
            if refused is not None and refused.pop(uid, None) is not None and not refused:
                del self._refused_by[plugin]

    def _activate(self, waiting: Waiting) -> None:
        waiting.place = Place.ACTIVE
        heapq.heappush(self._active, self._entry(waiting, 0))
        self._call_getter()

    def _back_off(self, waiting: Waiting) -> None:
        waiting.place = Place.BACKOFF
        early = not waiting.errors
        entry = self._entry(waiting, self._ready_ns(waiting))
        heapq.heappush(self._backoff if early else self._errors, entry)
        self._set_backoff()
        if early:
            self._call_getter()

    def _entry(self, waiting: Waiting, ready_ns: int) -> _Entry:
        self._numbers += 1
        waiting.number = self._numbers
        pod = waiting.info
        return ready_ns, -pod.priority, waiting.since_ns, waiting.number, pod.uid

    def _call_getter(self) -> None:
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    # ------------------------------------------------------------ time

    def _ready_ns(self, waiting: Waiting) -> int:
        """When the backoff is over: it ends in whole seconds, and those are over at their end."""
        count = waiting.errors or waiting.refusals
        if not count:
            return 0
        backoff_s = min(FIRST_BACKOFF_S * (1 << min(count - 1, 10)), MAX_BACKOFF_S)
        over_ns = waiting.since_ns + int(backoff_s * _SECOND_NS)
        return (over_ns // _SECOND_NS + 1) * _SECOND_NS

    def _set_backoff(self) -> None:
        heads = [heap[0][0] for heap in (self._backoff, self._errors) if heap]
        if not heads:
            return
        due_ns = min(heads)
        if self._backoff_timer is not None:
            if self._backoff_timer[0] <= due_ns:
                return
            self._backoff_timer[1].cancel()
        delay_s = max(0, due_ns - self._clock.now_ns()) / _SECOND_NS
        self._backoff_timer = due_ns, self._clock.call_later(delay_s, self._backed_off)

    def _backed_off(self) -> None:
        self._backoff_timer = None
        now_ns = self._clock.now_ns()
        for heap in (self._backoff, self._errors):
            while heap and heap[0][0] <= now_ns:
                waiting = self._first([heapq.heappop(heap)], Place.BACKOFF)
                if waiting is not None:
                    self._activate(waiting)
        self._set_backoff()

    def _set_flush(self, since_ns: int) -> None:
        """At the first look after which a pod that failed then is due."""
        period_ns = int(FLUSH_S * _SECOND_NS)
        age_ns = since_ns + int(UNSCHEDULABLE_S * _SECOND_NS) - self._began_ns
        due_ns = self._began_ns + (age_ns // period_ns + 1) * period_ns
        delay_s = max(0, due_ns - self._clock.now_ns()) / _SECOND_NS
        self._flush_timer = self._clock.call_later(delay_s, self._flush)

    def _flush(self) -> None:
        self._flush_timer = None
        limit_ns = self._clock.now_ns() - int(UNSCHEDULABLE_S * _SECOND_NS)
        left: list[int] = []
        for waiting in tuple(self._pods.values()):
            if waiting.place is Place.UNSCHEDULABLE:
                if waiting.since_ns < limit_ns:
                    self._wake(waiting)
                else:
                    left.append(waiting.since_ns)
        if left:
            self._set_flush(min(left))
