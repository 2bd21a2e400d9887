"""Words to fields: parameters, command substitution, arithmetic, splitting, globbing."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from podwire.kubelet.shell import braces
from podwire.kubelet.shell.arithmetic import ExpansionError, UnsetError, arithmetic
from podwire.kubelet.shell.lexer import BASH
from podwire.kubelet.shell.syntax import Arith, Lit, Node, Part, Process, Sub, Var, Word
from podwire.kubelet.shell.variables import Variables

_NAMED = re.compile(r"[A-Za-z_]\w*|\d+", re.ASCII)
MAX_FIELD_CHARS = 1 << 20
_GLOB = re.compile(r"[*?\[]")


class Scope(Protocol):
    """What expansion reads and (for ``${X:=d}``) writes."""

    name: str
    dialect: str
    """``lexer.POSIX``, ASH or BASH."""

    @property
    def variables(self) -> Variables:
        """All variables."""

    @property
    def args(self) -> list[str]:
        """Positional parameters."""

    @property
    def status(self) -> int:
        """``$?``."""

    async def capture(self, body: Node) -> str:
        """The output of a command substitution."""

    async def process(self, body: Node) -> str:
        """The name of a file with the output of ``<(...)``."""

    def list_files(self) -> Sequence[str]:
        """The container's files, for globs."""

    @property
    def cwd(self) -> str:
        """The working directory."""

    @property
    def nounset(self) -> bool:
        """``set -u``."""


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

    def split(self, text: str, ifs: str) -> None:
        """Add unquoted text: what ``IFS`` holds ends fields."""
        pieces = split(text, ifs)
        for i, piece in enumerate(pieces):
            if i:
                self.cut()
            empty = not piece and 0 < i < len(pieces) - 1
            self.add(piece, quoted=empty)


BLANKS = " \t\n"


def split(text: str, ifs: str) -> list[str]:
    """Text between separators: runs of IFS' blanks are one, its other characters one each."""
    blanks = "".join(c for c in ifs if c in BLANKS)
    others = "".join(c for c in ifs if c not in BLANKS)
    if not ifs:
        return [text]
    if not others:
        return re.split(f"[{re.escape(blanks)}]+", text)
    around = f"[{re.escape(blanks)}]*" if blanks else ""
    hard = f"{around}[{re.escape(others)}]{around}"
    soft = f"|[{re.escape(blanks)}]+" if blanks else ""
    pieces = re.split(f"(?:{hard}{soft})", text)
    return pieces[:-1] if len(pieces) > 1 and not pieces[-1] else pieces


async def fields(scope: Scope, words: Sequence[Word]) -> list[str]:
    """All words expanded, split and globbed."""
    out: list[str] = []
    if scope.dialect == BASH:
        words = [each for word in words for each in braces.expanded(word)]
    for word in words:
        built = _Fields()
        for part in _home(scope, word):
            await _part(scope, part, built)
        built.cut()
        for runs in built.done:
            out += _globbed(scope, runs)
    return out


def _home(scope: Scope, word: Word) -> Word:
    """A word whose leading ``~`` is the home directory."""
    first = word[0] if word else None
    if not isinstance(first, Lit) or first.quoted or not first.text.startswith("~"):
        return word
    name, slash, rest = first.text[1:].partition("/")
    if name or (not slash and len(word) > 1):
        return word
    home = scope.variables.get("HOME", "")
    return (Lit(home, quoted=True), Lit(slash + rest), *word[1:])


async def text(scope: Scope, word: Word) -> str:
    """One word expanded without splitting (assignments, redirections, case)."""
    word = _home(scope, word)
    out: list[str] = []
    for part in word:
        if isinstance(part, Lit):
            out.append(part.text)
        elif isinstance(part, Var) and (many := await _several(scope, part)) is not None:
            out.append(_joined(scope, part, many))
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


async def _part(scope: Scope, part: Part, built: _Fields) -> None:
    if isinstance(part, Lit):
        built.add(part.text, quoted=part.quoted)
    elif isinstance(part, Var) and (many := await _several(scope, part)) is not None:
        if part.quoted and _every(part) == "*":
            built.add(_joined(scope, part, many), quoted=True)
            return
        for i, arg in enumerate(many):
            if i:
                built.cut()
            if part.quoted:
                built.add(arg, quoted=True)
            else:
                built.split(arg, scope.variables.get("IFS", BLANKS))
    else:
        value = await _value(scope, part)
        if len(value) > MAX_FIELD_CHARS:
            raise ExpansionError("argument list too long")
        if part.quoted:
            built.add(value, quoted=True)
        else:
            built.split(value, scope.variables.get("IFS", BLANKS))


async def _value(scope: Scope, part: Part) -> str:
    if isinstance(part, Lit):
        return part.text
    if isinstance(part, Sub):
        return (await scope.capture(part.body)).rstrip("\n")
    if isinstance(part, Process):
        return await scope.process(part.body)
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
        return str(scope.variables.get(name, "1" if name == "$" else ""))
    if name == "-":
        return ""
    if name.isdigit():
        index = int(name)
        if index == 0:
            return scope.name
        return scope.args[index - 1] if index <= len(scope.args) else None
    found: str | None = scope.variables.get(name)
    return found


def _every(part: Var) -> str:
    """``@`` or ``*`` where a parameter stands for several words; "" otherwise."""
    if part.index is not None:
        first = part.index[0] if len(part.index) == 1 else None
        return first.text if isinstance(first, Lit) and first.text in {"@", "*"} else ""
    return part.name if part.name in {"@", "*"} else ""


def _joined(scope: Scope, part: Var, many: list[str]) -> str:
    between = scope.variables.get("IFS", " ")[:1] if _every(part) == "*" else " "
    return between.join(many)


async def _several(scope: Scope, part: Var) -> list[str] | None:
    """The words that ``$@``, ``${A[@]}`` and the like stand for; None of any other parameter."""
    every, op = _every(part), part.op
    if not every or op == "#len":
        return None
    array = scope.variables.array(part.name)
    values = list(scope.args) if part.index is None else list(array.values())
    if op == "keys":
        return list(array)
    if not op:
        return values
    if op == "slice":
        values = [scope.name, *values] if part.index is None else values
        first, length = await _bounds(scope, part)
        first = max(first + len(values), 0) if first < 0 else first
        return values[first:] if length is None else values[first : first + max(length, 0)]
    if op.lstrip(":")[:1] in {"-", "+", "=", "?"}:
        if bool(values) == (op[-1] == "+"):
            return await fields(scope, [part.arg])
        return values
    return [await _done(scope, part, value) for value in values]


async def _bounds(scope: Scope, part: Var) -> tuple[int, int | None]:
    """Offset and length of ``${NAME:OFFSET:LENGTH}``."""
    first, colon, length = (await text(scope, part.arg)).partition(":")
    bound = arithmetic(length, scope.variables) if colon else None
    return arithmetic(first, scope.variables), bound


async def key(scope: Scope, name: str, index: Word) -> str:
    """What an index in brackets means: a name of an associative array, or a number."""
    told = await text(scope, index)
    if name in scope.variables.named:
        return told
    number = arithmetic(told, scope.variables)
    known = scope.variables.array(name)
    return str(number + 1 + max(map(int, known), default=-1) if number < 0 else number)


async def _variable(scope: Scope, part: Var) -> str:
    if part.indirect:
        named = await _variable(scope, Var(part.name, index=part.index))
        if not _NAMED.fullmatch(named):
            raise ExpansionError(f"{named}: invalid variable name")
        part = replace(part, name=named, index=None, indirect=False)
    if part.op == "#len" and _every(part):
        many = scope.args if part.index is None else scope.variables.array(part.name)
        return str(len(many))
    if part.index is not None:
        where = await key(scope, part.name, part.index)
        value = scope.variables.array(part.name).get(where)
    else:
        value = lookup(scope, part.name)
    op = part.op
    needed = not op or op[:1] in "#%/^," or op == "slice"
    if value is None and scope.nounset and needed and part.name not in {"@", "*", "!"}:
        unset = "unbound variable" if scope.dialect == BASH else "parameter not set"
        raise UnsetError(f"{part.name}: {unset}")
    if not op:
        return value or ""
    if op == "#len":
        return str(len(value or ""))
    if needed:
        return await _done(scope, part, value or "")
    missing = value is None or (op.startswith(":") and not value)
    kind = op[-1]
    if kind == "+":
        return "" if missing else await text(scope, part.arg)
    if not missing:
        return value or ""
    default = await text(scope, part.arg)
    if kind == "?":
        raise UnsetError(f"{part.name}: {default or 'parameter not set'}")
    if kind == "=":
        scope.variables[part.name] = default
    return default


async def _done(scope: Scope, part: Var, value: str) -> str:
    """What an operation makes of a value: cut, sliced, replaced, in another case."""
    op = part.op
    if op[0] in "#%":
        return _trimmed(value, op, await pattern(scope, part.arg))
    if op == "slice":
        first, length = await _bounds(scope, part)
        first = max(first + len(value), 0) if first < 0 else first
        if length is not None and length < 0:
            return value[first : len(value) + length]
        return value[first:] if length is None else value[first : first + length]
    if op[0] == "/":
        wanted, put = await pattern(scope, part.arg), await text(scope, part.put)
        return _replaced(value, op, wanted, put)
    wanted = await pattern(scope, part.arg) or "?"
    act = str.upper if op[0] == "^" else str.lower
    end = len(value) if len(op) == 2 else 1
    return "".join(
        act(c) if i < end and fnmatch.fnmatchcase(c, wanted) else c for i, c in enumerate(value)
    )


def _replaced(value: str, op: str, wanted: str, put: str) -> str:
    """``/ // /# /%``: the longest match of a pattern, first, each, at the start, at the end."""
    if not wanted:
        return {"/#": put + value, "/%": value + put}.get(op, value)
    body = fnmatch.translate(wanted).removesuffix(r"\Z").removesuffix(r"\z")
    anchored = {"/#": rf"\A{body}", "/%": rf"{body}\Z"}.get(op, body)

    def instead(found: re.Match[str]) -> str:
        return put if found[0] or not value else ""

    return re.sub(anchored, instead, value, count=0 if op == "//" else 1)


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
        parts = path.rstrip("/").split("/")
        for n in range(2, len(parts) + 1):
            known = "/".join(parts[:n])
            if known.count("/") == depth and fnmatch.fnmatchcase(known, base + wanted):
                names[known.removeprefix(base)] = None
    return sorted(names) or [plain]
