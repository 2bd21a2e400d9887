"""Checked trees to closures that compute, and count what they cost.

A closure takes a frame: what was spent so far, the limit, then variables, each in its place. Costs
that are certain are added up while compiling and charged at once where evaluation cannot be skipped
(an operand of ``&&``, a branch, a round of a macro). So an expression that fails is charged for
what it did not reach any more, where upstream charges step by step.

Source of the costs: cel-go interpreter/runtimecost.go and planner.go, with the options of
Kubernetes' apiserver pkg/cel/environment/base.go (has() is free, constants are folded).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api.cel import calls, folds
from podwire.api.cel.coercion import coercion
from podwire.api.cel.declarations import field_of
from podwire.api.cel.functions import costs
from podwire.api.cel.functions.operators import find_key, index
from podwire.api.cel.syntax import (
    Call,
    Fold,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    Select,
    Struct,
    is_attribute,
)
from podwire.api.cel.types import Type
from podwire.api.cel.values import (
    NONE,
    CelError,
    CostError,
    EvalError,
    Optional,
    Structure,
    TypeValue,
    no_overload,
)

Frame = list[Any]
Run = Callable[[Frame], Any]
Made = tuple[Run, int]
"""A closure, and what it certainly costs beside what it charges itself."""

SPENT, LIMIT, FIRST = 0, 1, 2
_UNFIT = (
    TypeError, AttributeError, ValueError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip
_NAMES = {
    "null": "null_type",
    "duration": "google.protobuf.Duration",
    "timestamp": "google.protobuf.Timestamp",
}


class Program:
    """A compiled expression."""

    __slots__ = ("_run", "_size", "_static", "type")

    def __init__(self, run: Run, static: int, size: int, type: Type) -> None:
        self._run = run
        self._static = static
        self._size = size
        self.type = type

    def evaluate(self, values: list[Any], limit: int) -> tuple[Any, int]:
        """The value and what it cost. Raises CelError, CostError (both with their cost)."""
        frame = [self._static, limit, *values, *[None] * self._size]
        try:
            value = self._run(frame)
        except EvalError as wrong:
            wrong.cost = frame[SPENT]
            if frame[SPENT] > limit and isinstance(wrong, CelError):
                raise _too_much(frame) from None
            raise
        except _UNFIT:
            # a value that is not of the type that its schema says
            unfit = no_overload()
            unfit.cost = frame[SPENT]
            raise unfit from None
        if frame[SPENT] > limit:
            raise _too_much(frame)
        return value, frame[SPENT]


def _too_much(frame: Frame) -> CostError:
    wrong = CostError()
    wrong.cost = frame[SPENT]
    return wrong


def compile_tree(tree: Node, names: tuple[str, ...]) -> Program:
    """The program of a checked tree; ``names`` are the variables in the order of their values.

    Raises CelError where a constant cannot be converted.
    """
    compiler = Compiler(names)
    run, static = compiler.compile(tree)
    return Program(run, static, compiler.locals, tree.type)


def fixed_at(value: Any) -> Run:
    """A closure that gives one value."""
    return lambda _: value


class Compiler:
    """Compiles one tree."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.globals = {name: FIRST + place for place, name in enumerate(names)}
        self.scopes: list[dict[str, int]] = [self.globals]
        self.locals = 0
        self._done: dict[int, tuple[Node, Made]] = {}

    def slot(self) -> int:
        """A place in the frame for a variable of a macro."""
        self.locals += 1
        return FIRST + len(self.globals) + self.locals - 1

    def compile(self, node: Node) -> Made:
        """What computes a node's value."""
        known = self._done.get(id(node))
        if known is not None:
            return known[1]
        run, static = self.raw(node)
        if is_attribute(node) and (coerce := coercion(node.type)) is not None:
            plain = run
            run = lambda frame: coerce(plain(frame))  # noqa: E731 - one of the closures
        self._done[id(node)] = node, (run, static)
        return run, static

    def raw(self, node: Node) -> Made:
        """``compile`` without conversion from JSON: for what is only looked into."""
        match node:
            case Literal():
                return fixed_at(node.value), 0
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Struct():
                return self._struct(node)
            case Fold():
                return folds.compile(self, node)
        assert isinstance(node, Call)
        return self._call(node)

    def constant(self, node: Node) -> tuple[bool, Any]:
        """Whether upstream folds a node into a constant, and its value. Raises CelError."""
        if isinstance(node, Literal):
            return True, node.value
        if isinstance(node, Ident | Select) and node.constant is not None:
            return True, _type_value(node.constant)
        if isinstance(node, ListOf) and not node.optional:
            found = [self.constant(item) for item in node.items]
            return all(fixed for fixed, _ in found), [value for _, value in found]
        if isinstance(node, MapOf) and not node.optional:
            pairs = [(self.constant(key), self.constant(value)) for key, value in node.entries]
            if all(key[0] and value[0] for key, value in pairs):
                return True, {key[1]: value[1] for key, value in pairs}
        if isinstance(node, Call) and node.function in calls.CONVERSIONS and len(node.args) == 1:
            fixed, value = self.constant(node.args[0])
            if fixed:
                return True, calls.dispatch(node, [value])
        return False, None

    def charged(self, made: Made) -> Run:
        """A closure that charges for itself: for what may be skipped."""
        run, static = made
        if not static:
            return run

        def work(frame: Frame) -> Any:
            frame[SPENT] += static
            return run(frame)

        return work

    def _ident(self, node: Ident) -> Made:
        if node.constant is not None:
            return fixed_at(_type_value(node.constant)), 0
        place = self._place(node.name)
        return (lambda frame: frame[place]), 1

    def _place(self, name: str) -> int:
        if name.startswith("."):
            return self.globals[name[1:]]
        for scope in reversed(self.scopes):
            if (place := scope.get(name)) is not None:
                return place
        raise no_overload()

    def path(self, operand: Node) -> Made:
        """An operand that a step joins: what is no path yet costs one to become one."""
        fixed, value = self.constant(operand)
        run, static = (fixed_at(value), 0) if fixed else self.raw(operand)
        return run, static + (not is_attribute(operand))

    def _select(self, node: Select) -> Made:
        if node.constant is not None:
            return fixed_at(_type_value(node.constant)), 0
        if node.variable:
            place = self.globals[node.variable]
            return (lambda frame: frame[place]), 1
        run, static = self.path(node.operand)
        source = node.operand.type
        key = _field_name(source, node.field) or node.field
        if source.kind == "struct":
            if node.test:
                return _test_field(run, key), static
            return _field(run, key, node.field), static + 1
        return (_test(run, key), static) if node.test else (_part(run, key), static + 1)

    def _list(self, node: ListOf) -> Made:
        fixed, value = self.constant(node)
        if fixed:
            return fixed_at(value), 0
        made = [self.compile(item) for item in node.items]
        static = costs.LIST_COST + sum(cost for _, cost in made)
        runs = [run for run, _ in made]
        if not node.optional:
            return (lambda frame: [run(frame) for run in runs]), static
        optional = node.optional

        def work(frame: Frame) -> list[Any]:
            items: list[Any] = []
            for place, run in enumerate(runs):
                item = run(frame)
                if place in optional:
                    if not isinstance(item, Optional):
                        raise no_overload()
                    if item is not NONE:
                        items.append(item.value)
                else:
                    items.append(item)
            return items

        return work, static

    def _map(self, node: MapOf) -> Made:
        fixed, value = self.constant(node)
        if fixed:
            return fixed_at(value), 0
        made = [(self.compile(key), self.compile(one)) for key, one in node.entries]
        static = costs.MAP_COST + sum(key[1] + one[1] for key, one in made)
        runs = [(key[0], one[0]) for key, one in made]
        optional = node.optional

        def work(frame: Frame) -> dict[Any, Any]:
            entries: dict[Any, Any] = {}
            for place, (key, one) in enumerate(runs):
                name, item = key(frame), one(frame)
                if isinstance(name, list | dict):
                    raise CelError("unsupported key type")
                if place in optional:
                    if item is not NONE:
                        entries[name] = item.value
                else:
                    entries[name] = item
            return entries

        return work, static

    def _struct(self, node: Struct) -> Made:
        made = [(name, self.compile(value)) for _, name, value in node.entries]
        static = costs.STRUCT_COST + sum(one[1] for _, one in made)
        runs = [(name, one[0]) for name, one in made]
        optional = node.optional

        def work(frame: Frame) -> dict[str, Any]:
            entries: dict[str, Any] = {}
            for place, (name, run) in enumerate(runs):
                item = run(frame)
                if place in optional:
                    if item is not NONE:
                        entries[name] = item.value
                else:
                    entries[name] = item
            return Structure(entries, node.type.name)

        return work, static

    def _call(self, node: Call) -> Made:
        fixed, value = self.constant(node)
        if fixed:
            return fixed_at(value), 0
        special = calls.SPECIAL.get(node.function)
        if special is not None and (made := special(self, node)) is not None:
            return made
        return calls.general(self, node)

    def index(self, node: Call, *, optional: bool) -> Made:
        """``operand[place]``, ``operand[?place]`` and ``operand.?field``."""
        operand, place = node.args
        run, static = self.path(operand)
        fixed, value = self.constant(place)
        if fixed:
            key = fixed_at(_field_name(operand.type, value) or value)
        else:
            key, cost = self.compile(place)
            static += cost - is_attribute(place)
        if not optional:
            return (lambda frame: index(run(frame), key(frame))), static + 1

        def work(frame: Frame) -> Any:
            found = _maybe(run(frame), key(frame))
            if found is not NONE:
                frame[SPENT] += 1
            return found

        return work, static


def _type_value(one: Type) -> TypeValue:
    """The value that the name of a type stands for."""
    described = one.params[0] if one.kind == "type" else one
    return TypeValue(_NAMES.get(described.kind, described.name))


def _field_name(source: Type, name: Any) -> str | None:
    """The JSON name of a declared field, within an optional too."""
    inner = source.params[0] if source.name == "optional_type" and source.params else source
    field = field_of(inner, name) if isinstance(name, str) else None
    return None if field is None else field.json


def _field(run: Run, key: str, name: str) -> Run:
    """A declared field; null is as good as absent there."""

    def work(frame: Frame) -> Any:
        value = run(frame)
        try:
            found = value[key]
        except (KeyError, TypeError):
            found = None
        if found is None:
            return _pick(value, key, name) if isinstance(value, Optional) else _absent(name)
        return found

    return work


def _absent(name: str) -> Any:
    raise CelError(f"no such key: {name}")


def _test_field(run: Run, key: str) -> Run:
    def work(frame: Frame) -> bool:
        value = run(frame)
        return isinstance(value, dict) and value.get(key) is not None

    return work


def _part(run: Run, key: str) -> Run:
    def work(frame: Frame) -> Any:
        value = run(frame)
        try:
            return value[key]
        except (KeyError, TypeError):
            return _pick(value, key, key)

    return work


def _pick(value: Any, key: str, name: str) -> Any:
    if isinstance(value, dict):
        found, inner = find_key(value, key)
        if found:
            return inner
    elif isinstance(value, Optional):
        return _maybe(value, key)
    return _absent(name)


def _maybe(value: Any, key: Any) -> Any:
    """A part as an optional: none where there is no such part."""
    if isinstance(value, Optional):
        if value is NONE:
            return NONE
        value = value.value
    try:
        return Optional(index(value, key))
    except CelError:
        return NONE


def _test(run: Run, key: str) -> Run:
    def work(frame: Frame) -> bool:
        value = run(frame)
        if isinstance(value, dict):
            return key in value
        if isinstance(value, Optional):
            return _maybe(value, key) is not NONE
        return False

    return work
