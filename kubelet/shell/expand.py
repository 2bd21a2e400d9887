"""Words to fields: parameters, command substitution, arithmetic, splitting, globbing."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podwire.kubelet.shell.syntax import Arith, Lit, Node, Sub, Var, Word

MAX_FIELD_CHARS = 1 << 20
_GLOB = re.compile(r"[*?\[]")


class ExpansionError(Exception):
    """An expansion failed: the command is not run, its status is 1 (or 2)."""


class Scope(Protocol):
    """What expansion reads and (for ``${X:=d}``) writes."""

    name: str

    @property
    def variables(self) -> dict[str, str]:
        """All variables."""

    @property
    def args(self) -> list[str]:
        """Positional parameters."""

    @property
    def status(self) -> int:
        """``$?``."""

    async def capture(self, body: Node) -> str:
        """The output of a command substitution."""

    def list_files(self) -> Sequence[str]:
        """The container's files, for globs."""

    @property
    def cwd(self) -> str:
        """The working directory."""


@dataclass(slots=True)
class _Fields:
    """Fields under construction. Each is a list of (text, quoted) runs."""

    done: list[list[tuple[str, bool]]] = field(default_factory=list)
    current: list[tuple[str, bool]] | None = None

    def add(self, text: str, *, quoted: bool) -> None:
        if text or quoted:
            self.current = self.current or []
            self.current.append((text, quoted))

    def cut(self) -> None:
        if self.current is not None:
            self.done.append(self.current)
            self.current = None

    def split(self, text: str) -> None:
        """Add unquoted text: blanks end fields."""
        words = re.split(r"([ \t\n]+)", text)
        for i, word in enumerate(words):
            if i % 2:
                self.cut()
            else:
                self.add(word, quoted=False)


async def fields(scope: Scope, words: Sequence[Word]) -> list[str]:
    """All words expanded, split and globbed."""
    out: list[str] = []
    for word in words:
        built = _Fields()
        for part in word:
            await _part(scope, part, built)
        built.cut()
        for runs in built.done:
            out += _globbed(scope, runs)
    return out


async def text(scope: Scope, word: Word) -> str:
    """One word expanded without splitting (assignments, redirections, case)."""
    out: list[str] = []
    for part in word:
        if isinstance(part, Lit):
            out.append(part.text)
        elif isinstance(part, Var) and part.name in {"@", "*"} and not part.op:
            out.append(" ".join(scope.args))
        else:
            out.append(await _value(scope, part))
    return "".join(out)


async def pattern(scope: Scope, word: Word) -> str:
    """A case pattern for fnmatch: quoted characters stand for themselves."""
    out: list[str] = []
    for part in word:
        quoted = part.quoted
        value = part.text if isinstance(part, Lit) else await _value(scope, part)
        out.append(re.sub(r"([*?\[])", r"[\1]", value) if quoted else value)
    return "".join(out)


async def _part(scope: Scope, part: Lit | Var | Sub | Arith, built: _Fields) -> None:
    if isinstance(part, Lit):
        built.add(part.text, quoted=part.quoted)
    elif isinstance(part, Var) and part.name == "@" and part.quoted and not part.op:
        for i, arg in enumerate(scope.args):
            if i:
                built.cut()
            built.add(arg, quoted=True)
    else:
        value = await _value(scope, part)
        if len(value) > MAX_FIELD_CHARS:
            raise ExpansionError("argument list too long")
        if part.quoted:
            built.add(value, quoted=True)
        else:
            built.split(value)


async def _value(scope: Scope, part: Var | Sub | Arith | Lit) -> str:
    if isinstance(part, Lit):
        return part.text
    if isinstance(part, Sub):
        return (await scope.capture(part.body)).rstrip("\n")
    if isinstance(part, Arith):
        return str(arithmetic(await text(scope, part.expression), scope.variables))
    return await _variable(scope, part)


def lookup(scope: Scope, name: str) -> str | None:
    """The value of a parameter; None when unset."""
    if name in {"@", "*"}:
        return " ".join(scope.args) if scope.args else None
    if name == "#":
        return str(len(scope.args))
    if name == "?":
        return str(scope.status)
    if name in {"$", "!"}:
        return scope.variables.get(name, "1" if name == "$" else "")
    if name == "-":
        return ""
    if name.isdigit():
        index = int(name)
        if index == 0:
            return scope.name
        return scope.args[index - 1] if index <= len(scope.args) else None
    return scope.variables.get(name)


async def _variable(scope: Scope, part: Var) -> str:
    value = lookup(scope, part.name)
    op = part.op
    if not op:
        return value or ""
    if op == "#len":
        return str(len(value or ""))
    if op[0] in "#%" and op != "#len":
        return _trimmed(value or "", op, await pattern(scope, part.arg))
    missing = value is None or (op.startswith(":") and not value)
    kind = op[-1]
    if kind == "+":
        return "" if missing else await text(scope, part.arg)
    if not missing:
        return value or ""
    default = await text(scope, part.arg)
    if kind == "?":
        raise ExpansionError(f"{part.name}: {default or 'parameter not set'}")
    if kind == "=":
        scope.variables[part.name] = default
    return default


def _trimmed(value: str, op: str, wanted: str) -> str:
    """``# ## % %%``: remove a matching prefix or suffix, the shortest or longest."""
    lengths = list(range(len(value) + 1))
    if len(op) == 2:
        lengths.reverse()
    for n in lengths[:4096]:
        end = len(value) - n
        piece = value[:n] if op[0] == "#" else value[end:]
        if fnmatch.fnmatchcase(piece, wanted):
            return value[n:] if op[0] == "#" else value[:end]
    return value


def _globbed(scope: Scope, runs: list[tuple[str, bool]]) -> list[str]:
    plain = "".join(run for run, _ in runs)
    if not any(not quoted and _GLOB.search(run) for run, quoted in runs):
        return [plain]
    wanted = "".join(re.sub(r"([*?\[])", r"[\1]", run) if quoted else run for run, quoted in runs)
    base = "" if wanted.startswith("/") else scope.cwd.rstrip("/") + "/"
    names: dict[str, None] = {}
    depth = (base + wanted).count("/")
    for path in scope.list_files():
        parts = path.split("/")
        for n in range(2, len(parts) + 1):
            known = "/".join(parts[:n])
            if known.count("/") == depth and fnmatch.fnmatchcase(known, base + wanted):
                names[known.removeprefix(base)] = None
    return sorted(names) or [plain]


# -------------------------------------------------------------------------------------- arithmetic

_TOKEN = re.compile(r"\s*(\d+|[A-Za-z_]\w*|\*\*|<=|>=|==|!=|&&|\|\||[-+*/%()<>!])")
_LEVELS: tuple[dict[str, Callable[[int, int], int]], ...] = (
    {"||": lambda a, b: int(bool(a) or bool(b))},
    {"&&": lambda a, b: int(bool(a) and bool(b))},
    {"==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b)},
    {
        "<": lambda a, b: int(a < b), ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b), ">=": lambda a, b: int(a >= b),
    },
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": lambda a, b: _divide(a, b)[0], "%": lambda a, b: _divide(a, b)[1]},
)  # fmt: skip


def _divide(a: int, b: int) -> tuple[int, int]:
    """C's division: towards zero."""
    if b == 0:
        raise ExpansionError("divide by zero")
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def arithmetic(expression: str, variables: dict[str, str]) -> int:
    """The value of ``$((...))``: 64-bit integers. Raises ExpansionError."""
    tokens: list[str] = []
    at = 0
    stripped = expression.strip()
    while at < len(stripped):
        found = _TOKEN.match(stripped, at)
        if found is None or len(tokens) > 2000:
            raise ExpansionError("arithmetic expression: expecting primary")
        tokens.append(found[1])
        at = found.end()
    if not tokens:
        return 0
    parser = _Arithmetic(tokens, variables)
    value = parser.level(0)
    if parser.at != len(tokens):
        raise ExpansionError("arithmetic expression: expecting EOF")
    return value


@dataclass(slots=True)
class _Arithmetic:
    tokens: list[str]
    variables: dict[str, str]
    at: int = 0
    depth: int = 0

    def level(self, n: int) -> int:
        if n == len(_LEVELS):
            return self.unary()
        value = self.level(n + 1)
        while self.at < len(self.tokens) and self.tokens[self.at] in _LEVELS[n]:
            op = self.tokens[self.at]
            self.at += 1
            value = _wrap(_LEVELS[n][op](value, self.level(n + 1)))
        return value

    def unary(self) -> int:
        if self.at >= len(self.tokens) or self.depth > 60:
            raise ExpansionError("arithmetic expression: expecting primary")
        token = self.tokens[self.at]
        self.at += 1
        self.depth += 1
        try:
            if token in {"-", "+", "!"}:
                value = self.unary()
                return {"-": -value, "+": value, "!": int(not value)}[token]
            if token == "(":  # noqa: S105  a parenthesis
                value = self.level(0)
                if self.tokens[self.at : self.at + 1] != [")"]:
                    raise ExpansionError("arithmetic expression: expecting ')'")
                self.at += 1
                return value
        finally:
            self.depth -= 1
        if token.isdigit():
            return _wrap(int(token[:40]))
        if token[0].isalpha() or token[0] == "_":
            text_value = self.variables.get(token, "").strip() or "0"
            if not re.fullmatch(r"-?\d{1,40}", text_value):
                raise ExpansionError(f"Illegal number: {text_value}")
            return _wrap(int(text_value))
        raise ExpansionError("arithmetic expression: expecting primary")
