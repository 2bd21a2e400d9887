"""Calls: operators that look at one side only or are compiled by hand for speed, and all others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.api.cel import syntax
from podwire.api.cel.functions.costs import QUARTER, TENTH, is_plain, shorter
from podwire.api.cel.functions.registry import Charge, Overload
from podwire.api.cel.functions.text import pattern
from podwire.api.cel.syntax import Call, Literal, Node
from podwire.api.cel.types import Type
from podwire.api.cel.values import (
    NONE,
    CelError,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    Uint,
    equal,
    no_overload,
    type_name,
)

if TYPE_CHECKING:
    from podwire.api.cel.evaluator import Compiler, Frame, Made

SPENT = 0
CONVERSIONS = frozenset(
    ("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint")
)
"""Functions whose calls with a constant are constants."""

_PLAIN = frozenset(("bool", "int", "uint", "double", "duration", "timestamp", "type"))
"""Kinds of values whose size is 1."""

_EXACT: dict[str, type] = {
    "bool": bool, "int": int, "uint": Uint, "double": float, "string": str, "bytes": bytes,
    "null": type(None), "duration": Duration, "timestamp": Timestamp, "type": TypeValue,
}  # fmt: skip


_RECEIVERS = frozenset(("contains", "endsWith", "matches", "size", "startsWith"))
"""Methods of whose arguments upstream's error does not tell."""

_ORDER = frozenset(("_<_", "_<=_", "_>_", "_>=_"))


def _is(value: Any, wanted: Type) -> bool:
    """Whether a value may be passed where a type is wanted."""
    kind = wanted.kind
    if kind in _EXACT:
        return type(value) is _EXACT[kind]
    if kind == "list":
        return isinstance(value, list)
    if kind in {"map", "struct"}:
        return isinstance(value, dict)
    if kind == "opaque":
        return type_name(value) == wanted.name
    return True


def _chosen(node: Call, values: list[Any]) -> Overload:
    for overload in node.overloads:
        if all(map(_is, values, overload.args)):
            found: Overload = overload
            return found
    name = node.function
    if not name.startswith(("_", "@", "!", "-", "get")) and name not in _RECEIVERS:
        shown = ", ".join(map(type_name, values))
        raise CelError(f"no such overload: {name}({shown})")
    if name in _ORDER and isinstance(values[0], list | dict | Optional | None):
        raise CelError(f"no such overload: {name}")
    raise no_overload()


def dispatch(node: Call, values: list[Any]) -> Any:
    """The result of a call for values of whatever types. Raises CelError."""
    return _chosen(node, values).work(*values)


def _certain(args: list[Node], overload: Overload) -> bool:
    """Whether arguments are of the wanted types without a look at their values."""
    return all(_sure(arg.type, wanted) for arg, wanted in zip(args, overload.args, strict=True))


def _sure(found: Type, wanted: Type) -> bool:
    if wanted.kind in {"param", "dyn"}:
        return True
    if found.kind != wanted.kind or len(found.params) != len(wanted.params):
        return False
    return all(map(_sure, found.params, wanted.params))


def general(compiler: Compiler, node: Call) -> Made:
    """Any call: its arguments, then the overload that takes them."""
    args = [node.target, *node.args] if node.target is not None else node.args
    nodes = [arg for arg in args if arg is not None]
    made = [compiler.compile(arg) for arg in nodes]
    static = sum(cost for _, cost in made)
    runs = [run for run, _ in made]
    if len(node.overloads) == 1:
        overload = node.overloads[0]
        charge = overload.charge
        if _certain(nodes, overload):
            if isinstance(charge, int):
                pairs = zip(runs, nodes, strict=True)
                fixed = {run: node.value for run, node in pairs if isinstance(node, Literal)}
                return _direct(overload.work, runs, fixed), static + charge
            return _charging(overload.work, runs, charge), static
    operator = node.function.startswith(("_", "@", "!", "-"))
    several = len(node.overloads) > 1

    def work(frame: Frame) -> Any:
        values = [run(frame) for run in runs]
        charge: int | Charge = 1
        result = None
        try:
            overload = _chosen(node, values)
            charge = 1 if several and operator else overload.charge
            result = overload.work(*values)
        except (TypeError, AttributeError, ValueError, LookupError):
            # the elements of a dynamic list are of other types than the first overload takes
            raise no_overload() from None
        finally:
            frame[SPENT] += charge if isinstance(charge, int) else charge(tuple(values), result)
        return result

    return work, static


def _direct(work: Callable[..., Any], runs: list[Any], fixed: dict[Any, Any]) -> Any:
    match runs:
        case []:
            return lambda _: work()
        case [one]:
            return lambda frame: work(one(frame))
        case [one, other] if other in fixed:
            value = fixed[other]
            return lambda frame: work(one(frame), value)
        case [one, other]:
            return lambda frame: work(one(frame), other(frame))
    return lambda frame: work(*[run(frame) for run in runs])


def _charging(work: Callable[..., Any], runs: list[Any], charge: Charge) -> Any:
    def run(frame: Frame) -> Any:
        values = tuple([one(frame) for one in runs])
        try:
            result = work(*values)
        except CelError:
            frame[SPENT] += charge(values, None)
            raise
        frame[SPENT] += charge(values, result)
        return result

    return run


def _logic(compiler: Compiler, node: Call) -> Made:
    """``&&`` and ``||``: a side that decides makes the other's error not matter."""
    decides = node.function == "_||_"
    left, static = compiler.compile(node.args[0])
    right = compiler.charged(compiler.compile(node.args[1]))

    def work(frame: Frame) -> Any:
        try:
            value = left(frame)
        except CelError:
            try:
                if right(frame) is decides:
                    return decides
            except CelError:
                pass  # of two errors the first is told
            raise
        if value is decides:
            return decides
        if value is (not decides):
            value = right(frame)
            if isinstance(value, bool):
                return value
            raise no_overload()
        if right(frame) is decides:
            return decides
        raise no_overload()

    return work, static


def _conditional(compiler: Compiler, node: Call) -> Made:
    test, static = compiler.compile(node.args[0])
    branches = []
    for branch in node.args[1:]:
        run, cost = compiler.compile(branch)
        # a path that is a branch is not charged for its root
        path = syntax.is_attribute(branch) and not _is_conditional(branch)
        branches.append(compiler.charged((run, cost - path)))
    yes, no = branches

    def work(frame: Frame) -> Any:
        value = test(frame)
        if value is True:
            return yes(frame)
        if value is False:
            return no(frame)
        raise no_overload()

    return work, static


def _is_conditional(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "_?_:_"


def _not(compiler: Compiler, node: Call) -> Made:
    run, static = compiler.compile(node.args[0])

    def work(frame: Frame) -> bool:
        value = run(frame)
        if value is True:
            return False
        if value is False:
            return True
        raise no_overload()

    return work, static + 1


def _equality(compiler: Compiler, node: Call) -> Made:
    one, other = node.args
    left, cost = compiler.compile(one)
    right, more = compiler.compile(other)
    static = cost + more
    same = node.function == "_==_"
    kinds = {one.type.kind, other.type.kind}
    if len(kinds) == 1 and kinds <= _PLAIN:
        if same:
            return (lambda frame: left(frame) == right(frame)), static + 1
        return (lambda frame: left(frame) != right(frame)), static + 1
    if kinds == {"string"}:
        for side, run in ((other, left), (one, right)):
            if isinstance(side, Literal) and len(side.value) <= 10:
                return _short(run, side.value, same=same), static
    if kinds & {"opaque"} and not kinds & {"dyn"} and "optional_type" not in one.type.name:
        return (lambda frame: equal(left(frame), right(frame)) is same), static + 1

    def work(frame: Frame) -> bool:
        values = left(frame), right(frame)
        frame[SPENT] += shorter(values, None) if is_plain(values[0]) else 1
        return equal(*values) is same

    return work, static


def _short(run: Any, text: str, *, same: bool) -> Any:
    """Equality with a short text: it costs one, or nothing when the other is empty."""
    charged = bool(text)

    def work(frame: Frame) -> bool:
        try:
            value = run(frame)
        except CelError:
            frame[SPENT] += charged
            raise
        if value and charged:
            frame[SPENT] += 1
        return (value == text) is same

    return work


def _in(compiler: Compiler, node: Call) -> Made | None:
    """``x in [...]`` of constants is a look into a set."""
    fixed, items = compiler.constant(node.args[1])
    if not fixed or not isinstance(items, list):
        return None
    if not all(isinstance(item, str | int | float) for item in items):
        return None
    run, static = compiler.compile(node.args[0])
    if not items:
        return (lambda _: False), 0
    if all(type(item) is str for item in items):
        texts = frozenset(items)

        def work(frame: Frame) -> bool:
            value = run(frame)
            return isinstance(value, str) and value in texts

        return work, static
    return (lambda frame: any(equal(item, run(frame)) for item in items)), static


def _size(compiler: Compiler, node: Call) -> Made | None:
    """A list or a map that is only counted is left as JSON."""
    counted = node.args[0] if node.target is None else node.target
    if counted.type.kind not in {"list", "map"} or not syntax.is_attribute(counted):
        return None
    run, static = compiler.raw(counted)
    return (lambda frame: len(run(frame))), static + 1


def _matches(compiler: Compiler, node: Call) -> Made | None:
    """``text.matches(pattern)`` with a pattern that is known."""
    args = [node.target, *node.args] if node.target is not None else node.args
    text, wanted = args
    if not isinstance(wanted, Literal) or text is None or text.type.kind != "string":
        return None
    search = pattern(wanted.value).search
    run, static = compiler.compile(text)
    each = math.ceil(len(wanted.value) * QUARTER)

    def work(frame: Frame) -> bool:
        value = run(frame)
        frame[SPENT] += math.ceil((1.0 + len(value)) * TENTH) * each
        return bool(search(value))

    return work, static


def _pattern(_: Compiler, node: Call) -> None:
    """A pattern that is known has to be one before the expression runs."""
    if isinstance(node.args[0], Literal) and isinstance(node.args[0].value, str):
        pattern(node.args[0].value)


def _or(compiler: Compiler, node: Call) -> Made:
    """``optional.or(other)``, ``optional.orValue(value)``."""
    assert node.target is not None
    run, static = compiler.compile(node.target)
    other = compiler.charged(compiler.compile(node.args[0]))
    whole = node.function == "or"

    def work(frame: Frame) -> Any:
        value = run(frame)
        if not isinstance(value, Optional):
            raise no_overload()
        if value is NONE:
            return other(frame)
        return value if whole else value.value

    return work, static


Special = Callable[["Compiler", Call], "Made | None"]
SPECIAL: dict[str, Special] = {
    "_&&_": _logic,
    "_||_": _logic,
    "_?_:_": _conditional,
    "!_": _not,
    "_==_": _equality,
    "_!=_": _equality,
    "_[_]": lambda compiler, node: compiler.index(node, optional=False),
    "_[?_]": lambda compiler, node: compiler.index(node, optional=True),
    "_?._": lambda compiler, node: compiler.index(node, optional=True),
    "@in": _in,
    "find": _pattern,
    "findAll": _pattern,
    "matches": _matches,
    "or": _or,
    "orValue": _or,
    "size": _size,
}
"""What is compiled by hand; None of it leaves a call to ``general``."""
