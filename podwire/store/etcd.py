"""The etcd engine: a real etcd, version 3.4 or newer, through aetcd's stubs.

Source of the behaviour: etcd's API guarantees (watch events of one revision come together; a read
that is not serializable is linearizable) and kube-apiserver's etcd3 storage (compaction, health).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from aetcd import rpc
from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock, Timer
from podwire.store.etcdlink import CALL_TIMEOUT_S, CHECK_TIMEOUT_S, Link
from podwire.store.etcdwatch import COMPACT, HIDDEN, NUDGE, EtcdWatch, pair
from podwire.store.model import (
    CompactedError,
    Compare,
    Deliver,
    FutureRevisionError,
    KeyValue,
    LeaseNotFoundError,
    Lost,
    Op,
    Page,
    Progress,
    Put,
    StoreError,
    TxnResult,
    check_size,
)
from podwire.store.options import StoreOptions

_RANGE, _PUT, _TXN, _COMPACT = map(attrgetter, ("kv.Range", "kv.Put", "kv.Txn", "kv.Compact"))
_GRANT, _REVOKE = map(attrgetter, ("lease.LeaseGrant", "lease.LeaseRevoke"))

_PAGE = 500
_COMPACT_S = 300.0  # kube-apiserver's --etcd-compaction-interval
_NUDGE_S = 0.1
_MOD = rpc.Compare.CompareTarget.MOD
_VERSION = rpc.Compare.CompareTarget.VERSION
_EQUAL = rpc.Compare.CompareResult.EQUAL


class EtcdStore:
    """A ``Store`` in an etcd. Open it with ``EtcdStore.open``."""

    def __init__(self, link: Link, prefix: str, clock: Clock, log: FilteringBoundLogger) -> None:
        self._link = link
        self._prefix = prefix.encode()
        self._clock = clock
        self._log = log
        self._watches: dict[EtcdWatch, str] = {}  # -> the prefix it follows
        self._reading: asyncio.Task[int] | None = None
        self._next_reading: asyncio.Task[int] | None = None
        self._nudge_timer: Timer | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}

    @classmethod
    async def open(
        cls, options: StoreOptions, clock: Clock, log: FilteringBoundLogger
    ) -> EtcdStore:
        """Connect. Raises StoreOpenError."""
        link = Link(options)
        try:
            await link.open()
        except BaseException:
            await link.close()
            raise
        store = cls(link, options.etcd_prefix, clock, log)
        store._start(store._compact_regularly(), "etcd compaction")
        return store

    def _start(self, coro: Any, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks[task] = None
        task.add_done_callback(lambda ended: self._tasks.pop(ended, None))
        return task

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _to_key(self, raw: bytes) -> str:
        return raw[len(self._prefix) :].decode(errors="surrogateescape")

    # ------------------------------------------------------------ reading

    known_revision = None
    """See ``Store``: others may have written."""

    async def revision(self) -> int:
        """See ``Store``. Calls that wait at the same time share one linearizable read."""
        revision = await self._shared_reading()
        if self._nudge_timer is None and any(w.seen < revision for w in self._watches):
            self._nudge_timer = self._clock.call_later(_NUDGE_S, self._nudge, revision)
        return revision

    async def _shared_reading(self) -> int:
        if self._reading is None:
            self._reading = self._start(self._read_revision(), "etcd revision")
            return await asyncio.shield(self._reading)
        # The reading under way may have begun before what this caller must see.
        if self._next_reading is None:
            self._next_reading = self._start(self._read_after(self._reading), "etcd revision")
        return await asyncio.shield(self._next_reading)

    async def _read_after(self, earlier: asyncio.Task[int]) -> int:
        await asyncio.gather(earlier, return_exceptions=True)
        self._reading, self._next_reading = self._next_reading, None
        return await self._read_revision()

    async def _read_revision(self) -> int:
        try:
            return await self._header_revision(CALL_TIMEOUT_S)
        finally:
            self._reading = None

    async def _header_revision(self, timeout_s: float) -> int:
        request = rpc.RangeRequest(key=self._key(COMPACT), count_only=True)
        response = await self._link.call(_RANGE, request, timeout_s=timeout_s)
        return int(response.header.revision)

    def _nudge(self, wanted: int) -> None:
        """Revisions outside of what we watch make no event: write one that does."""
        self._nudge_timer = None
        for watch, prefix in self._watches.items():
            if watch.seen < wanted:
                request = rpc.PutRequest(key=self._key(prefix + NUDGE), value=b"")
                self._start(self._try_put(request), "etcd nudge")

    async def _try_put(self, request: Any) -> None:
        try:
            await self._link.call(_PUT, request, writes=True)
        except StoreError as error:
            self._log.info("etcd takes no write", error=str(error))

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """See ``Store``."""
        request = rpc.RangeRequest(key=self._key(key), revision=revision)
        response = await self._range(request)
        return pair(key, response.kvs[0]) if response.kvs else None

    async def _range(self, request: Any) -> Any:
        wanted = request.revision
        try:
            return await self._link.call(_RANGE, request, revision=wanted)
        except FutureRevisionError:
            raise FutureRevisionError(wanted, await self.revision()) from None

    async def range(
        self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0
    ) -> Page:
        """See ``Store``. Read in pages at one revision."""
        try:
            return await self._pages(prefix, revision, after, limit)
        except CompactedError:
            if revision:
                raise
            # Compacted between two pages of the present: the present moved on.
            return await self._pages(prefix, 0, after, limit)

    async def _pages(self, prefix: str, revision: int, after: str, limit: int) -> Page:
        start, end = self._keys(prefix)
        if after:
            start = max(start, self._key(after) + b"\0")
        kvs: list[KeyValue] = []
        now = 0
        while True:
            some = min(_PAGE, limit + 1 - len(kvs)) if limit else _PAGE
            request = rpc.RangeRequest(key=start, range_end=end, limit=some, revision=revision)
            response = await self._range(request)
            if not now:
                now = response.header.revision
                revision = revision or now
            for raw in response.kvs:
                key = self._to_key(raw.key)
                if not key.endswith(HIDDEN):
                    kvs.append(pair(key, raw))
            if limit and len(kvs) > limit:
                return Page(kvs[:limit], now, True)
            if not response.more:
                return Page(kvs, now, False)
            start = response.kvs[-1].key + b"\0"

    def _keys(self, prefix: str) -> tuple[bytes, bytes]:
        """The first key of a prefix and the first one behind it."""
        start = self._key(prefix)
        end = start.rstrip(b"\xff")
        if not end:
            return start or b"\0", b"\0"
        return start, end[:-1] + bytes((end[-1] + 1,))

    # ------------------------------------------------------------ writing

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """See ``Store``. A refusal reads the guards in the same call (a single one need not be)."""
        check_size(ops)
        request = rpc.TxnRequest()
        for key, mod_revision in compares:
            raw = self._key(key)
            request.compare.add(result=_EQUAL, target=_MOD, key=raw, mod_revision=mod_revision)
            if len(compares) > 1:
                read = request.failure.add().request_range
                read.key, read.keys_only = raw, True
        lease = 0
        for op in ops:
            if isinstance(op, Put):
                lease = lease or op.lease
                put = request.success.add().request_put
                put.key, put.value = self._key(op.key), op.value
                if op.lease:
                    put.lease = op.lease
            else:
                request.success.add().request_delete_range.key = self._key(op.key)
        try:
            response = await self._link.call(_TXN, request, writes=True)
        except LeaseNotFoundError:
            raise LeaseNotFoundError(lease) from None
        if response.succeeded:
            return TxnResult(True, response.header.revision)
        if len(compares) == 1:
            return TxnResult(False, response.header.revision, (compares[0][0],))
        failed = []
        for compare, answer in zip(compares, response.responses, strict=True):
            found = answer.response_range.kvs
            if (found[0].mod_revision if found else 0) != compare[1]:
                failed.append(compare[0])
        return TxnResult(False, response.header.revision, tuple(failed))

    # ------------------------------------------------------------ watching

    async def watch(
        self,
        prefix: str,
        revision: int,
        deliver: Deliver,
        lost: Lost | None = None,
        progress: Progress | None = None,
    ) -> EtcdWatch:
        """See ``Store``."""
        keys = self._keys(prefix)
        try:
            request = rpc.RangeRequest(key=keys[0], revision=revision, count_only=True)
            await self._link.call(_RANGE, request, revision=revision)
        except FutureRevisionError:
            pass  # the usual case: from the next revision on
        watch = EtcdWatch(
            self._link, self._clock, self._log, keys, self._to_key, revision,
            deliver, progress, lost, self._forget,
        )  # fmt: skip
        self._watches[watch] = prefix
        watch.start()
        return watch

    def _forget(self, watch: EtcdWatch) -> None:
        self._watches.pop(watch, None)

    # ------------------------------------------------------------ history

    async def compact(self, revision: int) -> None:
        """See ``Store``."""
        request = rpc.CompactionRequest(revision=revision)
        try:
            await self._link.call(_COMPACT, request, revision=revision)
        except FutureRevisionError:
            raise FutureRevisionError(revision, await self.revision()) from None

    async def _compact_regularly(self) -> None:
        """Every five minutes, forget what is older than five minutes; one server of several does.

        Source: apiserver pkg/storage/etcd3/compact.go.
        """
        turn = revision = 0
        while True:
            await self._clock.sleep(_COMPACT_S)
            try:
                turn, revision = await self._compact_turn(turn, revision)
            except StoreError as error:
                self._log.warning("etcd was not compacted", error=str(error))

    async def _compact_turn(self, turn: int, revision: int) -> tuple[int, int]:
        """Compact at ``revision`` if nobody took this turn; the next turn and its revision."""
        key = self._key(COMPACT)
        request = rpc.TxnRequest()
        request.compare.add(result=_EQUAL, target=_VERSION, key=key, version=turn)
        put = request.success.add().request_put
        put.key, put.value = key, str(revision).encode()
        request.failure.add().request_range.key = key
        response = await self._link.call(_TXN, request, writes=True)
        now = response.header.revision
        if not response.succeeded:
            found = response.responses[0].response_range.kvs
            return (found[0].version if found else 0), now
        if revision:
            try:
                await self.compact(revision)
            except CompactedError:
                self._log.info("etcd was compacted by somebody else", revision=revision)
        return turn + 1, now

    # ------------------------------------------------------------ leases

    async def grant(self, ttl_s: float) -> int:
        """See ``Store``."""
        request = rpc.LeaseGrantRequest(TTL=max(1, math.ceil(ttl_s)))
        response = await self._link.call(_GRANT, request, writes=True)
        return int(response.ID)

    async def revoke(self, lease: int) -> None:
        """See ``Store``."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        try:
            await self._link.call(_REVOKE, request, writes=True)
        except LeaseNotFoundError:
            raise LeaseNotFoundError(lease) from None

    # ------------------------------------------------------------ life

    async def check(self) -> None:
        """See ``Store``: a read that a majority confirms."""
        await self._header_revision(CHECK_TIMEOUT_S)

    async def close(self) -> None:
        """See ``Store``."""
        if self._nudge_timer is not None:
            self._nudge_timer.cancel()
        for watch in list(self._watches):
            watch.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()
