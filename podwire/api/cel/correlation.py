"""Which old value belongs to a new one, and whether they are equal: what ratcheting asks.

Source: Kubernetes' apiserver pkg/cel/common/equality.go, maplist.go; apiextensions-apiserver
pkg/apiserver/schema/cel/validation.go (ratchetingOptions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire.api.cel.values import equal

_UNEQUAL = object()


class MapList:
    """Entries of a list of type map, by their keys."""

    def __init__(self, items: list[Any], schema: Mapping[str, Any]) -> None:
        self._names = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        properties = (schema.get("items") or {}).get("properties") or {}
        self._defaults = {name: (properties.get(name) or {}).get("default") for name in self._names}
        self._by_key = {}
        for item in items:
            if (key := self._key(item)) is not None:
                self._by_key[key] = item

    def _key(self, item: Any) -> tuple[Any, ...] | None:
        if not isinstance(item, dict):
            return None
        key = tuple(item.get(name, self._defaults[name]) for name in self._names)
        return None if any(isinstance(part, dict | list) for part in key) else key

    def get(self, item: Any) -> Any:
        """The entry with the keys of ``item``, or None."""
        key = self._key(item)
        return None if key is None else self._by_key.get(key)


def old_items(schema: Mapping[str, Any], old: Any) -> MapList | None:
    """The old entries of a list, where a list's type says which is which."""
    if isinstance(old, list) and schema.get("x-kubernetes-list-type") == "map":
        return MapList(old, schema)
    return None


class Pair:
    """A value and the old one that it is held against; compared at most once."""

    __slots__ = ("_equal", "_items", "new", "old", "schema")

    def __init__(self, new: Any, old: Any, schema: Mapping[str, Any]) -> None:
        self.new = new
        self.old = old
        self.schema = schema
        self._equal: bool | None = None
        self._items: MapList | None = None

    def unchanged(self) -> bool:
        """Whether the two are equal; lists of type map without regard to order."""
        if self._equal is None:
            self._equal = self._compare()
        return self._equal

    def _compare(self) -> bool:
        new, old = self.new, self.old
        if new is None or old is None:
            return new is old
        if isinstance(new, list) and isinstance(old, list):
            if len(new) != len(old):
                return False
            if self.schema.get("x-kubernetes-list-type") != "map":
                return equal(new, old)
            found = [self.item(place) for place in range(len(new))]
            return all(pair is not None and pair.unchanged() for pair in found)
        if isinstance(new, dict) and isinstance(old, dict):
            if len(new) != len(old):
                return False
            return all((pair := self.key(name)) is not None and pair.unchanged() for name in new)
        return equal(new, old)

    def key(self, name: str) -> Pair | None:
        """The pair of a field or entry, if both objects have it and the schema knows it."""
        if not isinstance(self.new, dict) or not isinstance(self.old, dict):
            return None
        old = self.old.get(name, _UNEQUAL)
        if old is _UNEQUAL or name not in self.new:
            return None
        inner = (self.schema.get("properties") or {}).get(name)
        if inner is None:
            inner = self.schema.get("additionalProperties")
        return Pair(self.new[name], old, inner) if isinstance(inner, Mapping) else None

    def item(self, place: int) -> Pair | None:
        """The pair of a list's entry, if the list's type says which old entry it was."""
        if not isinstance(self.new, list) or not isinstance(self.schema.get("items"), Mapping):
            return None
        if self._items is None:
            self._items = old_items(self.schema, self.old)
        old = None if self._items is None else self._items.get(self.new[place])
        return None if old is None else Pair(self.new[place], old, self.schema["items"])


class Ratchet:
    """Whether what is wrong here was so before: the pair here, or the nearest one above."""

    __slots__ = ("above", "here")

    def __init__(self, here: Pair | None, above: Pair | None = None) -> None:
        self.here = here
        self.above = above

    def holds(self) -> bool:
        """Whether nothing changed, so that complaints become warnings."""
        pair = self.here or self.above
        return pair is not None and pair.unchanged()

    def key(self, name: str) -> Ratchet:
        """The same for a field or entry."""
        if self.here is None:
            return self
        if self.above is None and name in {"apiVersion", "kind"}:
            return Ratchet(None)
        return Ratchet(self.here.key(name), self.here)

    def item(self, place: int) -> Ratchet:
        """The same for an entry of a list."""
        return self if self.here is None else Ratchet(self.here.item(place), self.here)

    def within(self) -> Ratchet:
        """The same for what allOf says of this value, which is not ratcheted by itself."""
        return Ratchet(None, self.above)
