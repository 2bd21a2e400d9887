"""The cache of one kind: its objects, its recent changes, its watchers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from podwire.api.kinds import Kind
from podwire.apiserver.cache.entry import Change, Entry, Splice
from podwire.apiserver.cache.watcher import Watcher
from podwire.store import Event, KeyValue

WINDOW = 1024
"""Changes kept for watches that resume (and for lists at an older revision)."""

_HOT = 64  # how many of the newest changes keep their frames' bytes

_FEW = 32  # so many changes (and a 32nd of the list) are worked into a list, more sort it anew

Scope = tuple[str, str, str]
"""What a watcher can see at most: namespace ("" all), then a field and its value ("" none)."""

Trigger = Callable[[Entry], str]
Convert = Callable[[bytes], bytes]
"""From a stored value to a value of another version."""


Listener = Callable[[Entry | None, Entry | None], None]
"""Told (None, new), (old, new) or (old, None)."""


class TooOld(Exception):  # noqa: N818  (a fact about a revision, answered with 410)
    """The wanted revision lies before the window."""

    def __init__(self, wanted: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {wanted} ({oldest})")
        self.wanted = wanted
        self.oldest = oldest


class _Bucket:
    """Entries, and their list in key order when asked for: a list that was given away never
    changes, the next one is made of it and of what changed since.
    """

    __slots__ = ("_changed", "_keys", "_order", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._order: list[Entry] | None = []
        self._changed: dict[str, None] = {}

    def put(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        self._touch(key)

    def drop(self, key: str) -> None:
        self.entries.pop(key, None)
        self._touch(key)

    def _touch(self, key: str) -> None:
        if self._order is not None:
            self._changed[key] = None
            if len(self._changed) > _FEW + len(self._keys) // _FEW:
                self._order = None  # sorting all is cheaper by now
                self._changed = {}

    def order(self) -> list[Entry]:
        entries = self.entries
        if self._order is None:
            self._keys = sorted(entries)
            self._order = [entries[key] for key in self._keys]
        elif self._changed:
            keys, order = self._keys, self._order.copy()
            for key in self._changed:
                at = bisect_left(keys, key)
                known = at < len(keys) and keys[at] == key
                entry = entries.get(key)
                if entry is None:
                    if known:
                        del keys[at], order[at]
                elif known:
                    order[at] = entry
                else:
                    keys.insert(at, key)
                    order.insert(at, entry)
            self._order, self._changed = order, {}
        return self._order


class KindCache:
    """Objects of one kind as of the last delivered revision."""

    def __init__(
        self,
        kind: Kind[Any],
        prefix: str,
        triggers: dict[str, Trigger],
        window: int = WINDOW,
        convert: Convert | None = None,
    ) -> None:
        self.kind = kind
        self.prefix = prefix
        self.splice = Splice(kind)
        self.triggers = triggers
        self.floor = 0
        """Watches may resume behind this revision, not before it."""
        self.complete: int | None = None
        """Up to which revision it is complete; None: as all caches are."""
        self._window = window
        self._convert = convert
        self._all = _Bucket()
        self._by_namespace: dict[str, _Bucket] = {}
        self._history: deque[Change] = deque()
        self._watchers: dict[Scope, dict[Watcher, None]] = {}
        self._narrow: dict[str, int] = {}
        """How many scopes with watchers have a value of a field."""
        self.listeners: list[Listener] = []
        """Told of every change, before watchers are; add to it before the cache is loaded."""

    # ------------------------------------------------------------ reading

    def key(self, namespace: str, name: str) -> str:
        """The store key of an object."""
        if self.kind.namespaced:
            return f"{self.prefix}{namespace}/{name}"
        return self.prefix + name

    def __len__(self) -> int:
        return len(self._all.entries)

    def get(self, namespace: str, name: str) -> Entry | None:
        """An object now."""
        return self._all.entries.get(self.key(namespace, name))

    def entries(self, namespace: str = "") -> list[Entry]:
        """Objects now, in key order. The list is shared: do not change it."""
        if not namespace:
            return self._all.order()
        bucket = self._by_namespace.get(namespace)
        return bucket.order() if bucket is not None else []

    def entries_at(self, revision: int, namespace: str = "") -> list[Entry]:
        """Objects as of an older revision, by undoing the window. Raises TooOld."""
        if revision < self.floor:
            raise TooOld(revision, self.floor)
        then: dict[str, Entry | None] = {}
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            then[change.subject.key] = change.old
        now = self.entries(namespace)
        if not then:
            return now
        kept = [entry for entry in now if entry.key not in then]
        kept += [e for e in then.values() if e is not None and namespace in ("", e.namespace)]
        kept.sort(key=lambda entry: entry.key)
        return kept

    def entry(self, kv: KeyValue) -> Entry:
        """An entry of a stored pair (for reads that go to the store)."""
        return self.made(kv.key, kv.value, kv.mod_revision)

    def made(self, key: str, value: bytes, revision: int) -> Entry:
        """An entry of a stored value, in this kind's version."""
        if self._convert is None:
            return Entry(self.kind, self.splice, key, value, revision)
        shown = self._convert(value)
        entry = Entry(self.kind, self.splice, key, shown, revision)
        if shown is not value:
            entry.raw = value
        return entry

    def in_version(
        self, kind: Kind[Any], triggers: dict[str, Trigger], convert: Convert
    ) -> KindCache:
        """The same objects and history as another version of the kind shows them."""
        other = KindCache(kind, self.prefix, triggers, self._window, convert)
        other.floor = self.floor
        seen: dict[int, Entry] = {}

        def shown(entry: Entry | None) -> Entry | None:
            if entry is None:
                return None
            if id(entry) not in seen:
                seen[id(entry)] = other.made(entry.key, entry.raw or entry.value, entry.revision)
            return seen[id(entry)]

        for change in self._history:
            changed = Change(change.revision, shown(change.old), shown(change.new))
            other._history.append(changed)
        for entry in self._all.order():
            now = shown(entry)
            assert now is not None
            other._put(now)
        return other

    # ------------------------------------------------------------ the store's side

    def load(self, kvs: Iterable[KeyValue], revision: int) -> None:
        """Start (over) from a range read at ``revision``; watches end, to resume is too late."""
        self.floor = revision
        self._history.clear()
        gone = self._all.entries
        self._all = _Bucket()
        self._by_namespace.clear()
        for kv in kvs:
            self._put(self.entry(kv))
        for listener in self.listeners:
            for key, old in gone.items():
                if key not in self._all.entries:
                    listener(old, None)
            for key, new in self._all.entries.items():
                listener(gone.get(key), new)
        for watcher in self.watchers():
            watcher.end()

    def apply(self, event: Event) -> None:
        """Take one store event: remember it and hand it to whom it concerns."""
        old = self._all.entries.get(event.key)
        if event.kv is None:
            if old is None:
                return
            new = None
            self._drop(old)
        else:
            new = self.entry(event.kv)
            self._put(new)
        for listener in self.listeners:
            listener(old, new)
        change = Change(event.revision, old, new)
        history = self._history
        history.append(change)
        if len(history) > self._window:
            self.floor = history.popleft().revision
        if len(history) > _HOT:
            history[-_HOT - 1].forget_frames()
        if self._watchers:
            self._fan_out(change)

    def _put(self, entry: Entry) -> None:
        self._all.put(entry.key, entry)
        if entry.namespace:
            bucket = self._by_namespace.get(entry.namespace)
            if bucket is None:
                bucket = self._by_namespace[entry.namespace] = _Bucket()
            bucket.put(entry.key, entry)

    def _drop(self, entry: Entry) -> None:
        self._all.drop(entry.key)
        bucket = self._by_namespace.get(entry.namespace)
        if bucket is not None:
            bucket.drop(entry.key)
            if not bucket.entries:
                del self._by_namespace[entry.namespace]

    def _fan_out(self, change: Change) -> None:
        for scope in self._scopes(change):
            watchers = self._watchers.get(scope)
            if watchers:
                for watcher in tuple(watchers):
                    watcher.see(change)

    def _scopes(self, change: Change) -> list[Scope]:
        """Where watchers that may care are registered; each scope once."""
        subject = change.subject
        narrow = [("", "")]
        for field, value_of in self.triggers.items():
            if not self._narrow.get(field):
                continue  # nobody asks, so nobody need look
            seen = None
            for entry in (change.old, change.new):
                if entry is not None:
                    value = value_of(entry)
                    if value != seen:
                        narrow.append((field, value))
                        seen = value
        scopes = [("", field, value) for field, value in narrow]
        if subject.namespace:
            scopes += [(subject.namespace, field, value) for field, value in narrow]
        return [scope for scope in scopes if scope in self._watchers]

    # ------------------------------------------------------------ watching

    def since(self, revision: int) -> list[Change]:
        """Changes after a revision. Raises TooOld."""
        if revision < self.floor:
            raise TooOld(revision, self.floor)
        history = self._history
        if not history or history[-1].revision <= revision:
            return []
        start = bisect_right(history, revision, key=lambda change: change.revision)
        return list(islice(history, start, None))

    def join(self, scope: Scope, watcher: Watcher) -> None:
        """Register a watcher; it sees every later change in its scope."""
        if scope not in self._watchers:
            self._watchers[scope] = {}
            self._narrow[scope[1]] = self._narrow.get(scope[1], 0) + 1
        self._watchers[scope][watcher] = None

    def leave(self, scope: Scope, watcher: Watcher) -> None:
        """Forget a watcher."""
        watchers = self._watchers.get(scope)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[scope]
                self._narrow[scope[1]] -= 1

    def stored(self) -> list[KeyValue]:
        """What the store holds of this kind, in key order."""
        return [self.pair(entry) for entry in self._all.order()]

    @staticmethod
    def pair(entry: Entry) -> KeyValue:
        """What the store holds of an object."""
        return KeyValue(entry.key, entry.raw or entry.value, 0, entry.revision, 0)

    def end_watches(self) -> None:
        """Let every watcher know that there is nothing more to see here."""
        for watcher in self.watchers():
            watcher.end()

    def watchers(self) -> list[Watcher]:
        """Every watcher, in order of scope and arrival."""
        return [watcher for group in self._watchers.values() for watcher in group]
