"""Requests get seats, wait for them, or are told to come again.

Levels lend each other seats every ten seconds, when a request comes or goes: nothing runs while
nothing happens. Without priority and fairness two plain limits hold (--max-requests-inflight).
Source: apiserver pkg/util/flowcontrol (apf_controller.go), pkg/server/filters.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.calls import Call
from podwire.apiserver.flowcontrol import matching
from podwire.apiserver.flowcontrol.matching import Digest, Level, Schema
from podwire.apiserver.flowcontrol.queueset import (
    CONCURRENCY_LIMIT,
    EXECUTE,
    TIME_OUT,
    WAIT,
    Asked,
    QueueSet,
    flow_hash,
)
from podwire.apiserver.flowcontrol.shares import PERIOD_S, Demand, Limits, lend, limits_of
from podwire.apiserver.metrics import head, line
from podwire.client.counters import ANONYMOUS, Request, User

if TYPE_CHECKING:
    from podwire.apiserver.cache.entry import Entry
    from podwire.apiserver.server import Apiserver

FLOW_SCHEMA, LEVEL = kinds.FLOW_SCHEMA, kinds.PRIORITY_LEVEL_CONFIGURATION
SCHEMA_HEADER = "x-kubernetes-pf-flowschema-uid"
LEVEL_HEADER = "x-kubernetes-pf-prioritylevel-uid"
LONG_RUNNING = ("exec", "attach", "portforward", "proxy", "log")
"""Subresources that hold no seat; a watch holds one while it begins."""
WAIT_S = 15.0
"""How long a request waits for a seat: a quarter of --request-timeout."""
_OBJECTS_PER_SEAT = 100
_MOST_SEATS = 10
_REMEMBERED = 4096
_READS = ("get", "list", "watch")
_MASTERS = "system:masters"
_NOWHERE: tuple[tuple[Any, ...], None] = ((None,), None)


class Refused(Exception):  # noqa: N818  (an answer: 429)
    """No seat for this request. ``retry_s`` is when to come again."""

    def __init__(self, reason: str, retry_s: int) -> None:
        super().__init__(reason)
        self.retry_s = retry_s


class State:
    """A level with its queues and seats."""

    def __init__(self, level: Level, now_s: float) -> None:
        self.level = level
        self.queues = QueueSet(level.name, 0, exempt=level.exempt)
        self.demand = Demand(now_s)
        self.limits = Limits(0, 0, 0)
        self.widest = 1
        self.retry = Retry()
        self.quiescing = False
        """Whether its object is gone: those who wait are served, nobody else comes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests that are alike go."""

    schema: str
    state: State
    flow: int
    headers: dict[str, str]


class Retry:
    """How long those who are refused should stay away: longer while many are.

    Source: dropped_requests_tracker.go.
    """

    def __init__(self) -> None:
        self.seconds = 1
        self._changed = 0
        self._history: dict[int, int] = {}

    def dropped(self, now_s: float) -> int:
        """Another one is refused; what to tell it."""
        second = int(now_s)
        if second not in self._history:
            self._update(second)
        self._history[second] = self._history.get(second, 0) + 1
        return self.seconds

    def _update(self, second: int) -> None:
        window = self.seconds
        recent = sum(n for at, n in self._history.items() if second - at <= window)
        self._history = {at: n for at, n in self._history.items() if second - at <= 2 * window}
        if recent >= 3 * window and second - self._changed >= window and window < 32:
            self.seconds, self._changed = min(2 * window, 32), second
        elif recent < window and window > 1:
            self.seconds = window - 1


class FlowControl:
    """Priority and fairness of one API server."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        config = server.config
        self._total = config.max_requests_inflight + config.max_mutating_requests_inflight
        self._fair = config.enable_priority_and_fairness
        self._inflight = {True: 0, False: 0}
        self._most = {
            True: config.max_mutating_requests_inflight, False: config.max_requests_inflight,
        }  # fmt: skip
        self._schemas: list[Schema] = []
        self.states: dict[str, State] = {}
        self._seen: tuple[list[Entry] | None, list[Entry] | None] = (None, None)
        self._places: dict[Any, Place] = {}
        self._of_users: dict[User, list[Schema]] = {}
        """The schemas that are about a user at all, in order."""
        self._last: tuple[tuple[Any, ...], Place | None] = _NOWHERE
        self._schema_entries = server.caches.of(FLOW_SCHEMA).entries
        self._level_entries = server.caches.of(LEVEL).entries
        self._lent_s = 0.0

    # ------------------------------------------------------------ where to

    def place(self, request: Request, call: Call | None) -> Place | None:
        """Where a request goes; None when nothing is queued at all, or it holds no seat."""
        if not self._fair or (call is not None and call.subresource in LONG_RUNNING):
            return None
        user = request.user or ANONYMOUS
        if call is None:
            asked = calls.asked(request, user)
            if asked.subresource in LONG_RUNNING:
                return None
            return self._placed(
                Digest(user, asked.verb, asked.group, asked.combined, asked.namespace, asked.path)
            )
        return self.of(user, call.verb, call.kind, call.subresource, call.namespace)

    def of(
        self, user: User, verb: str, kind: kinds.Kind[Any], subresource: str, namespace: str
    ) -> Place | None:
        """Where a request on a resource goes; remembered."""
        if not self._fair:
            return None
        self._refresh()
        asked = (user, verb, kind, subresource, namespace)
        last, place = self._last
        if last[0] is user and last[2] is kind and last == asked:
            return place
        found = self._places.get(asked)
        if found is None:
            plural = f"{kind.plural}/{subresource}" if subresource else kind.plural
            found = self._found(Digest(user, verb, kind.group, plural, namespace))
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[asked] = found
        self._last = (asked, found)
        return found

    def _placed(self, asked: Digest) -> Place:
        self._refresh()
        return self._found(asked)

    def _refresh(self) -> None:
        seen = self._seen
        if self._schema_entries() is not seen[0] or self._level_entries() is not seen[1]:
            self._read()

    def _found(self, asked: Digest) -> Place:
        schemas = self._of_users.get(asked.user)
        if schemas is None:
            if len(self._of_users) >= _REMEMBERED:
                self._of_users.clear()
            schemas = [schema for schema in self._schemas if schema.concerns(asked.user)]
            self._of_users[asked.user] = schemas
        for schema in schemas:
            state = self.states.get(schema.level)
            if state is not None and not state.quiescing and schema.matches(asked):
                break
        else:  # who is in neither group of everybody
            schema = next(s for s in self._schemas if s.name == matching.CATCH_ALL)
            state = self.states[matching.CATCH_ALL]
        headers: dict[str, str] = {}
        if schema.uid and state.level.uid:
            headers = {SCHEMA_HEADER: schema.uid, LEVEL_HEADER: state.level.uid}
        flow = flow_hash(schema.name, schema.flow(asked))
        return Place(schema.name, state, flow, headers)

    def _read(self) -> None:
        """Take over the objects as they are now; what waits stays where it is."""
        now_s = self._now_s()
        schemas, levels = self._schema_entries(), self._level_entries()
        self._seen = (schemas, levels)
        self._places.clear()
        self._of_users.clear()
        self._last = _NOWHERE
        named = {s.name: s for s in matching.MANDATORY_SCHEMAS}
        named |= {entry.name: matching.schema_of(entry.json()) for entry in schemas}
        self._schemas = matching.in_order(named.values())
        known = {level.name: level for level in matching.MANDATORY_LEVELS}
        known |= {entry.name: matching.level_of(entry.json()) for entry in levels}
        for name, state in list(self.states.items()):
            state.quiescing = name not in known
            if state.quiescing and state.queues.idle:
                del self.states[name]
        shares = sum(level.shares for level in known.values())
        for name, level in sorted(known.items()):
            if name not in self.states:
                self.states[name] = State(level, now_s)
            state = self.states[name]
            state.level = level
            state.limits = limits_of(
                self._total, level.shares, shares, level.lendable, level.borrow
            )
            state.queues.configure(level.queues, level.hand, level.length_limit)
            nominal, hand = state.limits.nominal, level.hand or 1
            state.widest = max(1, min(math.ceil(nominal * 0.15), nominal // hand))
        self._lend(now_s)

    def _lend(self, now_s: float) -> None:
        self._lent_s = now_s
        total = left = sum(state.limits.nominal for state in self.states.values())
        limited: list[State] = []
        for state in self.states.values():
            state.demand.close(now_s)
            if state.level.exempt:
                left -= max(state.limits.least, state.demand.high_water)
            else:
                limited.append(state)
        seats = lend(total, left, [(state.limits, state.demand) for state in limited])
        for state, limit in zip(limited, seats, strict=True):
            state.queues.set_limit(now_s, limit)

    # ------------------------------------------------------------ seats

    def seats(self, place: Place, call: Call | None) -> int:
        """How many a request takes: lists by what they have to go through."""
        if call is None or call.verb not in {"list", "watch"} or call.name:
            return 1
        if call.verb == "watch" and not (
            call.query.flag("sendInitialEvents") or call.query.get("resourceVersion") in {"", "0"}
        ):
            return 1
        count = self._server.caches.size(call.kind)
        most = min(place.state.widest, _MOST_SEATS)
        return max(1, min(math.ceil(count / _OBJECTS_PER_SEAT), most))

    async def enter(self, place: Place, call: Call | None) -> Asked | None:
        """Wait for a seat; None for those that are exempt, who are only counted. Raises Refused."""
        state = place.state
        queues = state.queues
        if queues.exempt:
            queues.executing += 1
            queues.dispatched += 1
            state.demand.peak(queues.executing)
            return None
        now_s = self._now_s()
        if now_s - self._lent_s >= PERIOD_S:
            self._lend(now_s)
        asked = Asked(place.schema, self.seats(place, call))
        outcome = queues.arrive(now_s, asked, place.flow)
        state.demand.set(now_s, queues.demand)
        if outcome == EXECUTE:
            return asked
        if outcome != WAIT:
            raise Refused(outcome, state.retry.dropped(now_s))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if not turn.done():
                turn.set_result(None)

        asked.begin = begin
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except BaseException as error:
            timed_out = isinstance(error, TimeoutError)
            self._gave_up(state, asked, timed_out=timed_out)
            if timed_out and not asked.executing:
                raise Refused(TIME_OUT, state.retry.dropped(self._now_s())) from None
            if not timed_out:
                raise
        return asked

    def _gave_up(self, state: State, asked: Asked, *, timed_out: bool) -> None:
        """It waits no longer; a seat that it got in the same moment is free again, but for one
        whose time was just up: it has its turn.
        """
        now_s = self._now_s()
        if not asked.executing:
            state.queues.cancel(now_s, asked, TIME_OUT)
        elif not timed_out:
            state.queues.finish(now_s, asked)
        state.demand.set(now_s, state.queues.demand)

    def leave(self, place: Place, asked: Asked | None) -> None:
        """The request ended."""
        state = place.state
        if asked is None:
            state.queues.executing -= 1
            return
        now_s = self._now_s()
        state.queues.finish(now_s, asked)
        state.demand.set(now_s, state.queues.demand)
        if now_s - self._lent_s >= PERIOD_S:
            self._lend(now_s)

    def _now_s(self) -> float:
        return self._server.world.clock.monotonic_ns() / 1e9

    # ------------------------------------------------------------ without fairness

    def begin(self, request: Request, call: Call | None) -> bool | None:
        """Count a request in; its class for ``end``, None for one that is not counted.

        Raises Refused.
        """
        if self._fair or (call is not None and call.subresource in LONG_RUNNING):
            return None
        if call is not None and call.verb == "watch":
            return None
        verb = call.verb if call is not None else request.method.lower()
        mutating = verb not in {*_READS, "head"}
        most = self._most[mutating]
        groups = (request.user or ANONYMOUS).groups
        if most and self._inflight[mutating] >= most and _MASTERS not in groups:
            raise Refused(CONCURRENCY_LIMIT, 1)
        self._inflight[mutating] += 1
        return mutating

    def end(self, mutating: bool | None) -> None:
        """Count it out."""
        if mutating is not None:
            self._inflight[mutating] -= 1

    # ------------------------------------------------------------ metrics

    def lines(self) -> Iterator[str]:
        """What levels have and did, under upstream's names."""
        prefix = "apiserver_flowcontrol_"
        states = [(name, self.states[name]) for name in sorted(self.states)]
        for short, value in _GAUGES:
            yield from head(prefix + short, "gauge", "BETA")
            for name, state in states:
                yield line(prefix + short, {"priority_level": name}, value(state))
        yield from head(f"{prefix}dispatched_requests_total", "counter", "BETA")
        for name, state in states:
            labels = {"priority_level": name}
            yield line(f"{prefix}dispatched_requests_total", labels, state.queues.dispatched)
        yield from head(f"{prefix}rejected_requests_total", "counter", "BETA")
        for name, state in states:
            for (schema, reason), count in state.queues.rejected.items():
                labels = {"priority_level": name, "flow_schema": schema, "reason": reason}
                yield line(f"{prefix}rejected_requests_total", labels, count)


def _seats_in_use(state: State) -> int:
    queues = state.queues
    return queues.executing if queues.exempt else queues.seats


_GAUGES: tuple[tuple[str, Callable[[State], int]], ...] = (
    ("current_executing_requests", lambda state: state.queues.executing),
    ("current_executing_seats", _seats_in_use),
    ("current_inqueue_requests", lambda state: state.queues.waiting),
    ("current_inqueue_seats", lambda state: state.queues.seats_waiting),
    ("current_limit_seats", lambda state: state.queues.limit),
    ("lower_limit_seats", lambda state: state.limits.least),
    ("nominal_limit_seats", lambda state: state.limits.nominal),
    ("upper_limit_seats", lambda state: state.limits.most),
)
