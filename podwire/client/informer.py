"""Shared, indexed caches of collections, and the handlers that hear of changes.

An informer's cache holds frozen views; readers never see a half-applied event: the cache and its
indexes change first, then the handlers run, synchronously and in the order they were added.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.reflector import Reflector
from podwire.runtime.tasks import Event, Nursery

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Kind[O]

OnChange = Callable[[O | None, O | None], None]
"""Told (None, new) for an addition, (old, new) for a change, (old, None) for a deletion."""


class _Index(Generic[O]):
    """Values of a function over the cache, each with its objects by key."""

    def __init__(self, fn: Callable[[O], Iterable[str]]) -> None:
        self.fn = fn
        self._buckets: dict[str, dict[str, O]] = {}
        self._sorted: dict[str, builtins.list[O]] = {}
        """Of those buckets that were asked for since they changed."""

    def list(self, value: str) -> builtins.list[O]:
        """The objects of a value, sorted by key."""
        found = self._sorted.get(value)
        if found is None:
            bucket = self._buckets.get(value)
            if not bucket:
                return []
            found = self._sorted[value] = _in_order(bucket)
        return found

    def move(self, key: str, old: O | None, new: O | None) -> None:
        if old is not None:
            before = self.fn(old)
            if new is not None and self.fn(new) == before:
                for value in before:
                    self._buckets[value][key] = new
                    self._sorted.pop(value, None)
                return
            for value in before:
                bucket = self._buckets.get(value)
                if bucket is not None and bucket.pop(key, None) is not None and not bucket:
                    del self._buckets[value]
                self._sorted.pop(value, None)
        if new is not None:
            for value in self.fn(new):
                self._buckets.setdefault(value, {})[key] = new
                self._sorted.pop(value, None)


class Informer(Generic[O]):
    """The cache of one collection. Made by ``Informers.informer``."""

    def __init__(self, ctx: Ctx, kind: Kind[O]) -> None:
        self.kind = kind
        self.synced = Event()
        """Set once the initial state is in the cache and was told to the handlers."""
        self.resource_version = 0
        """The revision up to which the cache is known to be complete (0 before the sync)."""
        self._log = ctx.log.bind(informer=kind.resource)
        self._items: dict[str, O] = {}
        self._sorted: list[O] | None = []
        self._by_namespace = _Index[O](lambda item: (item.metadata.namespace,))
        self._indexes: dict[str, _Index[O]] = {}
        self._handlers: list[OnChange[O]] = []
        self._progress: list[Callable[[], None]] = []

    # ------------------------------------------------------------ reading

    def get(self, namespace: str, name: str) -> O | None:
        """The cached object, if any (``namespace`` "" for cluster-scoped kinds)."""
        return self._items.get(f"{namespace}/{name}" if namespace else name)

    def by_key(self, key: str) -> O | None:
        """The cached object of a ``namespace/name`` key."""
        return self._items.get(key)

    def list(self, namespace: str | None = None) -> builtins.list[O]:
        """All objects, or those of one namespace, sorted by key. Do not change the list:
        it is the same one until one of them changes.
        """
        if namespace is not None:
            return self._by_namespace.list(namespace)
        if self._sorted is None:
            self._sorted = _in_order(self._items)
        return self._sorted

    def by_index(self, name: str, value: str) -> builtins.list[O]:
        """The objects whose index function gives ``value``, sorted by key. Do not change the
        list: it is the same one until one of them changes.
        """
        return self._indexes[name].list(value)

    # ------------------------------------------------------------ set-up

    def add_index(self, name: str, fn: Callable[[O], Iterable[str]]) -> None:
        """Index the cache by a pure function; the same name twice keeps the first function."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Index(fn)
        for key, item in self._items.items():
            index.move(key, None, item)

    def on_change(self, handler: OnChange[O]) -> None:
        """Call ``handler`` for every change; a late one is first told what is there already."""
        self._handlers.append(handler)
        for item in tuple(self.list()):
            self._tell(handler, None, item)

    def off_change(self, handler: OnChange[O]) -> None:
        """Call ``handler`` no more."""
        self._handlers.remove(handler)

    def on_progress(self, call: Callable[[], None]) -> None:
        """Call after the cache moved to a new revision by a relist or a bookmark."""
        self._progress.append(call)

    # ------------------------------------------------------------ the reflector's sink

    def replace(self, items: builtins.list[O], resource_version: str) -> None:
        """Take over a whole state; what is gone is told as deleted, in key order.

        A namesake with another uid is a deletion and an addition.
        """
        fresh = {item.key: item for item in items}
        self.resource_version = int(resource_version)
        for key in sorted(self._items):
            new = fresh.get(key)
            old = self._items[key]
            if new is None or new.metadata.uid != old.metadata.uid:
                self._store(key, old, None)
        for key in sorted(fresh):
            new, previous = fresh[key], self._items.get(key)
            if previous is None or (
                previous.metadata.resource_version != new.metadata.resource_version
            ):
                self._store(key, previous, new)
        self.synced.set()
        self._moved()

    def apply(self, event_type: str, item: O) -> None:
        """Take over one watch event."""
        key = item.key
        self.resource_version = int(item.metadata.resource_version)
        old = self._items.get(key)
        if event_type != "DELETED":
            self._store(key, old, item)
        elif old is not None:
            # The event carries the last state, which the cache may not have seen.
            self._store(key, item, None)

    def progress(self, resource_version: str) -> None:
        """A bookmark: the cache is complete up to this revision."""
        self.resource_version = int(resource_version)
        self._moved()

    def _moved(self) -> None:
        for call in self._progress:
            call()

    def _store(self, key: str, old: O | None, new: O | None) -> None:
        indexed = self._items.get(key)
        self._sorted = None
        if new is None:
            self._items.pop(key, None)
        else:
            self._items[key] = new
        self._by_namespace.move(key, indexed, new)
        for index in self._indexes.values():
            index.move(key, indexed, new)
        for handler in self._handlers:
            self._tell(handler, old, new)

    def _tell(self, handler: OnChange[O], old: O | None, new: O | None) -> None:
        try:
            handler(old, new)
        except Exception:  # noqa: BLE001  told with its traceback
            # One room's bug must not blind the others that share this cache.
            about = new if new is not None else old
            self._log.exception("handler failed", key=about.key if about is not None else "")


def _in_order(bucket: dict[str, O]) -> list[O]:
    return list(map(bucket.__getitem__, sorted(bucket)))


class Informers:
    """The informers of one component: one per distinct (kind, namespace, selectors)."""

    def __init__(self, client: Client, ctx: Ctx) -> None:
        self._client = client
        self._ctx = ctx
        self._informers: dict[tuple[str, ...], tuple[Informer[Any], Reflector[Any]]] = {}
        self._tasks: dict[Informer[Any], asyncio.Task[None]] = {}
        self._nursery: Nursery | None = None

    def informer(
        self,
        kind: Kind[O],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Informer[O]:
        """The shared informer for these arguments; started at once when the factory runs."""
        key = (kind.api_version, kind.plural, namespace, label_selector, field_selector)
        found = self._informers.get(key)
        if found is None:
            informer = Informer(self._ctx, kind)
            reflector = Reflector(
                self._client,
                self._ctx,
                kind,
                informer,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            found = self._informers[key] = (informer, reflector)
            if self._nursery is not None:
                self._start(self._nursery, informer, reflector)
        return found[0]

    def forget(self, informer: Informer[Any]) -> None:
        """Stop an informer whose kind is served no longer; what it held is told as deleted."""
        self._informers = {k: v for k, v in self._informers.items() if v[0] is not informer}
        task = self._tasks.pop(informer, None)
        if task is not None:
            task.cancel()
        informer.replace([], str(informer.resource_version))

    async def run(self) -> None:
        """Run all reflectors, those added later too, until cancelled."""
        async with Nursery() as nursery:
            self._nursery = nursery
            try:
                for informer, reflector in list(self._informers.values()):
                    self._start(nursery, informer, reflector)
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                self._nursery = None

    async def wait_synced(self) -> None:
        """Wait until every informer asked for so far holds its initial state."""
        for informer, _ in list(self._informers.values()):
            await informer.synced.wait()

    def _start(self, nursery: Nursery, informer: Informer[Any], reflector: Reflector[Any]) -> None:
        name = f"reflector {informer.kind.resource}"
        self._tasks[informer] = nursery.start(reflector.run(), name=name)
