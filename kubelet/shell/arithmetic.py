"""``$((...))``: 64-bit integers with C's operators, as POSIX has them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass


class ExpansionError(Exception):
    """An expansion failed: the command is not run, its status is 1 (or 2)."""


class UnsetError(ExpansionError):
    """A parameter is unset that must not be."""


_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|\*\*"
    r"|[-+*/%&|^]=|[-+*/%()<>!=~&|^?:,])"
)
_LEVELS: tuple[dict[str, Callable[[int, int], int]], ...] = (
    {"|": operator.or_},
    {"^": operator.xor},
    {"&": operator.and_},
    {"==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b)},
    {
        "<": lambda a, b: int(a < b), ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b), ">=": lambda a, b: int(a >= b),
    },
    {"<<": lambda a, b: a << (b & 63), ">>": lambda a, b: a >> (b & 63)},
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": lambda a, b: _divide(a, b)[0], "%": lambda a, b: _divide(a, b)[1]},
)  # fmt: skip
_OPERATORS = {name: act for level in _LEVELS for name, act in level.items()}
MAX_DEPTH = 60
MAX_TOKENS = 2000


def _divide(a: int, b: int) -> tuple[int, int]:
    """C's division: towards zero."""
    if b == 0:
        raise ExpansionError("divide by zero")
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def arithmetic(expression: str, variables: dict[str, str]) -> int:
    """The value of an expression; assignments change ``variables``. Raises ExpansionError."""
    tokens: list[str] = []
    at = 0
    stripped = expression.strip()
    while at < len(stripped):
        found = _TOKEN.match(stripped, at)
        if found is None or len(tokens) > MAX_TOKENS:
            raise ExpansionError("arithmetic expression: expecting primary")
        tokens.append(found[1])
        at = found.end()
    if not tokens:
        return 0
    parser = _Arithmetic(tokens, variables)
    value = parser.each()
    if parser.at != len(tokens):
        raise ExpansionError("arithmetic expression: expecting EOF")
    return value


def _is_name(token: str) -> bool:
    return token[:1].isalpha() or token[:1] == "_"


def _number(text: str) -> int:
    if text[:2] in {"0x", "0X"}:
        return _wrap(int(text[:40], 16))
    if len(text) > 1 and text[0] == "0":
        if not set(text) <= set("01234567"):
            raise ExpansionError(f"Illegal number: {text}")
        return _wrap(int(text[:40], 8))
    return _wrap(int(text[:40]))


@dataclass(slots=True)
class _Arithmetic:
    tokens: list[str]
    variables: dict[str, str]
    at: int = 0
    depth: int = 0
    idle: int = 0
    """Above 0 while a branch is read that is not taken: nothing is assigned, nothing divides."""

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def each(self) -> int:
        """Expressions with commas between: the last one counts."""
        value = self.assignment()
        while self.peek() == ",":
            self.at += 1
            value = self.assignment()
        return value

    def assignment(self) -> int:
        name, op = self.peek(), self.peek(1)
        if not _is_name(name) or op[-1:] != "=":
            return self.choice()
        if op in {"==", "!=", "<=", ">="}:
            return self.choice()
        self.at += 2
        value = self.assignment()
        if op != "=":
            value = self.act(op[:-1], self.value_of(name), value)
        if not self.idle:
            self.variables[name] = str(value)
        return value

    def choice(self) -> int:
        value = self.either()
        if self.peek() != "?":
            return value
        self.at += 1
        yes = self.quietly(self.assignment, unless=bool(value))
        if self.peek() != ":":
            raise ExpansionError("arithmetic expression: expecting ':'")
        self.at += 1
        no = self.quietly(self.assignment, unless=not value)
        return yes if value else no

    def quietly(self, read: Callable[[], int], *, unless: bool) -> int:
        """Read a part; without effect ``unless`` it counts."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpansionError("arithmetic expression: expecting primary")
        self.idle += not unless
        try:
            return read()
        finally:
            self.idle -= not unless
            self.depth -= 1

    def either(self) -> int:
        value = self.both()
        while self.peek() == "||":
            self.at += 1
            other = self.quietly(self.both, unless=not value)
            value = int(bool(value) or bool(other))
        return value

    def both(self) -> int:
        value = self.level(0)
        while self.peek() == "&&":
            self.at += 1
            before = value
            other = self.quietly(lambda: self.level(0), unless=bool(before))
            value = int(bool(value) and bool(other))
        return value

    def act(self, op: str, a: int, b: int) -> int:
        if self.idle and op in "/%":
            return 0
        return _wrap(_OPERATORS[op](a, b))

    def level(self, n: int) -> int:
        if n == len(_LEVELS):
            return self.power()
        value = self.level(n + 1)
        while self.peek() in _LEVELS[n]:
            op = self.peek()
            self.at += 1
            value = self.act(op, value, self.level(n + 1))
        return value

    def value_of(self, name: str) -> int:
        text = self.variables.get(name, "").strip() or "0"
        sign = -1 if text.startswith("-") else 1
        digits = text.removeprefix("-")
        if not re.fullmatch(r"\d{1,40}|0[xX][0-9a-fA-F]{1,40}", digits):
            raise ExpansionError(f"Illegal number: {text}")
        return _wrap(sign * _number(digits))

    def changed(self, name: str, op: str) -> int:
        """``++`` and ``--``: the new value."""
        value = _wrap(self.value_of(name) + (1 if op == "++" else -1))
        if not self.idle:
            self.variables[name] = str(value)
        return value

    def power(self) -> int:
        """``**``, from right to left."""
        base = self.unary()
        if self.peek() != "**":
            return base
        self.at += 1
        self.depth += 1
        exponent = self.power() if self.depth <= MAX_DEPTH else 0
        self.depth -= 1
        if exponent < 0:
            raise ExpansionError("exponent less than 0")
        return _wrap(pow(base, exponent, 2**64))

    def unary(self) -> int:
        token = self.peek()
        if not token or self.depth > MAX_DEPTH:
            raise ExpansionError("arithmetic expression: expecting primary")
        self.at += 1
        self.depth += 1
        try:
            if token in {"-", "+", "!", "~"}:
                value = self.unary()
                return {"-": _wrap(-value), "+": value, "!": int(not value), "~": ~value}[token]
            if token in {"++", "--"} and _is_name(self.peek()):
                self.at += 1
                return self.changed(self.tokens[self.at - 1], token)
            if token in {"++", "--"}:
                return self.unary()
            if token == "(":  # noqa: S105  a parenthesis
                value = self.each()
                if self.peek() != ")":
                    raise ExpansionError("arithmetic expression: expecting ')'")
                self.at += 1
                return value
        finally:
            self.depth -= 1
        if token[0].isdigit():
            return _number(token)
        if _is_name(token):
            if self.peek() in {"++", "--"}:
                before = self.value_of(token)
                self.at += 1
                self.changed(token, self.tokens[self.at - 1])
                return before
            return self.value_of(token)
        raise ExpansionError("arithmetic expression: expecting primary")
