"""Where nodes are (topology domains), and how many pods of a kind each domain holds (pure).

Counts follow every pod that comes and goes, so that a decision reads them and never counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

ITSELF = ""
"""The topology key by which every node is a domain of its own, whatever its labels."""


class Places(Protocol):
    """What counters ask of the cluster."""

    topology: int
    """Counts changes of what ``domain`` and ``domains`` say."""

    def domain(self, key: str, slot: int) -> str | None:
        """The value of a topology key on the node in a slot; None without the label."""

    def domains(self, key: str) -> Mapping[str, int]:
        """Every value of a topology key with the nodes that have it."""


class Table:
    """Pods per domain of one topology key, among the nodes of ``within`` (None: all)."""

    __slots__ = ("_domains", "_places", "counts", "key", "level", "sizes", "within")

    def __init__(self, places: Places, key: str, within: int | None, on: Mapping[int, int]) -> None:
        self._places = places
        self.key = key
        self.within = within
        self._domains = places.domains(key)
        self.counts: dict[str, int] = {
            value: 0 for value, nodes in self._domains.items() if within is None or nodes & within
        }
        for slot, count in on.items():
            value = self._value(slot)
            if value is not None:
                self.counts[value] += count
        self.level: dict[int, int] = {}
        """Nodes by how many pods their domain has: count -> nodes with that label."""
        self.sizes: dict[int, int] = {}
        """The number of domains with a count."""
        for value, count in self.counts.items():
            self.level[count] = self.level.get(count, 0) | self._domains[value]
            self.sizes[count] = self.sizes.get(count, 0) + 1

    def _value(self, slot: int) -> str | None:
        if self.within is not None and not (self.within >> slot) & 1:
            return None
        return self._places.domain(self.key, slot)

    def change(self, slot: int, by: int) -> None:
        """A node has more or fewer of the pods."""
        value = self._value(slot)
        if value is None:
            return
        old = self.counts[value]
        self.counts[value] = new = old + by
        nodes = self._domains[value]
        left = self.level[old] ^ nodes
        if left:
            self.level[old] = left
        else:
            del self.level[old]
        self.level[new] = self.level.get(new, 0) | nodes
        if self.sizes[old] == 1:
            del self.sizes[old]
        else:
            self.sizes[old] -= 1
        self.sizes[new] = self.sizes.get(new, 0) + 1

    @property
    def occupied(self) -> int:
        """The nodes of domains that have any of the pods."""
        found = 0
        for count, nodes in self.level.items():
            if count > 0:
                found |= nodes
        return found

    @property
    def fewest(self) -> int:
        """The least count of a domain; 0 without domains."""
        return min(self.sizes, default=0)


class Counter:
    """How many pods of a kind each node holds."""

    __slots__ = ("_on", "_places", "_tables", "_version", "total")

    def __init__(self, places: Places) -> None:
        self._places = places
        self._on: dict[int, int] = {}
        self._tables: dict[tuple[str, int | None], Table] = {}
        self._version = -1
        self.total = 0

    def change(self, slot: int, by: int) -> None:
        """A node has more or fewer of the pods."""
        if self._version != self._places.topology:
            self._tables.clear()
        count = self._on.get(slot, 0) + by
        self.total += by
        if count:
            self._on[slot] = count
        else:
            self._on.pop(slot, None)
        for table in self._tables.values():
            table.change(slot, by)

    def table(self, key: str, within: int | None = None) -> Table:
        """The pods per domain of a topology key."""
        if self._version != self._places.topology:
            self._tables.clear()
            self._version = self._places.topology
        found = self._tables.get((key, within))
        if found is None:
            if len(self._tables) >= _MOST_TABLES:
                self._tables.clear()
            found = Table(self._places, key, within, self._on)
            self._tables[key, within] = found
        return found


_MOST_TABLES = 16
