"""Was this concurrent history possible on one Kubernetes API server? A checker that orders by
resourceVersion.

What clients saw goes in (writes, lists, watches); sentences about what cannot be come out. The
rules are those that clients build on: a revision belongs to one write, writes that do not overlap
are ordered as in real time, a precondition held at the moment of the write, a list is the state at
its revision and never older than what was acknowledged before it began, and a watch tells every
change behind its start, once, in order, with the right type.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"

Value = tuple[str, str]
"""(token, group): the token is unique per write, the group is the label that selectors look at."""


@dataclass(slots=True)
class Write:
    """One create, update, patch or delete. Times are ticks of the recorder, not seconds."""

    verb: str
    key: str
    value: Value
    invoked: int
    base: int = 0
    """The resourceVersion that the caller demanded, 0 for none."""
    returned: int = 0
    revision: int = 0
    """The resourceVersion in the answer; 0 when it names none (most deletes)."""
    outcome: str = UNKNOWN


@dataclass(slots=True)
class Listing:
    """What a list showed, all its pages together."""

    invoked: int
    revision: int
    group: str
    """The label that was selected; "" is everything."""
    state: dict[str, tuple[int, Value]]


@dataclass(slots=True)
class Seen:
    """One watch event."""

    type: str
    key: str
    value: Value
    revision: int


@dataclass(slots=True)
class Watched:
    """What one watcher saw from one list on, over as many connections as it took."""

    name: str
    group: str
    start: int
    events: list[Seen] = field(default_factory=list)
    end: int = 0
    """The newest revision that it was told of, by an event or a bookmark."""


@dataclass(slots=True)
class History:
    """Everything that was recorded between two quiet moments.

    ``before`` is the state at ``start``, and what the first quiet moment's list showed.
    """

    start: int = 0
    before: dict[str, tuple[int, Value]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    ticks: int = 0

    def tick(self) -> int:
        """The next moment."""
        self.ticks += 1
        return self.ticks


@dataclass(slots=True)
class _Change:
    key: str
    value: Value | None
    """None is a deletion."""
    write: Write | None = None


class _Check:
    """The truth put together from all witnesses, and what does not fit."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.wrong: list[str] = []
        self.truth: dict[int, _Change] = {}
        self.order: list[int] = []
        self.lives: dict[str, list[int]] = {}
        """Revisions of a key, in order."""

    def run(self) -> list[str]:
        """Every rule, in an order in which the first complaint is the best one."""
        self._acknowledged()
        self._witnessed()
        self.order = sorted(self.truth)
        for revision in self.order:
            self.lives.setdefault(self.truth[revision].key, []).append(revision)
        self._preconditions()
        self._real_time()
        for watched in self.history.watched:
            self._watch(watched)
        self._lists()
        self._fresh()
        return self.wrong

    # ------------------------------------------------------------ what happened

    def _acknowledged(self) -> None:
        for write in self.history.writes:
            if write.outcome == OK and write.revision:
                value = None if write.verb == "delete" else write.value
                self._enter(write.revision, _Change(write.key, value, write), "its answer")

    def _witnessed(self) -> None:
        """Events tell of deletes (their answers name no revision) and of unknown outcomes."""
        tokens = {write.value[0]: write for write in self.history.writes if write.value[0]}
        for watched in self.history.watched:
            for seen in watched.events:
                if watched.group and seen.type == "DELETED":
                    continue  # it may only have left the selection; _watch judges it
                self._witness(watched, seen, tokens)

    def _witness(self, watched: Watched, seen: Seen, tokens: dict[str, Write]) -> None:
        if seen.type == "DELETED":
            self._enter(seen.revision, _Change(seen.key, None), watched.name)
            return
        write = tokens.get(seen.value[0])
        if write is None or write.key != seen.key:
            self.wrong.append(f"{watched.name} saw {seen}, which nobody wrote")
        elif write.outcome == REFUSED:
            self.wrong.append(f"{watched.name} saw {seen}, whose write was refused")
        elif write.revision and write.revision != seen.revision:
            why = f"written at {write.revision}"
            self.wrong.append(f"{watched.name} saw {seen}, {why}")
        else:
            self._enter(seen.revision, _Change(seen.key, seen.value, write), watched.name)

    def _enter(self, revision: int, change: _Change, witness: str) -> None:
        known = self.truth.setdefault(revision, change)
        if (known.key, known.value) != (change.key, change.value):
            self.wrong.append(f"revision {revision} is {known} and, by {witness}, {change}")

    # ------------------------------------------------------------ writes

    def _preconditions(self) -> None:
        deletions: dict[str, int] = {}
        for write in self.history.writes:
            if write.outcome != OK:
                continue
            if write.verb == "delete":
                deletions[write.key] = deletions.get(write.key, 0) + 1
                continue
            before = self._predecessor(write.key, write.revision)
            if write.verb == "create" and before is not None:
                self.wrong.append(f"{write} succeeded over revision {before}")
            elif write.verb != "create" and before is None:
                self.wrong.append(f"{write} brought back what was deleted")
            elif write.base and before != write.base:
                self.wrong.append(f"{write} succeeded over revision {before}: an update was lost")
        for key, count in deletions.items():
            seen = [r for r in self.lives.get(key, ()) if self.truth[r].value is None]
            if len(seen) < count:
                self.wrong.append(f"{key}: {count} deletes acknowledged, {len(seen)} seen")

    def _predecessor(self, key: str, revision: int) -> int | None:
        """The revision of the living object just before, None when there was none."""
        life = self.lives.get(key, [])
        at = bisect_left(life, revision)
        if at == 0:
            return self.history.before[key][0] if key in self.history.before else None
        earlier = life[at - 1]
        return earlier if self.truth[earlier].value is not None else None

    def _real_time(self) -> None:
        """Of two writes that did not overlap, the later has the higher revision."""
        known = self._known()
        by_return = sorted(known, key=lambda write: write.returned)
        newest, at = 0, 0
        for write in sorted(known, key=lambda write: write.invoked):
            while at < len(by_return) and by_return[at].returned < write.invoked:
                newest = max(newest, by_return[at].revision)
                at += 1
            if write.revision <= newest:
                self.wrong.append(f"{write} began after revision {newest} was acknowledged")

    # ------------------------------------------------------------ reads

    def _watch(self, watched: Watched) -> None:
        expected = self._projected(watched.group, watched.start, watched.end)
        last = watched.start
        for seen in watched.events:
            if seen.revision <= last:
                self.wrong.append(f"{watched.name}: {seen} after revision {last}: out of order")
            last = max(last, seen.revision)
        found = {seen.revision: seen for seen in watched.events}
        for revision, (type_, key) in expected.items():
            got = found.get(revision)
            if got is None:
                self.wrong.append(f"{watched.name} missed {type_} {key} at {revision}")
            elif (got.type, got.key) != (type_, key):
                self.wrong.append(f"{watched.name} saw {got} where {type_} {key} was due")
        for revision, seen in found.items():
            if revision not in expected:
                self.wrong.append(f"{watched.name} saw {seen}, which was not to be seen")

    def _projected(self, group: str, start: int, end: int) -> dict[int, tuple[str, str]]:
        """The events that a watch of ``group`` is due in (start, end]."""
        inside = {
            key for key, (_, value) in self._state(start).items() if not group or value[1] == group
        }
        due: dict[int, tuple[str, str]] = {}
        for revision in self.order[bisect_right(self.order, start) : bisect_right(self.order, end)]:
            change = self.truth[revision]
            was = change.key in inside
            is_ = change.value is not None and (not group or change.value[1] == group)
            if is_:
                due[revision] = ("MODIFIED" if was else "ADDED", change.key)
                inside.add(change.key)
            elif was:
                due[revision] = ("DELETED", change.key)
                inside.discard(change.key)
        return due

    def _state(self, revision: int) -> dict[str, tuple[int, Value]]:
        state = dict(self.history.before)
        for at in self.order[: bisect_right(self.order, revision)]:
            self._apply(state, at)
        return state

    def _lists(self) -> None:
        """Each list is the state at its revision, whatever page it was read by."""
        state, at = dict(self.history.before), 0
        for listing in sorted(self.history.listings, key=lambda listing: listing.revision):
            while at < len(self.order) and self.order[at] <= listing.revision:
                self._apply(state, self.order[at])
                at += 1
            group = listing.group
            due = {k: v for k, v in state.items() if not group or v[1][1] == group}
            if due != listing.state:
                keys = sorted({**due, **listing.state})
                differ = [key for key in keys if due.get(key) != listing.state.get(key)]
                shown = [f"{k}: {listing.state.get(k)}, due {due.get(k)}" for k in differ[:3]]
                self.wrong.append(f"the list at {listing.revision} differs: {'; '.join(shown)}")

    def _fresh(self) -> None:
        """A list is no older than what was acknowledged before it began."""
        newest, at = 0, 0
        by_return = sorted(self._known(), key=lambda write: write.returned)
        for listing in sorted(self.history.listings, key=lambda listing: listing.invoked):
            while at < len(by_return) and by_return[at].returned < listing.invoked:
                newest = max(newest, by_return[at].revision)
                at += 1
            if listing.revision < newest:
                self.wrong.append(f"a list at {listing.revision} began after {newest} was there")

    def _known(self) -> list[Write]:
        return [w for w in self.history.writes if w.outcome == OK and w.revision]

    def _apply(self, state: dict[str, tuple[int, Value]], revision: int) -> None:
        change = self.truth[revision]
        if change.value is None:
            state.pop(change.key, None)
        else:
            state[change.key] = (revision, change.value)


def check(history: History) -> list[str]:
    """What is wrong with a history, [] when nothing is."""
    return _Check(history).run()
