"""Lists: order, sums, places, sets, and the maps of two-variable macros.

Source: Kubernetes' apiserver pkg/cel/library/lists.go (version 0: ``includes`` comes once 1.37 is
every supported version's), cel-go ext/lists.go (version 3), ext/sets.go, ext/comprehensions.go.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from podwire.api.cel.functions import costs
from podwire.api.cel.functions.operators import A, natural, span, whole
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.macros import INSERT, SORT
from podwire.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    list_of,
    map_of,
    param,
)
from podwire.api.cel.values import (
    CelError,
    CostError,
    contains,
    equal,
    no_overload,
    type_name,
)

T = param("T")
LIST_T = list_of(T)
_MAX_MADE = 1_000_000
"""No list that a function makes may be longer: it would cost more than a rule may."""


def _ordered(items: list[Any]) -> list[Any]:
    """A list whose elements can be held against each other. Raises CelError."""
    kinds = dict.fromkeys(map(type_name, items))
    numbers = {"int", "uint", "double"}
    if len(kinds) > 1 and not numbers.issuperset(kinds):
        raise no_overload()
    return items


def _is_sorted(items: list[Any]) -> bool:
    _ordered(items)
    return all(one <= other for one, other in pairwise(items))


def _sum(kind: str) -> Any:
    def work(items: list[Any]) -> Any:
        total = sum(_ordered(items))
        match kind:
            case "int":
                return whole(total)
            case "uint":
                return natural(int(total))
            case "duration":
                return span(int(total))
            case _:
                return float(total)

    return work


def _extreme(name: str) -> Any:
    def work(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return max(_ordered(items)) if name == "max" else min(_ordered(items))

    return work


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((place for place, one in enumerate(items) if equal(one, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    places = range(len(items) - 1, -1, -1)
    return next((place for place in places if equal(items[place], wanted)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    call = f"cannot slice({start}, {end})"
    if start < 0 or end < 0:
        raise CelError(f"{call}, negative indexes not supported")
    if start > end:
        raise CelError(f"{call}, start index must be less than or equal to end index")
    if len(items) < end:
        raise CelError(f"{call}, list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    made = list(items)
    for _ in range(depth):
        if not any(isinstance(one, list) for one in made):
            break
        made = [inner for one in made for inner in (one if isinstance(one, list) else (one,))]
        if len(made) > _MAX_MADE:
            raise CostError
    return made


def _sorted(items: list[Any], keys: list[Any]) -> list[Any]:
    if len(items) != len(keys):
        raise CelError(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list,"
            f" but got {len(items)} and {len(keys)} elements respectively"
        )
    if len(keys) ** 2 > _MAX_MADE:
        raise CostError
    if len(dict.fromkeys(map(type_name, keys))) > 1:
        raise CelError("list elements must have the same type")
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


def _distinct(items: list[Any]) -> list[Any]:
    if len(items) ** 2 > _MAX_MADE:
        raise CostError
    made: list[Any] = []
    for one in items:
        if not contains(made, one):
            made.append(one)
    return made


def _range(count: int) -> list[int]:
    if count < 0:
        raise CelError(f"lists.range: size must be non-negative, got {count}")
    if count > _MAX_MADE:
        raise CostError
    return list(range(count))


def _contains_all(items: list[Any], wanted: list[Any]) -> bool:
    if len(items) * len(wanted) > _MAX_MADE:
        raise CostError
    return all(contains(items, one) for one in wanted)


def _insert(entries: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if key in entries:
        raise CelError(f"insert failed: key {key} already exists")
    return {**entries, key: value}


def _insert_all(entries: dict[Any, Any], more: dict[Any, Any]) -> dict[Any, Any]:
    for key in more:
        if key in entries:
            raise CelError(f"insert failed: key {key} already exists")
    return {**entries, **more}


_COMPARABLE = (
    ("int", INT), ("uint", UINT), ("double", DOUBLE), ("bool", BOOL), ("duration", DURATION),
    ("timestamp", TIMESTAMP), ("string", STRING), ("bytes", BYTES),
)  # fmt: skip
for _name, _kind in _COMPARABLE:
    _items = list_of(_kind)
    method("isSorted", f"list_{_name}_is_sorted_bool", (_items,), BOOL, _is_sorted, costs.deep)
    if _name in {"int", "uint", "double", "duration"}:
        method("sum", f"list_{_name}_sum_{_name}", (_items,), _kind, _sum(_name), costs.deep)
    method("max", f"list_{_name}_max_{_name}", (_items,), _kind, _extreme("max"), costs.deep)
    method("min", f"list_{_name}_min_{_name}", (_items,), _kind, _extreme("min"), costs.deep)
    method(
        "sort", f"list_{_name}_sort", (_items,), _items,
        lambda items: _sorted(items, items), costs.compared,
    )  # fmt: skip
    method(
        SORT, f"list_{_name}_sortByAssociatedKeys", (LIST_T, _items), LIST_T, _sorted,
        costs.compared,
    )  # fmt: skip
_LIST_A = list_of(A)
method("indexOf", "list_a_index_of_int", (_LIST_A, A), INT, _index_of, costs.deep)
method("lastIndexOf", "list_a_last_index_of_int", (_LIST_A, A), INT, _last_index_of, costs.deep)
method("slice", "list_slice", (LIST_T, INT, INT), LIST_T, _slice, costs.made)
_DYNS = list_of(DYN)
method("flatten", "list_flatten", (list_of(LIST_T),), LIST_T, _flatten, costs.flattened)
method("flatten", "list_flatten_int", (_DYNS, INT), _DYNS, _flatten, costs.flattened)
function("lists.range", "lists_range", (INT,), list_of(INT), _range, costs.made)
method("reverse", "list_reverse", (LIST_T,), LIST_T, lambda items: items[::-1], costs.made)
method("distinct", "list_distinct", (LIST_T,), LIST_T, _distinct, costs.compared)
function(
    "sets.contains", "list_sets_contains_list", (LIST_T, LIST_T), BOOL, _contains_all, costs.sets
)
function(
    "sets.equivalent", "list_sets_equivalent_list", (LIST_T, LIST_T), BOOL,
    lambda x, y: _contains_all(x, y) and _contains_all(y, x), costs.sets_both,
)  # fmt: skip
function(
    "sets.intersects", "list_sets_intersects_list", (LIST_T, LIST_T), BOOL,
    lambda x, y: any(contains(y, one) for one in x), costs.sets,
)  # fmt: skip
_K, _V = param("K"), param("V")
_MAP = map_of(_K, _V)
function(INSERT, "@mapInsert_map_key_value", (_MAP, _K, _V), _MAP, _insert)
function(INSERT, "@mapInsert_map_map", (_MAP, _MAP), _MAP, _insert_all)
