"""The embedded engine: etcd's model in this process's memory.

The present is a dict; the past is a log of commits that carry what they replaced, so a range at an
older revision is the present with the later commits undone. Commits call watchers synchronously:
when ``txn`` returns, every watcher in this process has seen it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import blake2b

from podwire.runtime.history import NoHistory
from podwire.runtime.ports import Clock, Timer, TraceLog
from podwire.store.model import (
    CompactedError,
    Compare,
    Delete,
    Deliver,
    Event,
    FutureRevisionError,
    KeyValue,
    LeaseNotFoundError,
    Lost,
    Op,
    Page,
    Progress,
    Put,
    TxnResult,
    check_size,
)

_KEEP_REVISIONS = 8192
_KEEP_NS = 300 * 10**9  # what the API server asks etcd to compact at
_TRIM_EVERY = 256
_AFTER_PREFIX = "\U0010ffff"


class _Watch:
    def __init__(self, engine: EmbeddedStore, prefix: str, deliver: Deliver) -> None:
        self._engine = engine
        self.prefix = prefix
        self.deliver = deliver

    def cancel(self) -> None:
        self._engine.drop(self)


class EmbeddedStore:
    """An in-memory ``Store``. Bounded history: 8,192 revisions and five minutes by default."""

    def __init__(
        self,
        clock: Clock,
        trace: TraceLog,
        *,
        keep_revisions: int = _KEEP_REVISIONS,
        keep_ns: int = _KEEP_NS,
    ) -> None:
        self._clock = clock
        self._trace = trace
        self._recording = not isinstance(trace, NoHistory)
        self._keep_revisions = keep_revisions
        self._keep_ns = keep_ns
        self._now: dict[str, KeyValue] = {}
        self._sorted: list[str] | None = []
        self._revision = 1
        self._shown = 1  # what readers and watchers may know of; the durable engine lags here
        self._log: list[tuple[int, tuple[Event, ...]]] = []  # (commit ns, events); [0] is
        self._log_base = 2  # ... the commit of this revision
        self._watches: dict[_Watch, None] = {}
        self._leases: dict[int, tuple[int, dict[str, None]]] = {}  # id -> (due ns, keys)
        self._next_lease = 1
        self._lease_timer: Timer | None = None

    # ------------------------------------------------------------ reading

    @property
    def known_revision(self) -> int:
        """See ``Store``."""
        return self._shown

    async def revision(self) -> int:
        """See ``Store``."""
        return self._shown

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """See ``Store``."""
        self._check(revision)
        revision = revision or self._shown
        if revision < self._revision:
            return self._undone(revision, key).get(key, self._now.get(key))
        return self._now.get(key)

    async def range(
        self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0
    ) -> Page:
        """See ``Store``."""
        self._check(revision)
        keys = self._keys(prefix)
        now = self._now
        revision = revision or self._shown
        if revision < self._revision:
            undone = self._undone(revision, prefix)
            then = {key: now[key] for key in keys if key not in undone}
            then.update((key, kv) for key, kv in undone.items() if kv is not None)
            now, keys = then, sorted(then)
        if after:
            keys = keys[bisect_right(keys, after) :]
        more = 0 < limit < len(keys)
        if more:
            keys = keys[:limit]
        return Page([now[key] for key in keys], self._shown, more)

    def _check(self, revision: int) -> None:
        if revision > self._shown:
            raise FutureRevisionError(revision, self._shown)
        if revision and revision < self._log_base - 1:
            raise CompactedError(revision, self._log_base - 1)

    def _keys(self, prefix: str) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self._now)
        low = bisect_left(self._sorted, prefix)
        return self._sorted[low : bisect_left(self._sorted, prefix + _AFTER_PREFIX, low)]

    def _undone(self, revision: int, prefix: str) -> dict[str, KeyValue | None]:
        """What each key changed after ``revision`` was at ``revision``."""
        then: dict[str, KeyValue | None] = {}
        for _, events in self._log[revision + 1 - self._log_base :]:
            for event in events:
                if event.key.startswith(prefix):
                    then.setdefault(event.key, event.previous)
        return then

    # ------------------------------------------------------------ writing

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """See ``Store``."""
        now = self._now
        failed = []
        for key, mod_revision in compares:
            kv = now.get(key)
            if (kv.mod_revision if kv is not None else 0) != mod_revision:
                failed.append(key)
        if failed:
            return TxnResult(False, self._revision, tuple(failed))
        check_size(ops)
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise LeaseNotFoundError(op.lease)
        self._commit(ops)
        return TxnResult(True, self._revision)

    def _commit(self, ops: Sequence[Op], ended_lease: int = 0) -> None:  # noqa: ARG002
        """Apply and show. ``ended_lease`` is for engines that write down why."""
        events = self._apply(ops)
        if events:
            self._show(events)

    def _apply(self, ops: Sequence[Op]) -> list[Event]:
        """Make one revision of the ops; what changed (nothing: no revision)."""
        revision = self._revision + 1
        now = self._now
        events = []
        for op in ops:
            previous = now.get(op.key)
            if isinstance(op, Put):
                kv = self._put(op, previous, revision)
                events.append(Event(revision, op.key, kv, previous))
                if self._recording:
                    digest = blake2b(op.value, digest_size=8).digest()
                    self._trace.record("store", "put", op.key, revision, digest)
            elif previous is not None:
                del now[op.key]
                self._sorted = None
                if previous.lease:
                    self._detach(previous)
                events.append(Event(revision, op.key, None, previous))
                self._trace.record("store", "delete", op.key, revision)
        if events:
            self._revision = revision
            self._log.append((self._clock.monotonic_ns(), tuple(events)))
            if revision % _TRIM_EVERY == 0:
                self._trim()
        return events

    def _show(self, events: Sequence[Event]) -> None:
        """Let readers and watchers know."""
        self._shown = events[-1].revision
        for watch in tuple(self._watches):
            mine = [event for event in events if event.key.startswith(watch.prefix)]
            if mine:
                watch.deliver(mine)

    def _put(self, op: Put, previous: KeyValue | None, revision: int) -> KeyValue:
        if previous is None:
            kv = KeyValue(op.key, op.value, revision, revision, 1, op.lease)
            self._sorted = None
        else:
            created, version = previous.create_revision, previous.version + 1
            kv = KeyValue(op.key, op.value, created, revision, version, op.lease)
            if previous.lease and previous.lease != op.lease:
                self._detach(previous)
        if op.lease:
            self._leases[op.lease][1][op.key] = None
        self._now[op.key] = kv
        return kv

    # ------------------------------------------------------------ watching

    async def watch(
        self,
        prefix: str,
        revision: int,
        deliver: Deliver,
        lost: Lost | None = None,  # noqa: ARG002  history is here as long as the watch
        progress: Progress | None = None,  # noqa: ARG002  every revision is delivered
    ) -> _Watch:
        """See ``Store``."""
        if revision < self._log_base:
            raise CompactedError(revision, self._log_base - 1)
        past = [
            event
            for _, events in self._log[revision - self._log_base : self._shown + 1 - self._log_base]
            for event in events
            if event.key.startswith(prefix)
        ]
        watch = _Watch(self, prefix, deliver)
        self._watches[watch] = None
        if past:
            deliver(past)
        return watch

    def drop(self, watch: _Watch) -> None:
        """Forget a cancelled watch."""
        self._watches.pop(watch, None)

    # ------------------------------------------------------------ history

    async def compact(self, revision: int) -> None:
        """See ``Store``."""
        self._check(revision)
        if revision < self._log_base:
            raise CompactedError(revision, self._log_base - 1)
        self._forget_before(revision)

    def _forget_before(self, revision: int) -> None:
        # The state *at* ``revision`` stays readable, so only its own commit is no longer needed.
        del self._log[: revision + 1 - self._log_base]
        self._log_base = revision + 1

    def _trim(self) -> None:
        """Auto-compaction: bounded by count and by age, whichever is shorter."""
        oldest_ns = self._clock.monotonic_ns() - self._keep_ns
        surplus = max(0, len(self._log) - self._keep_revisions)
        while surplus < len(self._log) and self._log[surplus][0] < oldest_ns:
            surplus += 1
        last = min(self._log_base + surplus - 1, self._shown)
        if last >= self._log_base:
            self._forget_before(last)

    # ------------------------------------------------------------ leases

    async def grant(self, ttl_s: float) -> int:
        """See ``Store``."""
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self._leases[lease] = (self._clock.monotonic_ns() + int(ttl_s * 1e9), {})
        self._arm()
        return lease

    async def revoke(self, lease: int) -> None:
        """See ``Store``."""
        if lease not in self._leases:
            raise LeaseNotFoundError(lease)
        self._end(lease)

    def _detach(self, kv: KeyValue) -> None:
        held = self._leases.get(kv.lease)
        if held is not None:
            held[1].pop(kv.key, None)

    def _end(self, lease: int) -> None:
        _, keys = self._leases.pop(lease)
        self._commit([Delete(key) for key in sorted(keys)], lease)

    def _arm(self) -> None:
        if self._lease_timer is not None or not self._leases:
            return
        due_ns = min(due for due, _ in self._leases.values())
        delay_s = max(0, due_ns - self._clock.monotonic_ns()) / 1e9
        self._lease_timer = self._clock.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._lease_timer = None
        now_ns = self._clock.monotonic_ns()
        for lease in [id_ for id_, (due, _) in self._leases.items() if due <= now_ns]:
            self._end(lease)
        self._arm()

    async def check(self) -> None:
        """See ``Store``: memory is always there."""

    async def close(self) -> None:
        """See ``Store``."""
        self._disarm()

    def _disarm(self) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()
            self._lease_timer = None
