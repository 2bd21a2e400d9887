"""What calls cost at run time.

Source: cel-go interpreter/runtimecost.go, ext/lists.go, ext/sets.go; Kubernetes' apiserver
pkg/cel/library/cost.go. Texts count a tenth of their length, patterns a quarter.
"""

from __future__ import annotations

import math
from typing import Any

from podwire.api.cel.types import UNBOUNDED
from podwire.api.cel.values import Optional, size_of

TENTH = 0.1
QUARTER = 0.25
LIST_COST = 10
MAP_COST = 30
STRUCT_COST = 40
CHECK_COST = 350_000
"""One question to the authorizer: an expression can pay for two."""


def tenth(count: int) -> int:
    """A traversal of a text of ``count`` characters."""
    return math.ceil(count * TENTH)


def traversal(args: tuple[Any, ...], _: Any) -> int:
    """One look at the first argument."""
    return math.ceil(size_of(args[0]) * TENTH)


def traversal_of_second(args: tuple[Any, ...], _: Any) -> int:
    """One look at the second argument."""
    return math.ceil(size_of(args[1]) * TENTH)


def traversal_twice(args: tuple[Any, ...], _: Any) -> int:
    """One look at the first argument, and a result as long."""
    return math.ceil(size_of(args[0]) * 2 * TENTH)


def result_twice(_: tuple[Any, ...], result: Any) -> int:
    """A result that is put together."""
    return math.ceil(size_of(result) * 2 * TENTH)


def second(args: tuple[Any, ...], _: Any) -> int:
    """As many steps as the second argument has elements."""
    return size_of(args[1])


def shorter(args: tuple[Any, ...], _: Any) -> int:
    """A comparison: the shorter of the two decides."""
    return math.ceil(min(size_of(args[0]), size_of(args[1])) * TENTH)


def both(args: tuple[Any, ...], _: Any) -> int:
    """Two texts are copied."""
    return math.ceil((size_of(args[0]) + size_of(args[1])) * TENTH)


def pattern(args: tuple[Any, ...], _: Any) -> int:
    """A text, once for every part of a pattern."""
    text = math.ceil((1.0 + size_of(args[0])) * TENTH)
    return text * math.ceil(size_of(args[1]) * QUARTER)


def product(args: tuple[Any, ...], _: Any) -> int:
    """A text is looked for in another."""
    return math.ceil(size_of(args[0]) * TENTH) * math.ceil(size_of(args[1]) * TENTH)


def deep(args: tuple[Any, ...], _: Any) -> int:
    """Everything below a value."""
    return walk(args[0])


def walk(value: Any) -> int:
    """The parts of a value, texts by a tenth of their bytes (rounded down, as upstream)."""
    if isinstance(value, str):
        return int(len(value.encode()) * TENTH)
    if isinstance(value, bytes):
        return int(len(value) * TENTH)
    if isinstance(value, list):
        return sum(map(walk, value))
    if isinstance(value, dict):
        return sum(walk(key) + walk(inner) for key, inner in value.items())
    return 1


def selector(args: tuple[Any, ...], _: Any) -> int:
    """A selector is parsed into requirements, each of a list and a structure."""
    length = size_of(args[1])
    needs = math.ceil(math.ceil(length * 0.5) * float(LIST_COST + STRUCT_COST))
    return LIST_COST + tenth(length) + needs


def allocated(factor: float, count: int) -> int:
    """A call that makes a list of ``count`` elements."""
    return min(int(count * factor), UNBOUNDED) + 1 + LIST_COST


def made(_: tuple[Any, ...], result: Any) -> int:
    """A new list as long as the result."""
    return allocated(1, size_of(result))


def flattened(args: tuple[Any, ...], _: Any) -> int:
    """A list whose lists are opened, each level once."""
    return allocated(float(args[1]) if len(args) == 2 else 1, size_of(args[0]))


def compared(args: tuple[Any, ...], _: Any) -> int:
    """Every element of the last argument is held against every other."""
    items = args[-1]
    factor = 2.0 + (TENTH if items and isinstance(items[0], str | bytes) else 0)
    return allocated(factor, len(items) ** 2)


def sets(args: tuple[Any, ...], _: Any) -> int:
    """Every element of one list is held against every one of the other."""
    return size_of(args[0]) * size_of(args[1]) + 1


def sets_both(args: tuple[Any, ...], _: Any) -> int:
    """``sets``, there and back."""
    return size_of(args[0]) * size_of(args[1]) * 2 + 1


_PLAIN = (str, bytes, list, dict, int, float, Optional, type(None))


def is_plain(value: Any) -> bool:
    """Whether a value's equality costs what its size says: not those of Kubernetes' own types."""
    return isinstance(value, _PLAIN)
