"""Operators: arithmetic with overflow, order, membership, index. Equality and logic are the
evaluator's own; they stand here for their types.

Source: cel-go common/stdlib/standard.go, common/types (int.go, uint.go, double.go, overflow.go).
"""

from __future__ import annotations

import math
import operator
from typing import Any

from podwire.api.cel.functions import costs
from podwire.api.cel.functions.registry import function
from podwire.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    list_of,
    map_of,
    optional_of,
    param,
)
from podwire.api.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    NONE,
    CelError,
    Duration,
    Optional,
    Uint,
    contains,
    no_overload,
    type_name,
)

A, B = param("A"), param("B")
LIST_A, MAP_AB = list_of(A), map_of(A, B)


def whole(number: int) -> int:
    """A result as an int of 64 bits. Raises CelError."""
    if MIN_INT <= number <= MAX_INT:
        return number
    raise CelError("integer overflow")


def natural(number: int) -> Uint:
    """A result as an unsigned int of 64 bits. Raises CelError."""
    if 0 <= number <= MAX_UINT:
        return Uint(number)
    raise CelError("unsigned integer overflow")


def span(number: int) -> Duration:
    """A result as nanoseconds. Raises CelError."""
    if MIN_INT <= number <= MAX_INT:
        return Duration(number)
    raise CelError("integer overflow")


def _unreachable(*_: Any) -> Any:
    raise no_overload()


def _divided(one: int, other: int) -> int:
    if other == 0:
        raise CelError("division by zero")
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def _remainder(one: int, other: int) -> int:
    if other == 0:
        raise CelError("modulus by zero")
    rest = abs(one) % abs(other)
    return -rest if one < 0 else rest


def _quotient(one: float, other: float) -> float:
    if other:
        return one / other
    if one == 0 or math.isnan(one):
        return math.nan
    return math.copysign(math.inf, one) * math.copysign(1.0, other)


def _index_list(items: list[Any], index: Any) -> Any:
    if type(index) is float and not index.is_integer():
        raise CelError(f"unsupported index value {index} in list")
    if isinstance(index, bool) or not isinstance(index, int | float):
        raise CelError(f"unsupported index type '{type_name(index)}' in list")
    if 0 <= index < len(items):
        return items[int(index)]
    raise CelError(f"index out of bounds: {int(index)}")


def _index_map(entries: dict[Any, Any], key: Any) -> Any:
    try:
        return entries[key]
    except (KeyError, TypeError):
        raise CelError(f"no such key: {key}") from None


def _in_map(key: Any, entries: dict[Any, Any]) -> bool:
    return find_key(entries, key)[0]


def find_key(entries: dict[Any, Any], key: Any) -> tuple[bool, Any]:
    """Whether a map has a key, and its value. A bool is no number here."""
    try:
        value = entries.get(key, _MISSING)
    except TypeError:
        return False, None
    return value is not _MISSING, value


_MISSING = object()


def _declare_logic() -> None:
    function("_?_:_", "conditional", (BOOL, A, A), A, _unreachable, 0)
    function("_&&_", "logical_and", (BOOL, BOOL), BOOL, _unreachable, 0)
    function("_||_", "logical_or", (BOOL, BOOL), BOOL, _unreachable, 0)
    function("!_", "logical_not", (BOOL,), BOOL, lambda one: not one)
    function("@not_strictly_false", "not_strictly_false", (BOOL,), BOOL, _unreachable)
    function("_==_", "equals", (A, A), BOOL, _unreachable, costs.shorter)
    function("_!=_", "not_equals", (A, A), BOOL, _unreachable, costs.shorter)


def _declare_add() -> None:
    name = "_+_"
    function(name, "add_bytes", (BYTES, BYTES), BYTES, lambda x, y: x + y, costs.both)
    function(name, "add_double", (DOUBLE, DOUBLE), DOUBLE, lambda x, y: x + y)
    function(
        name, "add_duration_duration", (DURATION, DURATION), DURATION, lambda x, y: span(x + y)
    )
    function(
        name, "add_duration_timestamp", (DURATION, TIMESTAMP), TIMESTAMP, lambda x, y: y.moved(x)
    )
    function(
        name, "add_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, lambda x, y: x.moved(y)
    )
    function(name, "add_int64", (INT, INT), INT, lambda x, y: whole(x + y))
    function(name, "add_list", (LIST_A, LIST_A), LIST_A, lambda x, y: x + y)
    function(name, "add_string", (STRING, STRING), STRING, lambda x, y: x + y, costs.both)
    function(name, "add_uint64", (UINT, UINT), UINT, lambda x, y: natural(int(x) + int(y)))


def _declare_arithmetic() -> None:
    def three(name: str, word: str, work: Any, double: Any) -> None:
        if double is not None:
            function(name, f"{word}_double", (DOUBLE, DOUBLE), DOUBLE, double)
        function(name, f"{word}_int64", (INT, INT), INT, lambda x, y: whole(work(x, y)))
        function(
            name, f"{word}_uint64", (UINT, UINT), UINT, lambda x, y: natural(work(int(x), int(y)))
        )

    three("_/_", "divide", _divided, _quotient)
    three("_%_", "modulo", _remainder, None)
    three("_*_", "multiply", lambda x, y: x * y, lambda x, y: x * y)
    name = "_-_"
    function(name, "subtract_double", (DOUBLE, DOUBLE), DOUBLE, lambda x, y: x - y)
    function(
        name, "subtract_duration_duration", (DURATION, DURATION), DURATION,
        lambda x, y: span(int(x) - int(y)),
    )  # fmt: skip
    function(name, "subtract_int64", (INT, INT), INT, lambda x, y: whole(x - y))
    function(
        name, "subtract_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP,
        lambda x, y: x.moved(-y),
    )  # fmt: skip
    function(
        name, "subtract_timestamp_timestamp", (TIMESTAMP, TIMESTAMP), DURATION,
        lambda x, y: span(x.ns - y.ns),
    )  # fmt: skip
    function(name, "subtract_uint64", (UINT, UINT), UINT, lambda x, y: natural(int(x) - int(y)))
    function("-_", "negate_double", (DOUBLE,), DOUBLE, lambda x: -x)
    function("-_", "negate_int64", (INT,), INT, lambda x: whole(-x))


def _declare_order() -> None:
    words = (
        ("_<_", "less", operator.lt),
        ("_<=_", "less_equals", operator.le),
        ("_>_", "greater", operator.gt),
        ("_>=_", "greater_equals", operator.ge),
    )
    kinds = (
        ("bool", BOOL, BOOL), ("int64", INT, INT), ("int64_double", INT, DOUBLE),
        ("int64_uint64", INT, UINT), ("uint64", UINT, UINT), ("uint64_double", UINT, DOUBLE),
        ("uint64_int64", UINT, INT), ("double", DOUBLE, DOUBLE), ("double_int64", DOUBLE, INT),
        ("double_uint64", DOUBLE, UINT), ("string", STRING, STRING), ("bytes", BYTES, BYTES),
        ("timestamp", TIMESTAMP, TIMESTAMP), ("duration", DURATION, DURATION),
    )  # fmt: skip
    for name, word, work in words:
        for kind, one, other in kinds:
            sized = kind in {"string", "bytes"}
            charge = costs.shorter if sized else 1
            function(name, f"{word}_{kind}", (one, other), BOOL, work, charge)


def _declare_access() -> None:
    name = "_[_]"
    function(name, "index_list", (LIST_A, INT), A, _index_list)
    function(name, "index_map", (MAP_AB, A), B, _index_map)
    v, k = param("V"), param("K")
    optional_v, list_v, map_kv = optional_of(v), list_of(v), map_of(k, v)
    function(name, "optional_list_index_int", (optional_of(list_v), INT), optional_v, _inner)
    function(name, "optional_map_index_value", (optional_of(map_kv), k), optional_v, _inner)
    name = "_[?_]"
    function(name, "list_optindex_optional_int", (list_v, INT), optional_v, _maybe)
    function(
        name, "optional_list_optindex_optional_int", (optional_of(list_v), INT), optional_v, _inner
    )
    function(name, "map_optindex_optional_value", (map_kv, k), optional_v, _maybe)
    function(
        name, "optional_map_optindex_optional_value", (optional_of(map_kv), k), optional_v, _inner
    )
    function("@in", "in_list", (A, LIST_A), BOOL, lambda x, y: contains(y, x), costs.second)
    function("@in", "in_map", (A, MAP_AB), BOOL, _in_map)


def index(value: Any, place: Any) -> Any:
    """``value[place]``, whatever the value is. Raises CelError."""
    if isinstance(value, list):
        return _index_list(value, place)
    if isinstance(value, dict):
        found, inner = find_key(value, place)
        if found:
            return inner
    if isinstance(value, Optional):
        return _inner(value, place)
    shown = str(place).lower() if isinstance(place, bool) else place
    raise CelError(f"no such key: {shown}")


def _maybe(value: Any, place: Any) -> Any:
    try:
        return Optional(index(value, place))
    except CelError:
        return NONE


def _inner(value: Any, place: Any) -> Any:
    return NONE if value is NONE else _maybe(value.value, place)


_declare_logic()
_declare_add()
_declare_arithmetic()
_declare_order()
_declare_access()
