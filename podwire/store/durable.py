"""The embedded engine with a data directory: nothing is told before it is on the disk.

A transaction changes memory at once and is written down in the next batch; one batch is one write
and one fdatasync off the loop. Only then do watchers hear of it, readers see it, and ``txn``
return, in order of revisions. After a failed write the engine refuses everything that would change
something, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock, TraceLog
from podwire.runtime.threads import Worker
from podwire.store import records
from podwire.store.embedded import EmbeddedStore
from podwire.store.journal import Journal, Recovered
from podwire.store.model import (
    Compare,
    Event,
    KeyValue,
    Op,
    OutcomeUnknownError,
    TxnResult,
    UnavailableError,
)

ROTATE_BYTES = 64 * 1024 * 1024
"""A log segment of this size (or of the last snapshot's, if larger) is followed by a snapshot."""


class _Entry(NamedTuple):
    """What waits for its batch: a record and what it makes visible."""

    payload: bytes
    events: Sequence[Event]


class DurableStore(EmbeddedStore):
    """An ``EmbeddedStore`` that survives its process. Open it with ``DurableStore.open``."""

    def __init__(
        self,
        journal: Journal,
        state: Recovered,
        clock: Clock,
        trace: TraceLog,
        log: FilteringBoundLogger,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(clock, trace, **options)
        self._journal = journal
        self._logger = log
        self._rotate_bytes = rotate_bytes
        self._snapshot_bytes = 0
        self._snapshotting: asyncio.Future[int] | None = None
        self._writer = Worker("store-writer")
        self._snapshotter = Worker("store-snapshot")
        self._pending: list[_Entry] = []
        self._waiting: list[asyncio.Future[None]] = []  # ... with them
        self._inflight: list[asyncio.Future[None]] | None = None  # wait for the batch under way
        self._busy = False  # a batch is being written
        self._kicked = False  # a batch will be begun in this turn of the loop
        self._failed = ""
        self._load(state)

    @classmethod
    def open(
        cls,
        directory: Path,
        clock: Clock,
        trace: TraceLog,
        log: FilteringBoundLogger,
        **options: Any,
    ) -> DurableStore:
        """Read (or begin) a data directory. Call it on the loop. Raises StoreOpenError."""
        journal = Journal(directory)
        return cls(journal, journal.open(), clock, trace, log, **options)

    def _load(self, state: Recovered) -> None:
        self._now = state.kvs
        self._sorted = None
        self._revision = self._shown = state.revision
        self._log_base = state.revision + 1
        self._next_lease = state.next_lease
        offset_ns = self._clock.monotonic_ns() - self._clock.now_ns()
        for lease, due_ns in sorted(state.leases.items()):
            self._leases[lease] = (due_ns + offset_ns, {})
        now_ns = self._clock.monotonic_ns()
        for key, kv in state.kvs.items():
            if kv.lease:  # a snapshot may be ahead of the record that took an ended lease's keys
                self._leases.setdefault(kv.lease, (now_ns, {}))[1][key] = None
        self._arm()

    # ------------------------------------------------------------ writing

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """See ``Store``. A refusal, too, is told only when what it rests on is durable."""
        self._refuse()
        result = await super().txn(compares, ops)
        await self._settled()
        return result

    async def grant(self, ttl_s: float) -> int:
        """See ``Store``."""
        self._refuse()
        lease = await super().grant(ttl_s)
        self._record(records.Granted(lease, self._clock.now_ns() + int(ttl_s * 1e9)), ())
        await self._settled()
        return lease

    async def revoke(self, lease: int) -> None:
        """See ``Store``."""
        self._refuse()
        await super().revoke(lease)
        await self._settled()

    async def check(self) -> None:
        """See ``Store``."""
        self._refuse()

    def _refuse(self) -> None:
        if self._failed:
            raise UnavailableError(self._failed)

    def _commit(self, ops: Sequence[Op], ended_lease: int = 0) -> None:
        events = self._apply(ops)
        if events or ended_lease:
            changes: list[tuple[str, bytes | None, int]] = [
                (event.key, event.kv.value, event.kv.lease) if event.kv else (event.key, None, 0)
                for event in events
            ]
            self._record(records.Txn(self._revision, changes, ended_lease), events)

    def _record(self, record: records.Payload, events: Sequence[Event]) -> None:
        self._pending.append(_Entry(records.encode(record), events))
        if not self._kicked and not self._busy:
            # Whoever else runs in this turn joins the batch.
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def _settled(self) -> None:
        """Until everything that was changed so far is durable. Raises OutcomeUnknownError."""
        queue = self._waiting if self._pending else self._inflight
        if queue is not None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(done)
            await done
        self._refuse()

    def _flush(self) -> None:
        self._kicked = False
        if self._busy or not self._pending or self._failed:
            return
        batch, self._pending = self._pending, []
        self._inflight, self._waiting = self._waiting, []
        self._busy = True
        payloads = [entry.payload for entry in batch]
        loop = asyncio.get_running_loop()
        written = loop.run_in_executor(self._writer, self._journal.append, payloads)
        written.add_done_callback(partial(self._flushed, batch))

    def _flushed(self, batch: list[_Entry], written: asyncio.Future[None]) -> None:
        self._busy = False
        waiting, self._inflight = self._inflight or [], None
        error = written.exception()
        if error is not None:
            self._fail(error, waiting)
            return
        events = [event for entry in batch for event in entry.events]
        try:
            if events:
                self._show(events)
        finally:
            for done in waiting:
                if not done.done():
                    done.set_result(None)
        if self._journal.log_bytes >= max(self._rotate_bytes, self._snapshot_bytes):
            self._rotate()
        elif self._pending:
            # Those who were just woken belong into this batch, too.
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _fail(self, error: BaseException, waiting: list[asyncio.Future[None]]) -> None:
        what = getattr(error, "strerror", "") or str(error)
        self._failed = (
            f"the store cannot write to {self._journal.folder}: {what}; "
            "mend that and start podwire again"
        )
        self._logger.error("store failed, it takes no writes", error=self._failed)
        self._disarm()
        unsure = OutcomeUnknownError(self._failed)
        for done in [*waiting, *self._waiting]:
            if not done.done():
                done.set_exception(unsure)
        self._pending, self._waiting = [], []

    # ------------------------------------------------------------ snapshots

    def _rotate(self) -> None:
        """Begin a new segment between two batches; write the state so far beside it."""
        if self._snapshotting is not None:
            self._flush()
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        begun = loop.run_in_executor(self._writer, self._journal.rotate, self._shown)
        begun.add_done_callback(self._rotated)

    def _rotated(self, begun: asyncio.Future[None]) -> None:
        self._busy = False
        error = begun.exception()
        if error is not None:
            self._put_off(error)
        else:
            kvs, revision = self._state(), self._shown
            offset_ns = self._clock.now_ns() - self._clock.monotonic_ns()
            leases = [(lease, due_ns + offset_ns) for lease, (due_ns, _) in self._leases.items()]
            self._snapshotting = asyncio.get_running_loop().run_in_executor(
                self._snapshotter, self._journal.snapshot, revision, kvs, leases, self._next_lease
            )
            self._snapshotting.add_done_callback(self._snapshotted)
        self._flush()

    def _state(self) -> list[KeyValue]:
        """What is visible now, without what still waits for its batch."""
        if self._shown == self._revision:
            return list(self._now.values())
        undone = self._undone(self._shown, "")
        kvs = [kv for key, kv in self._now.items() if key not in undone]
        return kvs + [kv for kv in undone.values() if kv is not None]

    def _snapshotted(self, written: asyncio.Future[int]) -> None:
        self._snapshotting = None
        if written.cancelled():
            return
        error = written.exception()
        if error is not None:
            self._put_off(error)
        else:
            self._snapshot_bytes = written.result()

    def _put_off(self, error: BaseException) -> None:
        """The log alone still holds everything; try again when it has doubled."""
        self._snapshot_bytes = 2 * self._journal.log_bytes
        self._logger.warning("no snapshot was written", error=str(error))

    # ------------------------------------------------------------ the end

    async def close(self) -> None:
        """See ``Store``."""
        await super().close()
        if not self._failed:
            await self._settled()
        if self._snapshotting is not None:
            await asyncio.gather(self._snapshotting, return_exceptions=True)
        self._writer.shutdown()
        self._snapshotter.shutdown()
        self._journal.close()
