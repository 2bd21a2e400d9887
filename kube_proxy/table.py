"""A mapping that never changes: another one is made of it, and both share what they have in common.

A thousand proxiers of one process each hold the Services as of the moment they know; between two
such moments little differs. Keys are spread over buckets, so a change copies one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

V = TypeVar("V")
_FILL = 32
"""Entries per bucket, about: half of the buckets are added when there are twice as many."""


class Table(Mapping[str, V], Generic[V]):
    """By key, iterated in the order of the keys. Compare by identity: equal ones are mostly one."""

    __slots__ = ("_buckets", "_order", "_size")

    def __init__(
        self,
        buckets: tuple[dict[str, V], ...],
        size: int,
        order: tuple[str, ...] | None = None,
    ) -> None:
        self._buckets, self._size, self._order = buckets, size, order

    @classmethod
    def of(cls, items: Mapping[str, V]) -> Table[V]:
        """A table of these entries."""
        count = 1
        while count * _FILL < len(items):
            count *= 2
        buckets: list[dict[str, V]] = [{} for _ in range(count)]
        for key, value in items.items():
            buckets[hash(key) & (count - 1)][key] = value
        return cls(tuple(buckets), len(items))

    def __getitem__(self, key: str) -> V:
        buckets = self._buckets
        return buckets[hash(key) & (len(buckets) - 1)][key]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        if self._order is None:
            self._order = tuple(sorted(key for bucket in self._buckets for key in bucket))
        return iter(self._order)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def having(self, key: str, value: V) -> Table[V]:
        """This one with an entry added or replaced."""
        return self._with(key, {**self._bucket(key), key: value})

    def without(self, key: str) -> Table[V]:
        """This one less an entry, if it is there."""
        bucket = dict(self._bucket(key))
        if key not in bucket:
            return self
        del bucket[key]
        return self._with(key, bucket)

    def _bucket(self, key: str) -> dict[str, V]:
        return self._buckets[hash(key) & (len(self._buckets) - 1)]

    def _with(self, key: str, bucket: dict[str, V]) -> Table[V]:
        count = len(self._buckets)
        at = hash(key) & (count - 1)
        size = self._size + len(bucket) - len(self._buckets[at])
        buckets = (*self._buckets[:at], bucket, *self._buckets[at + 1 :])
        if size > 2 * _FILL * count:
            return Table.of({key: value for each in buckets for key, value in each.items()})
        same_keys = size == self._size and key in self._buckets[at]
        return Table(buckets, size, self._order if same_keys else None)


NOTHING: Table[Any] = Table.of({})


class Draft(Generic[V]):
    """Changes to a table that are made together."""

    def __init__(self, table: Table[V]) -> None:
        self._table = table
        self._changed: dict[str, V | None] = {}

    def get(self, key: str) -> V | None:
        """An entry, None when there is none."""
        return self._changed[key] if key in self._changed else self._table.get(key)

    def put(self, key: str, value: V | None) -> None:
        """Add or replace an entry; None takes it out."""
        self._changed[key] = value

    def done(self) -> Table[V]:
        """The table with all changes."""
        table = self._table
        if len(self._changed) * _FILL > len(table):
            whole = {**{key: table[key] for key in table}, **self._changed}
            return Table.of({key: value for key, value in whole.items() if value is not None})
        for key, value in self._changed.items():
            table = table.without(key) if value is None else table.having(key, value)
        return table
