"""awk's values: numbers, strings, and what is both (pure)."""

from __future__ import annotations

import functools
import math
import re

from podwire.kubelet.shell.command import UsageError
from podwire.kubelet.shell.tools.grep import pattern

Value = str | float
Array = dict[str, Value]
MAX_CHARS = 4 * 1024 * 1024
"""What one string may hold."""
MAX_WIDTH = 10_000
_NUMBER = re.compile(r"[ \t\n\r\f\v]*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SPEC = re.compile(r"%([-+ 0#]*)(\*|\d*)(?:\.(\*|\d*))?[hlLqjzt]*(.)", re.DOTALL)


class Input(str):
    """Text that was read: it compares as a number when it looks like one."""

    __slots__ = ()


class Unset(str):
    """A variable that was never set: "" and 0."""

    __slots__ = ()


UNSET = Unset("")


def number(value: Value) -> float:
    """A value as a number: what a string begins with, else 0."""
    if isinstance(value, float):
        return value
    found = _NUMBER.match(value)
    return float(found[0]) if found else 0.0


def text(value: Value, form: str = "%.6g") -> str:
    """A value as a string; ``form`` is CONVFMT or OFMT."""
    if isinstance(value, str):
        return value
    if value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    if not math.isfinite(value):
        return str(value)
    return sprintf([form, value])


def looks_numeric(value: Value) -> bool:
    """Whether a value that was read is a number throughout."""
    found = _NUMBER.match(value) if isinstance(value, str) else None
    return found is not None and not value[found.end() :].strip()  # type: ignore[index]


def truth(value: Value) -> bool:
    """Whether a condition holds."""
    if isinstance(value, Input) and looks_numeric(value):
        return number(value) != 0
    return bool(value)


def _numberlike(value: Value) -> bool:
    return isinstance(value, (float, Unset)) or (isinstance(value, Input) and looks_numeric(value))


def compare(a: Value, b: Value, op: str) -> bool:
    """``a OP b``: as numbers when both are or look like some, else as strings."""
    if _numberlike(a) and _numberlike(b):
        x, y = number(a), number(b)
        return _ordered(x < y, x == y, op)
    left, right = text(a), text(b)
    return _ordered(left < right, left == right, op)


def _ordered(less: bool, same: bool, op: str) -> bool:
    return {"<": less, "<=": less or same, "==": same, "!=": not same, ">": not (less or same),
            ">=": not less}[op]  # fmt: skip


def calculate(op: str, x: float, y: float) -> float:
    """``x OP y``. Raises UsageError for a division by zero."""
    if op in "/%" and y == 0:
        raise UsageError("division by zero", 2)
    try:
        match op:
            case "+":
                return x + y
            case "-":
                return x - y
            case "*":
                return x * y
            case "/":
                return x / y
            case "%":
                return math.fmod(x, y)
        return math.pow(x, y)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


@functools.lru_cache(maxsize=256)
def compiled(source: str) -> re.Pattern[str]:
    """An extended regular expression. Raises UsageError."""
    return pattern(source, extended=True, fixed=False, ignore_case=False)


def split(line: str, separator: str) -> list[str]:
    """Fields of a line by FS."""
    if separator == " ":
        return line.split()
    if not line:
        return []
    if separator == "":
        return list(line)
    if len(separator) == 1 and separator != "\\":
        return line.split(separator)
    pieces, at = [], 0
    for found in compiled(separator).finditer(line):
        if found.end() > found.start():
            pieces.append(line[at : found.start()])
            at = found.end()
    return [*pieces, line[at:]]


def substr(line: str, start: float, length: float | None) -> str:
    """``substr(line, start, length)``: what begins before 1 begins at 1 (mawk and busybox)."""
    begin = max(_rounded(start), 1)
    end = len(line) + 1 if length is None else begin + max(_rounded(length), 0)
    return line[begin - 1 : end - 1]


def _rounded(value: float) -> int:
    return round(value) if abs(value) < MAX_CHARS else MAX_CHARS * (1 if value > 0 else -1)


def substitute(source: str, new: str, line: str, *, every: bool) -> tuple[str, int]:
    r"""``sub`` and ``gsub``: the new line and how often; ``&`` is what matched, ``\&`` itself."""

    def fill(found: re.Match[str]) -> str:
        return re.sub(r"\\\\|\\&|&", lambda m: {"&": found[0], r"\&": "&"}.get(m[0], "\\"), new)

    return compiled(source).subn(fill, line, count=0 if every else 1)


def sprintf(args: list[Value]) -> str:
    """``sprintf(FORMAT, ...)``. Raises UsageError for a conversion that there is not."""
    left = args[1:]

    def taken() -> Value:
        return left.pop(0) if left else UNSET

    def fill(found: re.Match[str]) -> str:
        flags, width, precision, kind = found.groups()
        if kind == "%":
            return "%"
        if width == "*":
            width = str(int(number(taken())))
        if precision == "*":
            precision = str(max(int(number(taken())), 0))
        if len(width) > 5 or len(precision or "") > 5 or abs(int(width or 0)) > MAX_WIDTH:
            raise UsageError(f"not modelled: a width like that of {found[0]}", 2)
        spec = f"%{flags}{width}" + (f".{precision}" if precision is not None else "")
        return _converted(spec, kind, taken(), found[0])

    return _SPEC.sub(fill, text(args[0]))


def _converted(spec: str, kind: str, value: Value, whole: str) -> str:
    if kind == "s":
        return (spec + "s") % text(value)
    if kind == "c":
        char = chr(int(value) % 0x110000) if isinstance(value, float) else text(value)[:1]
        return (spec + "s") % char
    amount = number(value)
    if kind in "feEgGF":
        return (spec + kind) % amount
    if kind in "diuxXo":
        if not math.isfinite(amount):
            return (spec.replace("0", "") + "s") % str(amount)
        return (spec + ("d" if kind in "iu" else kind)) % int(amount)
    raise UsageError(f"not modelled: conversion {whole}", 2)
