"""A dict that others share, under the few entries that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

GONE = object()
"""In a delta: the entry is to go."""


class Layers(Mapping[Any, Any]):
    """A dict that others share, under the few entries that differ; never changed in place.

    ``GONE`` hides an entry of the base. No entry is None.
    """

    __slots__ = ("_count", "base", "over")

    def __init__(self, base: dict[Any, Any], over: dict[Any, Any], count: int) -> None:
        self.base, self.over, self._count = base, over, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: Any) -> Any:
        found = self.over.get(key)
        if found is None:
            return self.base[key]
        if found is GONE:
            raise KeyError(key)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        """The entry of a key, or ``default``."""
        found = self.over.get(key)
        if found is None:
            return self.base.get(key, default)
        return default if found is GONE else found

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[Any]:
        over = self.over
        if not over:
            yield from self.base
            return
        for key in self.base:
            if over.get(key) is not GONE:
                yield key
        for key, value in over.items():
            if value is not GONE and key not in self.base:
                yield key

    def changed(self, delta: Mapping[Any, Any]) -> Layers:
        """With entries put or (``GONE``) taken away."""
        if not delta:
            return self
        gone = [key for key, value in delta.items() if value is GONE]
        if len(self.over) + len(delta) >= 64 + len(self.base) // 2:
            merged = {key: self[key] for key in self} if self.over else dict(self.base)
            merged.update(delta)
            for key in gone:
                del merged[key]
            return Layers(merged, {}, len(merged))
        count = self._count
        for key, value in delta.items():
            count += (value is not GONE) - (key in self)
        return Layers(self.base, {**self.over, **delta}, count)


NONE: Layers = Layers({}, {}, 0)
