"""One priority level's seats and queues.

Fair queuing for server requests: each flow is dealt a hand of queues and joins the one with the
least work; of the queues the one whose oldest request would finish first in virtual time is served
next. Virtual time R is what every active queue has been given so far, in seat-seconds.
Source: apiserver pkg/util/flowcontrol/fairqueuing/queueset (doc.go, queueset.go), shufflesharding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

SERVICE_S = 0.003
"""What a request is taken to last until it has ended."""

EXECUTE, WAIT = "execute", "wait"
QUEUE_FULL, CONCURRENCY_LIMIT, TIME_OUT = "queue-full", "concurrency-limit", "time-out"
"""Why a request is rejected, as metrics have it."""


def flow_hash(schema: str, distinguisher: str) -> int:
    """What a flow's hand of queues is dealt by."""
    digest = sha256(f"{schema}\0{distinguisher}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@lru_cache(maxsize=4096)
def deal(flow: int, deck: int, hand: int) -> tuple[int, ...]:
    """``hand`` different cards of ``deck``, drawn by a flow's hash."""
    cards: list[int] = []
    remainders: list[int] = []
    for number in range(hand):
        flow, remainder = divmod(flow, deck - number)
        card = remainder
        for earlier in reversed(remainders):
            if card >= earlier:
                card += 1
        remainders.append(remainder)
        cards.append(card)
    return tuple(cards)


@dataclass(slots=True, eq=False)
class Asked:
    """One request that has a seat or waits for one."""

    schema: str
    seats: int
    begin: Callable[[], None] | None = None
    """Called when it may begin after it had to wait."""
    arrival_r: float = 0.0
    queue: Queue | None = None
    begun_s: float = 0.0
    executing: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """Requests of some flows, oldest first."""

    index: int
    waiting: deque[Asked] = field(default_factory=deque)
    next_r: float = 0.0
    """Virtual time at which its next request would begin."""
    executing: int = 0
    seats: int = 0
    """Seats that its requests have."""
    work: float = 0.0
    """Seat-seconds that wait."""


class QueueSet:
    """The queues of one level; without any, only its seats are counted."""

    def __init__(self, name: str, limit: int, *, exempt: bool = False) -> None:
        self.name = name
        self.limit = limit
        self.exempt = exempt
        self.hand = self.length_limit = 0
        self.queues: list[Queue] = []
        self.desired = 0
        self.r = 0.0
        self.waiting = self.executing = self.seats = self.seats_waiting = 0
        self.dispatched = self.cancelled = 0
        self.rejected: dict[tuple[str, str], int] = {}
        """By FlowSchema and reason."""
        self._active: dict[int, Queue] = {}
        self._last_s = 0.0
        self._robin = -1
        self._enqueued = 0

    def configure(self, queues: int, hand: int, length_limit: int) -> None:
        """Change the queues; what waits in one that is too many still gets its turn."""
        for index in range(len(self.queues), queues):
            self.queues.append(Queue(index))
        self.desired = queues
        if queues:
            self.hand, self.length_limit = hand, length_limit

    @property
    def demand(self) -> int:
        """Seats that are had or wanted."""
        return self.seats + self.seats_waiting

    @property
    def idle(self) -> bool:
        """Whether nobody is here."""
        return not self.waiting and not self.executing

    # ------------------------------------------------------------ what may happen

    def arrive(self, now_s: float, asked: Asked, flow: int) -> str:
        """A request came: EXECUTE, WAIT (for its ``begin``), or why it is rejected."""
        if self.exempt or (not self.desired and self._fits(asked.seats)):
            self._execute(now_s, asked)
            return EXECUTE
        if not self.desired:
            return self.reject(asked.schema, CONCURRENCY_LIMIT)
        self._sync(now_s)
        if not self.waiting and self.seats < self.limit and self._fits(asked.seats):
            self._seat(now_s, asked, flow)
            return EXECUTE
        queue = self._chosen(flow)
        if self.seats >= self.limit and len(queue.waiting) >= self.length_limit:
            return self.reject(asked.schema, QUEUE_FULL)
        asked.queue, asked.arrival_r = queue, self.r
        if not queue.waiting and not queue.executing:
            queue.next_r = self.r
        queue.waiting.append(asked)
        queue.work += asked.seats * SERVICE_S
        self._active[queue.index] = queue
        self.waiting += 1
        self.seats_waiting += asked.seats
        begin, asked.begin = asked.begin, None
        self._bound(queue)
        self.dispatch(now_s)
        asked.begin = begin
        return EXECUTE if asked.executing else WAIT

    def _seat(self, now_s: float, asked: Asked, flow: int) -> None:
        """The same where nobody waits and there is a seat: no queue has less work than others."""
        hand = deal(flow, self.desired, self.hand)
        queue = self.queues[hand[self._enqueued % len(hand)]]
        self._enqueued += 1
        r = self.r
        asked.queue, asked.arrival_r = queue, r
        if not queue.executing or queue.next_r < r:
            queue.next_r = r
        self._active[queue.index] = queue
        self._robin = queue.index
        queue.executing += 1
        queue.seats += asked.seats
        queue.next_r += asked.seats * SERVICE_S
        self._execute(now_s, asked)

    def finish(self, now_s: float, asked: Asked) -> None:
        """A request that executed ended; others may begin."""
        self._sync(now_s)
        self.executing -= 1
        self.seats -= asked.seats
        queue = asked.queue
        if queue is not None:
            queue.executing -= 1
            queue.seats -= asked.seats
            queue.next_r -= asked.seats * (SERVICE_S - (now_s - asked.begun_s))
            self._bound(queue)
            self._rest(queue)
        self.dispatch(now_s)

    def cancel(self, now_s: float, asked: Asked, reason: str) -> None:
        """A request that waits gives up."""
        queue = asked.queue
        assert queue is not None, "what waits is in a queue"
        self._sync(now_s)
        queue.waiting.remove(asked)
        self._left(queue, asked)
        self._bound(queue)
        self._rest(queue)
        self.cancelled += 1
        self.reject(asked.schema, reason)

    def set_limit(self, now_s: float, limit: int) -> None:
        """Give the level another number of seats."""
        self._sync(now_s)
        self.limit = limit
        self.dispatch(now_s)

    def reject(self, schema: str, reason: str) -> str:
        """Count a rejection."""
        key = (schema, reason)
        self.rejected[key] = self.rejected.get(key, 0) + 1
        return reason

    # ------------------------------------------------------------ inside

    def dispatch(self, now_s: float) -> None:
        """Let as many begin as there are seats for."""
        while self.waiting and self.seats < self.limit:
            queue = self._next()
            asked = queue.waiting[0]
            if not self._fits(asked.seats):
                return
            self._robin = queue.index
            queue.waiting.popleft()
            self._left(queue, asked)
            queue.executing += 1
            queue.seats += asked.seats
            queue.next_r += asked.seats * SERVICE_S
            self._bound(queue)
            self._execute(now_s, asked)
            if asked.begin is not None:
                asked.begin()

    def _execute(self, now_s: float, asked: Asked) -> None:
        self.executing += 1
        self.seats += asked.seats
        self.dispatched += 1
        asked.begun_s = now_s
        asked.executing = True

    def _left(self, queue: Queue, asked: Asked) -> None:
        queue.work -= asked.seats * SERVICE_S
        self.waiting -= 1
        self.seats_waiting -= asked.seats

    def _fits(self, seats: int) -> bool:
        """What is wider than all seats together has them alone."""
        if seats > self.limit:
            return self.executing == 0
        return self.seats + seats <= self.limit

    def _chosen(self, flow: int) -> Queue:
        """Of the flow's hand the queue with the least work waiting."""
        hand = deal(flow, self.desired, self.hand)
        offset = self._enqueued % len(hand)
        self._enqueued += 1
        order = (self.queues[card] for card in hand[offset:] + hand[:offset])
        return min(order, key=_work)

    def _next(self) -> Queue:
        """The queue whose oldest request would finish first; of equals the next in turn."""
        count, robin = len(self.queues), self._robin
        best: tuple[float, int] | None = None
        found: Queue | None = None
        for queue in self._active.values():
            if queue.waiting:
                finish = queue.next_r + queue.waiting[0].seats * SERVICE_S
                rank = (finish, (queue.index - robin - 1) % count)
                if best is None or rank < best:
                    best, found = rank, queue
        assert found is not None, "somebody waits"
        return found

    def _sync(self, now_s: float) -> None:
        """Advance virtual time to the present."""
        passed_s = now_s - self._last_s
        self._last_s = now_s
        if self._active and passed_s > 0:
            wanted = self.seats + self.seats_waiting
            self.r += min(wanted, self.limit) / len(self._active) * passed_s

    @staticmethod
    def _bound(queue: Queue) -> None:
        """No request is served, in virtual time, before it arrived."""
        if queue.waiting and queue.next_r < queue.waiting[0].arrival_r:
            queue.next_r = queue.waiting[0].arrival_r

    def _rest(self, queue: Queue) -> None:
        """A queue without requests is not active; one too many goes when all behind it went."""
        if queue.waiting or queue.executing:
            return
        self._active.pop(queue.index, None)
        while len(self.queues) > self.desired and self.queues[-1].index not in self._active:
            self.queues.pop()


def _work(queue: Queue) -> float:
    return queue.work
