"""The tree of an expression, and the errors that point into its text.

Positions are offsets into the text. Source of the errors' form: cel-go common/error.go, errors.go.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from podwire.api.cel.types import DYN, Type

MAX_ERRORS = 100
_RECURSION = 12_000
"""Python frames that walking the deepest permitted expression needs."""

_MAX_SNIPPET = 16384


class Node:
    """One node. The checker sets ``type``, and ``overloads`` of calls."""

    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: Type = DYN


class Literal(Node):
    """A constant."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: Any, type: Type) -> None:
        super().__init__(at)
        self.value = value
        self.type = type


class Ident(Node):
    """A variable or the name of a type. ``constant`` is the type that it names."""

    __slots__ = ("constant", "name")

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name
        self.constant: Any = None


class Select(Node):
    """``operand.field``; ``test`` for ``has(operand.field)``, ``constant`` as of an Ident.

    ``variable`` is the whole as a name, where a variable is declared under it.
    """

    __slots__ = ("constant", "field", "operand", "test", "variable")

    def __init__(self, at: int, operand: Node, field: str, *, test: bool = False) -> None:
        super().__init__(at)
        self.operand = operand
        self.field = field
        self.test = test
        self.constant: Any = None
        self.variable = ""


class Call(Node):
    """A call of a function or an operator; ``target`` is what a method is called on."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(
        self, at: int, function: str, args: list[Node], target: Node | None = None
    ) -> None:
        super().__init__(at)
        self.function = function
        self.args = args
        self.target = target
        self.overloads: list[Any] = []


class ListOf(Node):
    """``[a, ?b]``; ``optional`` has the places of optional elements."""

    __slots__ = ("items", "optional")

    def __init__(self, at: int, items: list[Node], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(at)
        self.items = items
        self.optional = optional


class MapOf(Node):
    """``{k: v, ?k: v}``."""

    __slots__ = ("entries", "optional")

    def __init__(
        self, at: int, entries: list[tuple[Node, Node]], optional: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(at)
        self.entries = entries
        self.optional = optional


class Struct(Node):
    """``Name{field: value, ?field: value}``; entries are (place, field, value)."""

    __slots__ = ("entries", "name", "optional")

    def __init__(
        self,
        at: int,
        name: str,
        entries: list[tuple[int, str, Node]],
        optional: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(at)
        self.name = name
        self.entries = entries
        self.optional = optional


class Fold(Node):
    """What macros become: ``init`` folded over ``range`` while ``condition`` holds.

    ``shape`` names the macro, whose ``parts`` the evaluator takes instead of the general form.
    """

    __slots__ = (
        "accu", "condition", "init", "parts", "range", "result", "shape", "step", "var", "var2",
    )  # fmt: skip

    def __init__(self, at: int, range: Node, var: str, var2: str, accu: str) -> None:
        super().__init__(at)
        self.range = range
        self.var = var
        self.var2 = var2
        self.accu = accu
        self.init: Node
        self.condition: Node
        self.step: Node
        self.result: Node
        self.shape = ""
        self.parts: list[Node] = []


def is_attribute(node: Node) -> bool:
    """Whether upstream plans a node as a path that further steps join."""
    if isinstance(node, Ident | Select):
        return node.constant is None and not (isinstance(node, Select) and node.test)
    return isinstance(node, Call) and node.function in {"_[_]", "_[?_]", "_?._", "_?_:_"}


class Problems:
    """Collects errors of one text, each with the place that it points to."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: list[tuple[int, str]] = []
        self._starts: list[int] | None = None

    def add(self, at: int, message: str) -> None:
        """Note an error at an offset (-1: nowhere)."""
        self._found.append((at, message))

    def __bool__(self) -> bool:
        return bool(self._found)

    def show(self) -> str:
        """All of them in order of place, each with its line and a caret."""
        kept = sorted(self._found[:MAX_ERRORS], key=lambda one: one[0])
        lines = [self._show(at, message) for at, message in kept]
        if len(self._found) > MAX_ERRORS:
            lines.append(f"{len(self._found) - MAX_ERRORS} more errors were truncated")
        return "\n".join(lines)

    def _show(self, at: int, message: str) -> str:
        if at < 0:
            return f"ERROR: <input>:-1:0: {message}"
        if self._starts is None:
            self._starts = [0]
            self._starts += [place + 1 for place, sign in enumerate(self.text) if sign == "\n"]
        line = bisect.bisect_right(self._starts, at) - 1
        column = at - self._starts[line]
        shown = f"ERROR: <input>:{line + 1}:{column + 1}: {message}"
        snippet = self.text[self._starts[line] :].split("\n", 1)[0].replace("\t", " ")
        if len(snippet.encode()) > _MAX_SNIPPET:
            return shown
        dots = "".join("\uff0e" if ord(sign) > 127 else "." for sign in snippet[:column])
        wide = column < len(snippet) and ord(snippet[column]) > 127
        caret = "\uff3e" if wide else "^"
        return f"{shown}\n | {snippet}\n | {dots}{caret}"


@contextmanager
def room() -> Iterator[None]:
    """Room for trees of the permitted depth: they are walked by functions that call themselves."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
