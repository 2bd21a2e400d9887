"""A watch on an etcd that outlives connections.

etcd sends all events of one revision in one response unless it was asked to fragment, and says so
in a response that goes on; events are delivered when the last piece is there, so a connection that
breaks is resumed behind the last whole revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from aetcd import rpc
from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock
from podwire.store.etcdlink import Link
from podwire.store.model import CompactedError, Deliver, Event, KeyValue, Lost, Progress, StoreError

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 3.0
_DELETE = 1

NUDGE = "\0nudge"
COMPACT = "\0compact"
HIDDEN = (NUDGE, COMPACT)
"""Keys of podwire's own that nobody is shown: how far a watch has come, who compacts."""


class EtcdWatch:
    """Runs from ``start`` until cancelled or lost. ``seen``: nothing up to it is outstanding."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        log: FilteringBoundLogger,
        keys: tuple[bytes, bytes],
        to_key: Callable[[bytes], str],
        revision: int,
        deliver: Deliver,
        progress: Progress | None,
        lost: Lost | None,
        ended: Callable[[EtcdWatch], None],
    ) -> None:
        self.seen = revision - 1
        self._link = link
        self._clock = clock
        self._log = log
        self._keys = keys
        self._to_key = to_key
        self._deliver = deliver
        self._progress = progress
        self._lost = lost
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._delay_s = _BACKOFF_FIRST_S
        self._broken = False

    def start(self) -> None:
        """Follow the store in a task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="etcd watch")

    def cancel(self) -> None:
        """Deliver nothing more."""
        if self._task is not None:
            self._task.cancel()
            self._ended(self)

    async def _run(self) -> None:
        while True:
            endpoint = self._link.at
            try:
                await self._follow(endpoint.watch.Watch())
                why = "the stream ended"
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
            except StoreError as error:
                self._ended(self)
                self._log.warning("etcd watch cannot go on", error=str(error), revision=self.seen)
                if self._lost is not None:
                    self._lost(error)
                return
            self._link.turn(endpoint)
            self._broken = True
            self._log.warning(
                "etcd watch lost", error=why, resume_at=self.seen + 1, retry_after_s=self._delay_s
            )
            await self._clock.sleep(self._delay_s)
            self._delay_s = min(2 * self._delay_s, _BACKOFF_MAX_S)

    async def _follow(self, stream: Any) -> None:
        """One connection. Raises StoreError when no later one could go on from here."""
        try:
            key, end = self._keys
            create = rpc.WatchCreateRequest(
                key=key, range_end=end, start_revision=self.seen + 1, prev_kv=True
            )
            await stream.write(rpc.WatchRequest(create_request=create))
            pieces: list[Any] = []
            while (response := await stream.read()) is not grpc.aio.EOF:
                if response.created:
                    self._began(response.header.revision)
                if response.compact_revision:
                    raise CompactedError(self.seen + 1, response.compact_revision)
                if response.canceled:
                    self._log.warning("etcd ended the watch", reason=response.cancel_reason)
                    return
                if not response.events:
                    continue
                if response.fragment:
                    pieces += response.events
                elif pieces:
                    self._take([*pieces, *response.events])
                    pieces = []
                else:
                    self._take(response.events)
        finally:
            stream.cancel()

    def _began(self, revision: int) -> None:
        if revision < self.seen:
            raise StoreError(
                f"etcd is at revision {revision}, {self.seen} was seen: its data was replaced"
            )
        self._delay_s = _BACKOFF_FIRST_S
        if self._broken:
            self._broken = False
            self._log.warning("etcd watch is back", resume_at=self.seen + 1)

    def _take(self, received: Sequence[Any]) -> None:
        to_key = self._to_key
        events = []
        for event in received:
            kv = event.kv
            key = to_key(kv.key)
            revision = kv.mod_revision
            if revision <= self.seen or key.endswith(HIDDEN):
                continue
            previous = None
            if event.HasField("prev_kv"):
                previous = pair(key, event.prev_kv)
            new = None if event.type == _DELETE else pair(key, kv)
            events.append(Event(revision, key, new, previous))
        last = received[-1].kv.mod_revision
        self.seen = max(self.seen, last)
        if events:
            self._deliver(events)
        if self._progress is not None and (not events or events[-1].revision < last):
            self._progress(last)


def pair(key: str, kv: Any) -> KeyValue:
    """A pair as etcd sends it, as ours."""
    return KeyValue(key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)
