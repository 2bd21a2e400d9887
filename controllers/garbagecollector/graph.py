"""Who owns whom, from the caches of all kinds (pure)."""

from __future__ import annotations

from podwire.api.views import Object
from podwire.controllers.garbagecollector.core import Item


class Graph:
    """Objects by uid, and dependents by their owners' uids (owners may be unknown)."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def get(self, uid: str) -> Item | None:
        """The object with this uid, if a cache holds it."""
        return self._items.get(uid)

    def dependents(self, uid: str) -> list[Item]:
        """Objects that name this uid as an owner, sorted by kind and key."""
        found = [self._items[u] for u in self._dependents.get(uid, ())]
        return sorted(found, key=lambda item: (item.kind.resource, item.object.key))

    def put(self, item: Item) -> None:
        """An object appeared or changed."""
        uid = item.object.metadata.uid
        known = self._items.get(uid)
        references = item.object.metadata.owner_references
        if known is not None and known.object.metadata.owner_references == references:
            self._items[uid] = item
            return
        self.remove(uid)
        self._items[uid] = item
        for reference in references:
            self._dependents.setdefault(reference.uid, {})[uid] = None

    def remove(self, uid: str) -> Object | None:
        """An object is gone; what it was."""
        item = self._items.pop(uid, None)
        if item is None:
            return None
        for reference in item.object.metadata.owner_references:
            siblings = self._dependents.get(reference.uid)
            if siblings is not None:
                siblings.pop(uid, None)
                if not siblings:
                    del self._dependents[reference.uid]
        return item.object
