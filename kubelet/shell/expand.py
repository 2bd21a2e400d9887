"""Words to fields: parameters, command substitution, arithmetic, splitting, globbing."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podwire.kubelet.shell.arithmetic import ExpansionError, arithmetic
from podwire.kubelet.shell.syntax import Arith, Lit, Node, Sub, Var, Word

MAX_FIELD_CHARS = 1 << 20
_GLOB = re.compile(r"[*?\[]")


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
    for word in words:
        _refuse_bash(scope, word)
        built = _Fields()
        for part in _home(scope, word):
            await _part(scope, part, built)
        built.cut()
        for runs in built.done:
            out += _globbed(scope, runs)
    return out


_BRACES = re.compile(r"\{[^{}\s]*(,|\.\.)[^{}\s]*\}")


def _refuse_bash(scope: Scope, word: Word) -> None:
    """What bash would expand and ash and dash leave alone must not pass for an answer of bash."""
    if scope.name.rpartition("/")[2] not in {"bash", "zsh"}:
        return
    for part in word:
        if isinstance(part, Lit) and not part.quoted and _BRACES.search(part.text):
            raise ExpansionError(f"not modelled: brace expansion: {part.text}")


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
            built.split(value, scope.variables.get("IFS", BLANKS))


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
    needed = not op or op == "#len" or op[0] in "#%"
    if value is None and scope.nounset and needed and part.name not in {"@", "*", "!"}:
        raise ExpansionError(f"{part.name}: parameter not set")
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
        parts = path.rstrip("/").split("/")
        for n in range(2, len(parts) + 1):
            known = "/".join(parts[:n])
            if known.count("/") == depth and fnmatch.fnmatchcase(known, base + wanted):
                names[known.removeprefix(base)] = None
    return sorted(names) or [plain]
