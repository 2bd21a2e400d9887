"""What awk's expressions become: closures over a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from podwire.kubelet.shell.awk.machine import MAX_CALLS, Machine, Return
from podwire.kubelet.shell.awk.values import (
    UNSET,
    Array,
    Value,
    calculate,
    compiled,
    number,
    text,
    truth,
)
from podwire.kubelet.shell.command import UsageError

Expression = Callable[[Machine], Value]
ArrayOf = Callable[[Machine], Array]
MAX_ELEMENTS = 200_000


@dataclass(frozen=True, slots=True)
class Place:
    """What can be assigned to."""

    get: Expression
    set: Callable[[Machine, Value], None]


def string(value: Value, machine: Machine) -> str:
    """A value as a string, by CONVFMT."""
    return value if isinstance(value, str) else text(value, text(machine.values["CONVFMT"]))


def condition(expression: Expression, machine: Machine) -> bool:
    """Whether an expression holds."""
    return truth(expression(machine))


def called(m: Machine, name: str, args: list[tuple[Expression, str, bool]]) -> Value:
    """Call one of the program's own functions. Raises UsageError."""
    function = m.functions.get(name)
    if function is None or function.body is None:
        raise UsageError(f"not modelled: {name}()", 2)
    if len(args) > len(function.parameters):
        raise UsageError(f"function {name} called with more arguments than declared", 2)
    if len(m.frames) >= MAX_CALLS:
        raise UsageError("not modelled: calls this deep", 2)
    m.step()
    frame: dict[str, Value | Array] = {}
    for parameter, (value, word, local) in zip(function.parameters, args, strict=False):
        known = m.frames[-1].get(word) if local else m.arrays.get(word)
        if word and (isinstance(known, dict) or parameter in function.arrays):
            frame[parameter] = m.local_array(word) if local else m.array(word)
        else:
            frame[parameter] = value(m)
    m.frames.append(frame)
    try:
        function.body(m)
    except Return as returned:
        return returned.value
    finally:
        m.frames.pop()
    return UNSET


def key(keys: list[Expression]) -> Expression:
    """The key of an array's element: several are joined by SUBSEP."""
    if len(keys) == 1:
        only = keys[0]
        return lambda m: string(only(m), m)
    return lambda m: text(m.values["SUBSEP"]).join([string(key(m), m) for key in keys])


def element(array: ArrayOf, key: Expression) -> Place:
    """One element of an array."""

    def get(m: Machine) -> Value:
        return array(m).setdefault(string(key(m), m), UNSET)

    def put(m: Machine, value: Value) -> None:
        known = array(m)
        known[string(key(m), m)] = value
        if len(known) > MAX_ELEMENTS:
            raise UsageError("not modelled: an array of this size", 2)

    return Place(get, put)


def member(key: Expression, array: ArrayOf) -> Expression:
    """``KEY in ARRAY``."""
    return lambda m: float(string(key(m), m) in array(m))


def either(a: Expression, b: Expression) -> Expression:
    """``A || B``."""
    return lambda m: float(truth(a(m)) or truth(b(m)))


def both(a: Expression, b: Expression) -> Expression:
    """``A && B``."""
    return lambda m: float(truth(a(m)) and truth(b(m)))


def matches(line: Expression, source: Expression, wanted: bool) -> Expression:
    """``LINE ~ SOURCE``, or ``!~``."""
    return lambda m: float(
        (compiled(string(source(m), m)).search(string(line(m), m)) is not None) == wanted
    )


def calculation(op: str, a: Expression, b: Expression) -> Expression:
    """``A OP B``."""
    return lambda m: calculate(op, number(a(m)), number(b(m)))


def counted(place: Place, change: float, *, before: bool) -> Expression:
    """``++PLACE`` (before) or ``PLACE++``."""

    def run(m: Machine) -> Value:
        old = number(place.get(m))
        place.set(m, old + change)
        return old + change if before else old

    return run
