"""A dict that others share, under the few entries that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

GONE = object()
"""In a delta: the entry is to go."""


class _Layered(Mapping[Any, Any]):
    """Reads a dict that others share under the few entries that differ. No entry is None."""

    __slots__ = ("base", "over")

    def __init__(self, base: dict[Any, Any], over: dict[Any, Any]) -> None:
        self.base, self.over = base, over

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


class Layers(_Layered):
    """Never changed in place; ``GONE`` hides an entry of the base."""

    __slots__ = ("_count",)

    def __init__(self, base: dict[Any, Any], over: dict[Any, Any], count: int) -> None:
        super().__init__(base, over)
        self._count = count

    def __len__(self) -> int:
        return self._count

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
        if len(self.over) + len(delta) >= 64 + len(self.base) // 8:
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


class Overlay(_Layered, MutableMapping[Any, Any]):
    """A dict of one's own (``over``) above one that others rest on too. Whoever changes it changes
    its own part; ``rest_on`` is the only way to another base.
    """

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.over[key] = value

    def __delitem__(self, key: Any) -> None:
        self[key]
        if key in self.base:
            self.over[key] = GONE
        else:
            del self.over[key]

    def __iter__(self) -> Iterator[Any]:
        """What is one's own first; then the base."""
        for key, value in self.over.items():
            if value is not GONE:
                yield key
        for key in self.base:
            if key not in self.over:
                yield key

    def __len__(self) -> int:
        hidden = sum(1 for key in self.over if key in self.base)
        gone = sum(1 for value in self.over.values() if value is GONE)
        return len(self.base) - hidden + len(self.over) - gone

    def copy(self) -> Overlay:
        """An independent one over the same base."""
        return Overlay(self.base, dict(self.over))

    def rest_on(
        self, base: dict[Any, Any], replaced: Mapping[Any, Any], skipped: tuple[Any, ...]
    ) -> None:
        """Go over to a base that is the old one with ``replaced`` put into it, as if they had been
        put here, but those ``skipped``, which stay as they are.
        """
        own, before = self.over, self.base
        kept = {key: self.get(key, GONE) for key in skipped if key in replaced}
        few, many = (own, replaced) if len(own) < len(replaced) else (replaced, own)
        for key in [key for key in few if key in many]:
            del own[key]
        self.base = base
        for key, value in kept.items():
            if value is not GONE or key in before or key in base:
                own[key] = value
