"""One set, and the table of sets of a namespace. Forks share sets until one side writes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import msgspec

from podwire.dataplane.ipset import element
from podwire.dataplane.ipset.address import BITS, masked
from podwire.dataplane.ipset.element import Element, Key
from podwire.dataplane.ipset.types import IpsetError, SetType

SECOND_NS = 1_000_000_000


class Options(msgspec.Struct, frozen=True):
    """How a set was created. ``timeout_s`` None: elements do not expire."""

    family: str = "inet"
    hashsize: int = 1024
    maxelem: int = 65536
    netmask: int = 0
    timeout_s: int | None = None
    counters: bool = False
    comment: bool = False
    forceadd: bool = False
    bucketsize: int = 12
    initval: int = 0
    range: tuple[int, int] = (0, 65535)
    size: int = 8


class IpSet:
    """A named set. ``elements`` keeps the order of adding."""

    __slots__ = ("elements", "kind", "lengths", "name", "options")

    def __init__(self, name: str, kind: SetType, options: Options) -> None:
        self.name = name
        self.kind = kind
        self.options = options
        self.elements: dict[Key, Element] = {}
        self.lengths: tuple[dict[int, int], ...] = tuple({} for _ in kind.nets)

    def copy(self) -> IpSet:
        """An independent copy."""
        twin = IpSet(self.name, self.kind, self.options)
        twin.elements = dict(self.elements)
        twin.lengths = tuple(dict(counts) for counts in self.lengths)
        return twin

    # ------------------------------------------------------------ elements

    def living(self, now_ns: int) -> Iterator[tuple[Key, Element]]:
        """The elements that have not expired."""
        for key, kept in self.elements.items():
            if not kept.expires_ns or kept.expires_ns > now_ns:
                yield key, kept

    def get(self, key: Key, now_ns: int) -> Element | None:
        """The element of exactly this key."""
        kept = self.elements.get(key)
        if kept is not None and kept.expires_ns and kept.expires_ns <= now_ns:
            return None
        return kept

    def put(self, key: Key, kept: Element) -> None:
        """Add or replace an element."""
        if key not in self.elements:
            for position, counts in zip(self.kind.nets, self.lengths, strict=True):
                length = key[position][1]
                counts[length] = counts.get(length, 0) + 1
        self.elements[key] = kept

    def drop(self, key: Key) -> None:
        """Remove an element."""
        del self.elements[key]
        for position, counts in zip(self.kind.nets, self.lengths, strict=True):
            length = key[position][1]
            counts[length] -= 1
            if not counts[length]:
                del counts[length]

    def clear(self) -> None:
        """Remove all elements."""
        self.elements.clear()
        for counts in self.lengths:
            counts.clear()

    def expire(self, now_ns: int) -> None:
        """Forget what expired."""
        if self.options.timeout_s is not None:
            for key in [k for k, e in self.elements.items() if 0 < e.expires_ns <= now_ns]:
                self.drop(key)

    def find(self, parts: Key, now_ns: int) -> tuple[Key, Element] | None:
        """The most specific element that holds plain values (addresses for networks)."""
        nets = self.kind.nets
        if not nets:
            kept = self.get(parts, now_ns)
            return (parts, kept) if kept is not None else None
        bits = BITS[self.options.family]
        wanted = list(parts)
        for lengths in product(*(sorted(counts, reverse=True) for counts in self.lengths)):
            for position, length in zip(nets, lengths, strict=True):
                wanted[position] = (masked(parts[position], length, bits), length)
            key = tuple(wanted)
            kept = self.get(key, now_ns)
            if kept is not None:
                return key, kept
        return None

    def show(self, key: Key) -> str:
        """A key's text."""
        return element.show(key, self.kind, self.options.family)

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        elements = [(self.show(k), msgspec.structs.astuple(e)) for k, e in self.elements.items()]
        return [self.kind.name, msgspec.structs.astuple(self.options), elements]


class IpSets:
    """All sets of a namespace, in the order they were made."""

    __slots__ = ("_owned", "table", "untold")

    def __init__(self) -> None:
        self.table: dict[str, IpSet] = {}
        self._owned: dict[str, None] = {}
        self.untold = False
        """Whether there may be others, which a dump does not tell of: rules may name them."""

    def clone(self) -> IpSets:
        """An independent table; sets are shared until either side writes to one."""
        twin = IpSets()
        twin.table, twin.untold = dict(self.table), self.untold
        self._owned = {}
        return twin

    def __contains__(self, name: str) -> bool:
        return name in self.table

    def get(self, name: str) -> IpSet:
        """A set to read. Raises IpsetError."""
        found = self.table.get(name)
        if found is None:
            raise IpsetError("The set with the given name does not exist")
        return found

    def own(self, name: str) -> IpSet:
        """A set to write. Raises IpsetError."""
        found = self.get(name)
        if name not in self._owned:
            found = self.table[name] = found.copy()
            self._owned[name] = None
        return found

    def add(self, made: IpSet) -> None:
        """Put a new set into the table."""
        self.table[made.name] = made
        self._owned[made.name] = None

    def remove(self, name: str) -> None:
        """Take a set out."""
        del self.table[name]
        self._owned.pop(name, None)

    def swap(self, a: str, b: str) -> None:
        """Exchange the contents of two sets (their places in the table stay)."""
        first, second = self.own(a), self.own(b)
        self.table[a], self.table[b] = second, first
        first.name, second.name = b, a

    def rename(self, old: str, new: str) -> None:
        """Give a set another name, in its place."""
        made = self.own(old)
        made.name = new
        self.table = {new if name == old else name: s for name, s in self.table.items()}
        self._owned[new] = self._owned.pop(old)

    def take(self, draft: IpSets) -> None:
        """Become what a draft (a clone that was changed) is."""
        self.table, self._owned = draft.table, draft._owned

    def members(self, name: str) -> int:
        """In how many list:set a set is."""
        return sum(
            (name,) in other.elements
            for other in self.table.values()
            if other.kind.dimensions == ("set",)
        )

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        return [(name, kept.facts()) for name, kept in sorted(self.table.items())]
