"""Macros as loops: ``all``, ``exists``, ``exists_one``, lists, maps, bindings.

What one round costs beside its parts is what upstream's comprehension costs: reading the
accumulator, the condition, adding to a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from podwire.api.cel.functions.costs import LIST_COST
from podwire.api.cel.syntax import Fold
from podwire.api.cel.values import CelError, CostError, no_overload

if TYPE_CHECKING:
    from podwire.api.cel.evaluator import Compiler, Frame, Made, Run

SPENT, LIMIT = 0, 1
_ITERABLE = (list, dict)
_GO_TYPES = {
    str: "types.String", int: "types.Int", float: "types.Double", bool: "types.Bool",
    bytes: "types.Bytes", type(None): "types.Null",
}  # fmt: skip


def compile(compiler: Compiler, node: Fold) -> Made:  # noqa: A001 - the room's word
    """What runs a macro."""
    if node.shape == "bind":
        return _bind(compiler, node)
    source, static = compiler.raw(node.range)
    fixed, value = compiler.constant(node.range)
    if fixed:
        source, static = (lambda _: value), 0
    first = compiler.slot()
    names = {node.var: first}
    second = 0
    if node.var2:
        second = names[node.var2] = compiler.slot()
    compiler.scopes.append(names)
    parts = [compiler.compile(part) for part in node.parts]
    compiler.scopes.pop()
    rounds = _pairs(source, first, second) if second else _singles(source, first)
    match node.shape:
        case "all" | "exists":
            return _quantifier(rounds, parts[0], wanted=node.shape == "exists"), static + 1
        case "exists_one":
            return _exists_one(rounds, parts[0]), static + 2
        case "list":
            return _collect(rounds, parts), static + 1
    return _entries(rounds, parts, first, whole=node.shape == "entries"), static + 1


def _over(value: Any) -> Iterable[Any]:
    if isinstance(value, _ITERABLE):
        return value
    shown = _GO_TYPES.get(type(value), type(value).__name__)
    raise CelError(f"got '{shown}', expected iterable type")


def _singles(source: Run, first: int) -> Run:
    def rounds(frame: Frame) -> Iterator[bool]:
        items = _over(source(frame))
        left = len(items)  # type: ignore[arg-type]
        for item in items:
            left -= 1
            frame[first] = item
            yield left > 0

    return rounds


def _pairs(source: Run, first: int, second: int) -> Run:
    def rounds(frame: Frame) -> Iterator[bool]:
        value = source(frame)
        if not isinstance(value, _ITERABLE):
            raise CelError(f"unsupported comprehension range type: {type(value).__name__}")
        left = len(value)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            left -= 1
            frame[first], frame[second] = key, item
            yield left > 0

    return rounds


def _quantifier(rounds: Run, test: Made, *, wanted: bool) -> Run:
    run, cost = test
    again = 3 if wanted else 2
    each = again + 1 + cost

    def work(frame: Frame) -> Any:
        wrong: CelError | None = None
        for more in rounds(frame):
            frame[SPENT] += each
            if frame[SPENT] > frame[LIMIT]:
                raise CostError
            try:
                value = run(frame)
            except CelError as error:
                wrong = wrong or error
                continue
            if value is wanted:
                if more:
                    frame[SPENT] += again
                return wanted
            if not isinstance(value, bool):
                wrong = wrong or no_overload()
        if wrong is not None:
            raise wrong
        return not wanted

    return work


def _exists_one(rounds: Run, test: Made) -> Run:
    run, cost = test

    def work(frame: Frame) -> bool:
        count = 0
        for _ in rounds(frame):
            frame[SPENT] += cost
            if frame[SPENT] > frame[LIMIT]:
                raise CostError
            value = run(frame)
            if value is True:
                frame[SPENT] += 2
                count += 1
            elif value is not False:
                raise no_overload()
        return count == 1

    return work


def _collect(rounds: Run, parts: list[Made]) -> Run:
    item, cost = parts[0]
    cost += 2 + LIST_COST
    test, test_cost = parts[1] if len(parts) == 2 else ((lambda _: True), 0)

    def work(frame: Frame) -> list[Any]:
        made: list[Any] = []
        for _ in rounds(frame):
            frame[SPENT] += test_cost
            value = test(frame)
            if value is True:
                frame[SPENT] += cost
                made.append(item(frame))
            elif value is not False:
                raise no_overload()
            if frame[SPENT] > frame[LIMIT]:
                raise CostError
        return made

    return work


def _entries(rounds: Run, parts: list[Made], first: int, *, whole: bool) -> Run:
    item, cost = parts[0]
    cost += 2 if whole else 3
    test, test_cost = parts[1] if len(parts) == 2 else ((lambda _: True), 0)

    def work(frame: Frame) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in rounds(frame):
            frame[SPENT] += test_cost
            value = test(frame)
            if value is True:
                frame[SPENT] += cost
                one = item(frame)
                for key, inner in one.items() if whole else ((frame[first], one),):
                    if key in made:
                        raise CelError(f"insert failed: key {key} already exists")
                    made[key] = inner
            elif value is not False:
                raise no_overload()
            if frame[SPENT] > frame[LIMIT]:
                raise CostError
        return made

    return work


def _bind(compiler: Compiler, node: Fold) -> Made:
    value, static = compiler.compile(node.parts[0])
    place = compiler.slot()
    compiler.scopes.append({node.accu: place})
    result, cost = compiler.compile(node.parts[1])
    compiler.scopes.pop()

    def work(frame: Frame) -> Any:
        # bindings within bindings are what could double at every level
        if frame[SPENT] > frame[LIMIT]:
            raise CostError
        frame[place] = value(frame)
        return result(frame)

    return work, static + cost
