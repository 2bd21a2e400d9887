"""All kinds' caches behind the store's one watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from podwire.api.kinds import Kind, stored
from podwire.apiserver.cache.entry import Entry, Representation
from podwire.apiserver.cache.fields import Selection, triggers
from podwire.apiserver.cache.kind import KindCache
from podwire.apiserver.cache.watcher import Watcher
from podwire.apiserver.storage import ADMISSION_READS, converter
from podwire.client.counters import Frame
from podwire.runtime.ports import Clock, Rng, Timer
from podwire.store import Event, KeyValue, Page, Store, StoreError, UnavailableError, Watch

ROOT = "/registry/"
"""Everything the API server stores lies below this key, so one watch sees every revision."""

_BOOKMARK_S = 60.0
_FRESH_S = 3.0
"""How long a request waits for the cache. Source: cacher's blockTimeout."""
_RELOAD_FIRST_S = 0.2
_RELOAD_MAX_S = 5.0

Sink = Callable[[str, bytes | None], None]


def _folder(kind: Kind[Any]) -> str:
    """Where a kind's objects lie below ROOT. Names of the API's own kinds have no dots."""
    return kind.resource if kind.custom is not None else kind.plural


class Caches:
    """The state of the cluster as of one revision, and everybody who watches it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rng: Rng,
        kinds: Iterable[Kind[Any]],
        log: FilteringBoundLogger,
    ) -> None:
        self.store = store
        self.revision = 0
        self._clock = clock
        self._log = log
        self._rng = rng.child("bookmarks")
        self.deciders = 0
        """Counts up when an object of a kind that admission looks at comes or goes."""
        self.decisions = 0
        """Counts up when one comes, goes or changes; quotas change with each object, and nothing
        is remembered where there are some.
        """
        self._by_kind: dict[Kind[Any], KindCache] = {}
        self._by_folder: dict[str, list[KindCache]] = {}
        for kind in kinds:
            cache = KindCache(kind, f"{ROOT}{kind.plural}/", triggers(kind))
            self._by_kind[kind] = cache
            self._by_folder[_folder(kind)] = [cache]
            if kind in ADMISSION_READS:
                cache.listeners.append(self._decider_changed)
        self._loose: dict[str, dict[str, KeyValue]] = {}
        """Custom objects that no definition claims (yet), by folder and key."""
        self._told: dict[str, Callable[[], None]] = {}
        """Who is told when something in a folder changed."""
        self._sinks: dict[str, Sink] = {}
        self._sunk: dict[str, dict[str, None]] = {}  # what each sink was told exists
        self._decisive = 0
        self._reloading: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._waiting: dict[tuple[int, asyncio.Future[None]], None] = {}
        self._bookmark_timer: Timer | None = None

    def _decider_changed(self, old: Entry | None, new: Entry | None) -> None:
        if old is None or new is None:
            self.deciders += 1
            self.decisions += 1
        elif new.kind.plural != "resourcequotas":
            self.decisions += 1

    def of(self, kind: Kind[Any]) -> KindCache:
        """The cache of a kind; that of another version is made when it is first asked for."""
        cache = self._by_kind.get(kind)
        if cache is None:
            cache = self._by_kind[stored(kind)].in_version(kind, triggers(kind), converter(kind))
            self._by_kind[kind] = cache
            self._by_folder[_folder(kind)].append(cache)
        return cache

    def size(self, kind: Kind[Any]) -> int:
        """How many objects of a kind there are; 0 of one that is never stored (metrics)."""
        cache = self._by_kind.get(kind, self._by_kind.get(stored(kind)))
        return 0 if cache is None else len(cache)

    def shown(self, kind: Kind[Any], entry: Entry) -> Entry:
        """An entry of the stored version as another version of its kind."""
        if entry.kind is kind:
            return entry
        cache = self.of(kind)
        if self.of(entry.kind).get(entry.namespace, entry.name) is entry:  # no dry run's
            now = cache.get(entry.namespace, entry.name)
            assert now is not None, "the caches of all versions move together"
            return now
        return cache.made(entry.key, entry.value, entry.revision)

    # ------------------------------------------------------------ custom kinds

    def adopt(self, kind: Kind[Any]) -> None:
        """Hold the objects of a custom kind (the stored version) from now on. If its definition
        held them before, by another schema, the watches of that end.
        """
        folder = _folder(kind)
        kvs = self._released(folder)
        prefix = f"{ROOT}{folder}/"
        cache = KindCache(kind, prefix, triggers(kind), convert=converter(kind))
        cache.load(kvs, self.revision)
        self._by_kind[kind] = cache
        self._by_folder[folder] = [cache]

    def release(self, kind: Kind[Any]) -> None:
        """Hold them no longer: the definition went."""
        folder = _folder(kind)
        left = {kv.key: kv for kv in self._released(folder)}
        if left:
            self._loose[folder] = left

    def _released(self, folder: str) -> list[KeyValue]:
        """What a folder holds; its caches are dropped."""
        caches = self._by_folder.pop(folder, ())
        for cache in caches:
            del self._by_kind[cache.kind]
            cache.end_watches()
        loose = self._loose.pop(folder, {})
        return caches[0].stored() if caches else [loose[key] for key in sorted(loose)]

    def follow(self, cache: KindCache) -> None:
        """Show a version that is made elsewhere."""
        self._by_kind[cache.kind] = cache

    def unfollow(self, cache: KindCache) -> None:
        """Show it no longer."""
        self._by_kind.pop(cache.kind, None)
        cache.end_watches()

    def tell(self, kind: Kind[Any], call: Callable[[], None] | None) -> None:
        """Call after changes of a kind's objects (None: no longer), once for what came at once."""
        if call is None:
            self._told.pop(_folder(kind), None)
        else:
            self._told[_folder(kind)] = call

    def all(self) -> list[KindCache]:
        """Every kind's cache, in the order of the registry."""
        return list(self._by_kind.values())

    def sink(self, folder: str, sink: Sink) -> None:
        """Have puts (and deletes: None) below ``/registry/<folder>/`` told; before ``start``."""
        self._sinks[folder] = sink
        self._sunk[folder] = {}

    async def start(self) -> None:
        """Load everything and follow the store from there."""
        page = await self.store.range(ROOT)
        self._load(page)
        self._watch = await self.store.watch(
            ROOT, page.revision + 1, self._deliver, self._lost, self._advance
        )

    def _load(self, page: Page) -> None:
        groups: dict[str, list[Any]] = {}
        for kv in page.kvs:
            groups.setdefault(kv.key.split("/", 3)[2], []).append(kv)
        for folder, caches in self._by_folder.items():
            for cache in caches:
                cache.load(groups.get(folder, ()), page.revision)
        self._loose = {
            folder: {kv.key: kv for kv in kvs}
            for folder, kvs in groups.items()
            if "." in folder and folder not in self._by_folder
        }
        for folder, sink in self._sinks.items():
            kvs = groups.get(folder, ())
            present = {kv.key: None for kv in kvs}
            for key in [key for key in self._sunk[folder] if key not in present]:
                sink(key, None)
            for kv in kvs:
                sink(kv.key, kv.value)
            self._sunk[folder] = present
        self._advance(page.revision)
        for told in list(self._told.values()):
            told()

    def _lost(self, error: StoreError) -> None:
        """History has a gap: start over; readers of watches must list again (410)."""
        self._log.warning("watch cache reloads", reason=str(error), revision=self.revision)
        loop = asyncio.get_running_loop()
        self._reloading = loop.create_task(self._reload(), name="watch cache reload")

    async def _reload(self) -> None:
        delay_s = _RELOAD_FIRST_S
        while True:
            try:
                await self.start()
            except StoreError as error:
                self._log.warning(
                    "watch cache not reloaded", error=str(error), retry_after_s=delay_s
                )
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _RELOAD_MAX_S)
            else:
                self._log.warning("watch cache reloaded", revision=self.revision)
                return

    def stop(self) -> None:
        """End every watch."""
        if self._watch is not None:
            self._watch.cancel()
        if self._reloading is not None:
            self._reloading.cancel()
        if self._bookmark_timer is not None:
            self._bookmark_timer.cancel()
            self._bookmark_timer = None
        for cache in self._by_kind.values():
            cache.end_watches()

    async def fresh(self) -> int:
        """Wait until the cache holds what the store held when asked; that revision or later.

        Raises UnavailableError.
        """
        await self._reach(await self.store.revision())
        return self.revision

    def settled(self) -> bool:
        """Whether ``fresh`` would return at once, as far as one can know without asking."""
        known = self.store.known_revision
        return known is not None and self.revision >= known

    async def decisive(self) -> None:
        """Wait for what this server itself acknowledged of kinds that admission looks at."""
        await self._reach(self._decisive)

    @property
    def decided(self) -> bool:
        """Whether ``decisive`` would return at once."""
        return self.revision >= self._decisive

    def acknowledged(self, revision: int) -> None:
        """A write of a kind that admission looks at was acknowledged."""
        self._decisive = max(self._decisive, revision)

    async def _reach(self, revision: int) -> None:
        if self.revision >= revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (revision, future)
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(_FRESH_S):
                await future
        except TimeoutError:
            raise UnavailableError(
                f"etcdserver: request timed out: the watch cache is at revision {self.revision}, "
                f"{revision} is needed"
            ) from None
        finally:
            self._waiting.pop(waiter, None)

    def _deliver(self, events: Sequence[Event]) -> None:
        told: dict[str, Callable[[], None]] = {}
        for event in events:
            folder = event.key.split("/", 3)[2]
            caches = self._by_folder.get(folder)
            if caches is not None:
                for cache in caches:
                    cache.apply(event)
                if folder in self._told:
                    told[folder] = self._told[folder]
            elif folder in self._sinks:
                self._sink(folder, event)
            elif "." in folder:
                self._unclaimed(folder, event)
        self._advance(events[-1].revision)
        for call in told.values():
            call()

    def _unclaimed(self, folder: str, event: Event) -> None:
        """A custom object before its definition is known, or behind its back."""
        if event.kv is not None:
            self._loose.setdefault(folder, {})[event.key] = event.kv
        elif folder in self._loose:
            self._loose[folder].pop(event.key, None)

    def _sink(self, folder: str, event: Event) -> None:
        if event.kv is None:
            self._sunk[folder].pop(event.key, None)
            self._sinks[folder](event.key, None)
        else:
            self._sunk[folder][event.key] = None
            self._sinks[folder](event.key, event.kv.value)

    def _advance(self, revision: int) -> None:
        """Everything up to a revision is in the caches: wake who waits for it."""
        self.revision = revision
        if self._waiting:
            for wanted, future in self._waiting:  # who is woken leaves by itself
                if wanted <= self.revision and not future.done():
                    future.set_result(None)

    # ------------------------------------------------------------ watching

    def watcher(
        self,
        kind: Kind[Any],
        namespace: str,
        selection: Selection,
        shape: Representation | None,
        *,
        bookmarks: bool,
    ) -> Watcher:
        """A registered watcher of a kind; it sees every change from now on."""
        cache = self.of(kind)
        scope = selection.scope(namespace)
        matches = None if selection.everything else selection.matches
        watcher = Watcher(
            matches, shape, lambda left: cache.leave(scope, left), bookmarks=bookmarks
        )
        cache.join(scope, watcher)
        if bookmarks:
            self._need_bookmarks()
        return watcher

    def bookmark(
        self, kind: Kind[Any], shape: Representation | None, *, initial_end: bool = False
    ) -> Frame:
        """A BOOKMARK at the cache's revision."""
        complete = self.of(kind).complete
        revision = self.revision if complete is None else complete
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        if shape is not None:
            return Frame(shape.bookmark(kind, meta) + shape.terminator)
        return Frame(msgspec.json.encode({"type": "BOOKMARK", "object": body}) + b"\n")

    def _need_bookmarks(self) -> None:
        """Somebody wants bookmarks: tick about once a minute while anybody does."""
        if self._bookmark_timer is None:
            delay_s = self._rng.uniform(0.9 * _BOOKMARK_S, 1.1 * _BOOKMARK_S)
            self._bookmark_timer = self._clock.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._bookmark_timer = None
        wanted = False
        for cache in self._by_kind.values():
            frames: dict[str, Frame] = {}
            for watcher in cache.watchers():
                if watcher.bookmarks:
                    wanted = True
                    name = "" if watcher.shape is None else watcher.shape.name
                    if name not in frames:
                        frames[name] = self.bookmark(cache.kind, watcher.shape)
                    watcher.push(frames[name])
        if wanted:
            self._need_bookmarks()
