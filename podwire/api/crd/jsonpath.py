"""JSONPath as Kubernetes' tables and selectors use it: fields, indexes, slices, wildcards, filters.

Source: client-go util/jsonpath (parser.go, jsonpath.go), with missing keys allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from podwire.api.crd.values import go_number
from podwire.api.validation.field import show

Step = Callable[[list[Any]], list[Any]]

_NAME = re.compile(r"(?:\\.|[^\s.\[\]()'\"{}$@?,:=!<>&|*\\])+")
_INDEX = re.compile(r"\[\s*(-?\d*)\s*(?::\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?)?\]")
_KEY = re.compile(r"\[\s*(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\")\s*\]")
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
MAX_LENGTH = 4096


class PathError(ValueError):
    """A path that cannot be parsed."""


class Path:
    """A parsed path. Raises PathError."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise PathError(f"a path has at most {MAX_LENGTH} characters")
        self._steps = _parse(text)

    def find(self, value: Any) -> list[Any]:
        """What the path leads to."""
        found = [value]
        for step in self._steps:
            found = step(found)
        return found


def printed(value: Any) -> str:
    """A value as a template prints it: maps and lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return go_number(value)
    return show(value)


def _parse(text: str) -> list[Step]:
    steps: list[Step] = []
    rest = text.removeprefix("$").removeprefix("@")
    while rest:
        step, rest = _next(rest)
        steps.append(step)
    return steps


def _next(rest: str) -> tuple[Step, str]:
    if rest.startswith(".."):
        found = _NAME.match(rest, 2)
        if found is None:
            raise PathError(f"unrecognized character after ..: {rest[2:3]}")
        return _everywhere(_unescaped(found[0])), rest[found.end() :]
    if rest.startswith((".*", "[*]")):
        return _wildcard, rest[2 if rest[0] == "." else 3 :]
    if rest[0] == ".":
        if rest[1:2] in {"", "["}:
            return (lambda values: values), rest[1:]
        found = _NAME.match(rest, 1)
        if found is None:
            raise PathError(f"unrecognized character in action: {rest[1:2]}")
        return _field(_unescaped(found[0])), rest[found.end() :]
    if rest.startswith("[?("):
        return _filter(rest)
    if rest[0] == "[":
        if (found := _KEY.match(rest)) is not None:
            return _field(_unescaped(found[1] if found[1] is not None else found[2])), (
                rest[found.end() :]
            )
        if (found := _INDEX.match(rest)) is not None:
            return _slice(found), rest[found.end() :]
        raise PathError(f"invalid array index {rest}")
    found = _NAME.match(rest)
    if found is None:
        raise PathError(f"unrecognized character in action: {rest[0]}")
    return _field(_unescaped(found[0])), rest[found.end() :]


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _field(name: str) -> Step:
    return lambda values: [v[name] for v in values if isinstance(v, dict) and name in v]


def _wildcard(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(value, list):
            found += value
        elif isinstance(value, dict):
            found += [value[key] for key in sorted(value)]
    return found


def _everywhere(name: str) -> Step:
    def step(values: list[Any]) -> list[Any]:
        found: list[Any] = []
        waiting = list(values)
        while waiting:
            value = waiting.pop(0)
            if isinstance(value, dict):
                if name in value:
                    found.append(value[name])
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
        return found

    return step


def _slice(found: re.Match[str]) -> Step:
    first, last, stride = found[1], found[2], found[3]
    if last is None:
        if not first:
            raise PathError("invalid array index")
        at = int(first)
        return lambda values: [
            v[at] for v in values if isinstance(v, list) and -len(v) <= at < len(v)
        ]
    bounds = slice(int(first or 0), int(last) if last else None, int(stride) if stride else 1)
    if bounds.step is not None and bounds.step <= 0:
        raise PathError("step must be > 0")
    return lambda values: [item for v in values if isinstance(v, list) for item in v[bounds]]


def _filter(rest: str) -> tuple[Step, str]:
    end = _closing(rest)
    inner = rest[3:end]
    left, operator, right = _split(inner)
    holds = _comparison(left, operator, right)

    def step(values: list[Any]) -> list[Any]:
        return [item for v in values if isinstance(v, list) for item in v if holds(item)]

    return step, rest[end + 2 :]


def _closing(rest: str) -> int:
    quote, depth = "", 0
    for i, char in enumerate(rest):
        if quote:
            if char == quote and rest[i - 1] != "\\":
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if not depth and rest[i + 1 : i + 2] == "]":
                return i
    raise PathError("unterminated filter")


def _split(inner: str) -> tuple[str, str, str]:
    quote = ""
    for i, char in enumerate(inner):
        if quote:
            quote = "" if char == quote and inner[i - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        else:
            for operator in _OPERATORS:
                if inner.startswith(operator, i):
                    return inner[:i].strip(), operator, inner[i + len(operator) :].strip()
    return inner.strip(), "", ""


def _operand(text: str) -> Callable[[Any], list[Any]]:
    if text[:1] in {"'", '"'}:
        if len(text) < 2 or text[-1] != text[0]:
            raise PathError("unterminated quoted string")
        literal: Any = _unescaped(text[1:-1])
        return lambda _item: [literal]
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        number = float(text) if "." in text else int(text)
        return lambda _item: [number]
    if text in {"true", "false"}:
        flag = text == "true"
        return lambda _item: [flag]
    return Path(text).find


def _comparison(left: str, operator: str, right: str) -> Callable[[Any], bool]:
    find = _operand(left)
    if not operator:
        return lambda item: bool(find(item))
    other = _operand(right)
    judge = _JUDGES[operator]

    def holds(item: Any) -> bool:
        mine, theirs = find(item), other(item)
        if not mine or not theirs:
            return False
        one, two = mine[0], theirs[0]
        numbers = (int, float)
        alike = one.__class__ is two.__class__ or (
            one.__class__ in numbers and two.__class__ in numbers
        )
        return judge(one, two) if alike else operator == "!="

    return holds


_JUDGES: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, two: bool(one == two), "!=": lambda one, two: bool(one != two),
    "<": lambda one, two: bool(one < two), ">": lambda one, two: bool(one > two),
    "<=": lambda one, two: bool(one <= two), ">=": lambda one, two: bool(one >= two),
}  # fmt: skip
