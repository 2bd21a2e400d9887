"""Read your own writes: no second decision on a cache that has not seen the first one's effects.

client-go's controllers count expected creations and deletions (ControllerExpectations, UID
tracking), and some check that their own updates have come back (consistency stores); here each own
write is remembered by uid until the informer has shown it, or is known to be past it, so nothing
ever expires by time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client.informer import Informer


class Expectations:
    """What each key still waits to see, for the kinds of the given informers."""

    def __init__(
        self,
        informers: Sequence[Informer[Any]],
        satisfied: Callable[[str], None],
        *,
        unasked: bool = True,
    ) -> None:
        """``satisfied(key)`` is called when a key that waited has seen everything; without
        ``unasked`` only if somebody asked for it meanwhile, or its writes were never shown.
        """
        self._informers = {informer.kind: informer for informer in informers}
        self._satisfied = satisfied
        self._unasked = unasked
        self._asked: dict[str, None] = {}
        self._written: dict[str, tuple[str, Kind[Any], int]] = {}
        self._deleted: dict[str, str] = {}
        self._pending: dict[str, int] = {}
        for informer in informers:
            informer.on_change(self._changed)
            informer.on_progress(partial(self._progressed, informer))

    def pending(self, key: str) -> bool:
        """Whether the key's own writes are not all in the cache yet: then it comes back."""
        if key not in self._pending:
            return False
        self._asked[key] = None
        return True

    def written(self, key: str, kind: Kind[Any], made: Object) -> None:
        """The key created or patched an object, which is now ``made``."""
        informer = self._informers.get(kind)
        uid = made.metadata.uid
        if informer is None:
            return
        revision = int(made.metadata.resource_version)
        if informer.resource_version >= revision:
            return
        waiting = self._written.get(uid)
        if waiting is not None and waiting[0] != key:
            return
        self._written[uid] = (key, kind, revision)
        if waiting is None:
            self._pending[key] = self._pending.get(key, 0) + 1

    def deleted(self, key: str, kind: Kind[Any], namespace: str, name: str, uid: str) -> None:
        """The key deleted an object (or found it gone)."""
        informer = self._informers.get(kind)
        if informer is None or uid in self._deleted:
            return
        cached = informer.get(namespace, name)
        if (
            cached is not None
            and cached.metadata.uid == uid
            and not cached.metadata.deletion_timestamp
        ):
            self._deleted[uid] = key
            self._pending[key] = self._pending.get(key, 0) + 1

    def _changed(self, old: Object | None, new: Object | None) -> None:
        seen = new if new is not None else old
        assert seen is not None
        uid = seen.metadata.uid
        waiting = self._written.get(uid)
        if waiting is not None and (
            new is None or int(new.metadata.resource_version) >= waiting[2]
        ):
            del self._written[uid]
            self._less(waiting[0])
        if uid in self._deleted and (new is None or new.metadata.deletion_timestamp):
            self._less(self._deleted.pop(uid))

    def _progressed(self, informer: Informer[Any]) -> None:
        """After a relist: what was created and already deleted again never shows up."""
        past = [
            uid
            for uid, (_, kind, revision) in self._written.items()
            if kind is informer.kind and revision <= informer.resource_version
        ]
        for uid in past:
            key = self._written.pop(uid)[0]
            self._asked[key] = None  # no event tells the key's owner of it
            self._less(key)

    def _less(self, key: str) -> None:
        left = self._pending[key] - 1
        if left:
            self._pending[key] = left
        else:
            del self._pending[key]
            asked = key in self._asked
            if asked:
                del self._asked[key]
            if asked or self._unasked:
                self._satisfied(key)
