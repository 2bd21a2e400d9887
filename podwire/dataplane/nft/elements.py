"""Elements of sets and maps, and how a value finds the one it belongs to.

Exact keys are looked up in a dict, ranges by bisection, so that a lookup costs the same in a map
of ten elements and of ten thousand. Only concatenations with ranges, and wildcards, are scanned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from podwire.dataplane.layers import GONE, NONE, Layers
from podwire.dataplane.nft.types import DataType, Range, Value, Wild, show_value, sort_key

Verdict = tuple[str, str]
"""A kind (accept, drop, continue, return, jump, goto, queue) and the chain of jump and goto."""


class Element(NamedTuple):
    """One element. ``data`` is a value, a tuple of values or a ``Verdict`` ("" in sets)."""

    key: Value
    data: Any = None
    comment: str = ""
    timeout_ms: int = 0
    counter: tuple[int, int] | None = None
    expires_ns: int = 0
    """When it goes, for those with a timeout; 0: stays."""


class Finder:
    """Finds the element that a value belongs to, among elements that are not exact keys."""

    __slots__ = ("_highs", "_lows", "_ranges", "_rows", "_wild")

    def __init__(self, kinds: tuple[DataType, ...], elements: Iterable[Element]) -> None:
        self._rows: list[tuple[tuple[Any, ...], Element]] = []
        self._wild: list[tuple[str, Element]] = []
        ranges: list[tuple[int, int, Element]] = []
        for element in elements:
            key = element.key
            if isinstance(key, tuple):
                self._rows.append((key, element))
            elif isinstance(key, Range):
                ranges.append((key.low, key.high, element))
            elif isinstance(key, Wild):
                self._wild.append((key.start, element))
            elif isinstance(key, int) or kinds[0].name != "ifname":
                number = kinds[0].number(key)
                ranges.append((number, number, element))
        ranges.sort(key=lambda entry: entry[0])
        self._lows = [low for low, _, _ in ranges]
        self._highs = [high for _, high, _ in ranges]
        self._ranges = [element for _, _, element in ranges]
        self._wild.sort(key=lambda entry: -len(entry[0]))

    def find(self, kinds: tuple[DataType, ...], value: Value) -> Element | None:
        """The element whose range, wildcard or ranges hold a value."""
        if isinstance(value, tuple):
            for row, element in self._rows:
                if all(
                    part.holds(kind.number(have)) if isinstance(part, Range) else part == have
                    for kind, part, have in zip(kinds, row, value, strict=True)
                ):
                    return element
            return None
        if self._wild and isinstance(value, str):
            for start, element in self._wild:
                if value.startswith(start):
                    return element
            return None
        if not self._lows:
            return None
        number = kinds[0].number(value)
        at = bisect_right(self._lows, number) - 1
        return self._ranges[at] if at >= 0 and number <= self._highs[at] else None


def exact(key: Value) -> bool:
    """Whether a key stands for one value only."""
    if isinstance(key, tuple):
        return not any(isinstance(part, Range) for part in key)
    return not isinstance(key, Range | Wild)


class Members:
    """The elements of one set or map, ready to be asked. Immutable; shared between nodes."""

    __slots__ = ("_finder", "inexact", "kinds", "layers")

    def __init__(self, kinds: tuple[DataType, ...], layers: Layers, inexact: int = 0) -> None:
        self.kinds, self.layers, self.inexact = kinds, layers, inexact
        self._finder: Finder | None = None

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Element]:
        return (self.layers[key] for key in self.layers)

    def get(self, key: Value) -> Element | None:
        """The element with exactly this key."""
        found: Element | None = self.layers.get(key)
        return found

    def find(self, value: Value) -> Element | None:
        """The element that a packet's value belongs to."""
        found: Element | None = self.layers.get(value)
        if found is not None or not self.inexact:
            return found
        if self._finder is None:
            self._finder = Finder(self.kinds, (e for e in self if not exact(e.key)))
        return self._finder.find(self.kinds, value)

    def changed(self, delta: Mapping[Value, Any]) -> Members:
        """With elements put or taken away."""
        if not delta:
            return self
        inexact = self.inexact
        for key, value in delta.items():
            if not exact(key):
                inexact += (value is not GONE) - (key in self.layers)
        return Members(self.kinds, self.layers.changed(delta), inexact)

    def sorted(self, *, interval: bool) -> list[Element]:
        """The elements in the order that nft prints them."""
        found = list(self)
        if interval and any(isinstance(e.key, tuple) for e in found):
            return found
        return sorted(found, key=lambda e: sort_key(self.kinds, e.key, interval=interval))


def bounds(kind: DataType, key: Value) -> tuple[int, int]:
    """The first and the last number of a value or range."""
    if isinstance(key, Range):
        return key.low, key.high
    number = kind.number(key)
    return number, number


def members(kinds: tuple[DataType, ...], elements: Iterable[Element]) -> Members:
    """Elements that a rule brought along."""
    delta = {element.key: element for element in elements}
    return Members(kinds, NONE).changed(delta)


def merged(kind: DataType, elements: Iterable[Element]) -> list[Element]:
    """Overlapping and touching ranges made one (auto-merge)."""
    spans: list[tuple[int, int]] = []
    for low, high in sorted(bounds(kind, e.key) for e in elements):
        if spans and low <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], high))
        else:
            spans.append((low, high))
    return [Element(kind.back(a) if a == b else Range(a, b)) for a, b in spans]


def show_key(kinds: tuple[DataType, ...], key: Value) -> str:
    """A key as nft prints it."""
    parts = key if isinstance(key, tuple) else (key,)
    return " . ".join(show_value(k, part) for k, part in zip(kinds, parts, strict=True))


def show_data(kinds: tuple[DataType, ...], data: Any) -> str:
    """What a map gives, as nft prints it."""
    if kinds and kinds[0].name == "verdict":
        kind, chain = data
        return f"{kind} {chain}" if chain else str(kind)
    return show_key(kinds, data)
