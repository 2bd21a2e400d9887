"""Characters to tokens: words with their parts, operators, newlines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from podwire.kubelet.shell.syntax import Arith, Lit, Node, Part, Process, Sub, Var, Word

OPERATORS = (
    "&&", "||", ";;", "<>", ">>", ">&", ">|", "<&", "<<", ";", "&", "|", "(", ")", "<", ">", "\n",
)  # fmt: skip
ASH_OPERATORS = ("&>>", "&>", *OPERATORS)
BASH_OPERATORS = (";;&", ";&", ">(", "|&", *ASH_OPERATORS)
POSIX, ASH, BASH = "posix", "ash", "bash"
"""Dialects: dash, busybox's shell (some of bash's words) and bash."""
MAX_DEPTH = 30
_SPECIAL = "@*#?$!-"
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_PARAMETER_OPS = (":-", ":=", ":+", ":?", "##", "%%", "-", "=", "+", "?", "#", "%")
_CASES = ("^^", ",,", "^", ",")
_REPLACEMENTS = ("//", "/#", "/%", "/")
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip


class ShellSyntaxError(Exception):
    """The script is no shell script (or uses what is not modelled)."""


_UNENDED = ShellSyntaxError("not modelled: end of file inside a here-document")


@dataclass(frozen=True, slots=True)
class Token:
    """A word (``op`` "") or an operator; "EOF" at the end. ``fd`` of a redirection or -1."""

    op: str
    word: Word = ()
    fd: int = -1
    document: list[Part] | None = None
    """Of ``<<``: filled in when the line has been read."""

    def plain(self) -> str | None:
        """The text of an unquoted literal word: only such a word can be a keyword."""
        if self.op or len(self.word) != 1:
            return None
        part = self.word[0]
        return part.text if isinstance(part, Lit) and not part.quoted else None


Subparser = Callable[[str, int, int, str], tuple[Node, int]]
"""(text, position after "$(", depth, dialect) -> tree and position after ")"."""


class Lexer:
    """Tokens on demand; ``$(...)`` is handed to the parser."""

    def __init__(
        self, text: str, parse_sub: Subparser, at: int = 0, depth: int = 0, dialect: str = POSIX
    ) -> None:
        if depth > MAX_DEPTH:
            raise ShellSyntaxError("syntax error: nested too deep")
        self.text = text
        self.at = at
        self.depth = depth
        self.dialect = dialect
        self._operators = {BASH: BASH_OPERATORS, ASH: ASH_OPERATORS}.get(dialect, OPERATORS)
        self._parse_sub = parse_sub
        self._documents: list[tuple[str, bool, bool, list[Part]]] = []

    def token(self) -> Token:
        """The next token."""
        self.skip_blanks()
        text = self.text
        if self.at >= len(text):
            if self._documents:
                raise _UNENDED
            return Token("EOF")
        fd = self._fd()
        if fd < 0 and self._process():
            return Token("", self.word())
        for op in self._operators:
            if text.startswith(op, self.at):
                self.at += len(op)
                if op in {";;&", ";&", ">(", "<>"}:
                    raise ShellSyntaxError(f"not modelled: {op}")
                if op == "<<":
                    return self._here(fd)
                if op == "\n" and self._documents:
                    self._read_documents()
                return Token(op, fd=fd)
        return Token("", self.word())

    # ------------------------------------------------------------------ here-documents

    def _here(self, fd: int) -> Token:
        """``<<WORD``: the document follows the line; its text is filled in then."""
        if self.text.startswith("<", self.at):
            if self.dialect != BASH:
                raise ShellSyntaxError("syntax error: unexpected redirection")
            self.at += 1
            return Token("<<<", fd=fd)
        stripped = self.text.startswith("-", self.at)
        self.at += stripped
        self.skip_blanks()
        word = self.word()
        end = "".join(part.text if isinstance(part, Lit) else "" for part in word)
        if not word or not all(isinstance(part, Lit) for part in word):
            raise ShellSyntaxError("not modelled: a here-document's end that is no plain word")
        raw = any(part.quoted for part in word)
        body: list[Part] = []
        self._documents.append((end, stripped, raw, body))
        return Token("<<", fd=fd, document=body)

    def _read_documents(self) -> None:
        for end, stripped, raw, body in self._documents:
            lines: list[str] = []
            while True:
                if self.at >= len(self.text):
                    raise _UNENDED
                line, _, _ = self.text[self.at :].partition("\n")
                self.at = min(self.at + len(line) + 1, len(self.text))
                shown = line.lstrip("\t") if stripped else line
                if shown == end:
                    break
                lines.append(f"{shown}\n")
            text = "".join(lines)
            if raw:
                body.append(Lit(text, quoted=True))
            else:
                quoted = re.sub(r'(\\*)"', lambda m: m[1] + '\\"' if len(m[1]) % 2 == 0 else
                                m[1] + m[1] + '\\"', text)  # fmt: skip
                inner = self._inner(f'"{quoted}"')
                body.extend(inner.word(stop=""))
        self._documents.clear()

    # ------------------------------------------------------------------ words

    def _fd(self) -> int:
        text, at = self.text, self.at
        if text[at].isdigit() and text[at + 1 : at + 2] in {"<", ">"}:
            self.at += 1
            return int(text[at]) if text[at].isascii() else -1
        return -1

    def skip_blanks(self) -> None:
        """Go to where the next token begins."""
        text = self.text
        while self.at < len(text):
            c = text[self.at]
            if c in " \t\r":
                self.at += 1
            elif text.startswith("\\\n", self.at):
                self.at += 2
            elif c == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            else:
                return

    def word(self, stop: str = " \t\r\n;&|<>()") -> Word:
        """A word up to an unquoted stop character."""
        parts: list[Part] = []
        run: list[str] = []

        def flush() -> None:
            if run:
                parts.append(Lit("".join(run)))
                run.clear()

        while self.at < len(self.text) and (
            (c := self.text[self.at]) not in stop or (not parts and not run and self._process())
        ):
            if c == "\\":
                self.at += 2
                escaped = self.text[self.at - 1 : self.at]
                if escaped != "\n":
                    flush()
                    parts.append(Lit(escaped, quoted=True))
            elif c == "'":
                flush()
                parts.append(self._single())
            elif c == '"':
                flush()
                parts += self._double()
            elif c in "$`" and (part := self._dollar(quoted=False)) is not None:
                flush()
                parts.append(part)
            elif not parts and not run and self._process():
                body, self.at = self._sub(self.text, self.at + 2)
                parts.append(Process(body))
            else:
                run.append(c)
                self.at += 1
        flush()
        return tuple(parts)

    def _single(self) -> Lit:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise ShellSyntaxError("syntax error: unterminated quoted string")
        text = self.text[self.at + 1 : end]
        self.at = end + 1
        return Lit(text, quoted=True)

    def _double(self) -> list[Part]:
        parts: list[Part] = [Lit("", quoted=True)]
        run: list[str] = []
        self.at += 1
        while True:
            if self.at >= len(self.text):
                raise ShellSyntaxError("syntax error: unterminated quoted string")
            c = self.text[self.at]
            if c == '"':
                self.at += 1
                break
            if c == "\\" and self.text[self.at + 1 : self.at + 2] in {"$", "`", '"', "\\", "\n"}:
                if self.text[self.at + 1] != "\n":
                    run.append(self.text[self.at + 1])
                self.at += 2
                continue
            part = self._dollar(quoted=True) if c in "$`" else None
            if part is None:
                run.append(c)
                self.at += 1
                continue
            parts += [Lit("".join(run), quoted=True), part]
            run.clear()
        parts.append(Lit("".join(run), quoted=True))
        return [part for part in parts if part != Lit("", quoted=True)] or [Lit("", quoted=True)]

    def _dollar(self, *, quoted: bool) -> Part | None:
        """A parameter, command or arithmetic; None when the ``$`` stands for itself."""
        text, at = self.text, self.at
        if text[at] == "`":
            return self._backticks(quoted=quoted)
        if text.startswith("$'", at) and not quoted:
            return self._escaped()
        if text.startswith("$((", at):
            return self._arithmetic(quoted=quoted)
        if text.startswith("$(", at):
            body, self.at = self._sub(text, at + 2)
            return Sub(body, quoted)
        if text.startswith("${", at):
            return self._braced(quoted=quoted)
        following = text[at + 1 : at + 2]
        if following and (following in _SPECIAL or following.isdigit()):
            self.at += 2
            return Var(following, quoted=quoted)
        name = self._name(at + 1)
        if not name:
            return None
        self.at = at + 1 + len(name)
        return Var(name, quoted=quoted)

    def _name(self, at: int) -> str:
        end = at
        while end < len(self.text) and self.text[end] in _NAME:
            end += 1
        return self.text[at:end]

    def _backticks(self, *, quoted: bool) -> Sub:
        end = self.at + 1
        inner: list[str] = []
        while end < len(self.text) and self.text[end] != "`":
            if self.text[end] == "\\" and self.text[end + 1 : end + 2] in {"`", "$", "\\"}:
                end += 1
            inner.append(self.text[end : end + 1])
            end += 1
        if end >= len(self.text):
            raise ShellSyntaxError("syntax error: unterminated backquote")
        self.at = end + 1
        body, _ = self._sub("".join(inner) + ")", 0)
        return Sub(body, quoted)

    def _arithmetic(self, *, quoted: bool) -> Arith:
        self.at += 3
        return Arith(self.double(), quoted)

    def double(self) -> Word:
        """What stands before the next ``))``, as a word of arithmetic."""
        start, depth, end = self.at, 0, self.at
        while end < len(self.text):
            if self.text.startswith("))", end) and depth == 0:
                break
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
        else:
            raise ShellSyntaxError("syntax error: missing '))'")
        self.at = end + 2
        return self.whole(self.text[start:end])

    def whole(self, text: str) -> Word:
        """A text that is one word, blanks and all."""
        return self._inner(text).word(stop="")

    def _inner(self, text: str) -> Lexer:
        return Lexer(text, self._parse_sub, depth=self.depth + 1, dialect=self.dialect)

    def _sub(self, text: str, at: int) -> tuple[Node, int]:
        return self._parse_sub(text, at, self.depth + 1, self.dialect)

    def _process(self) -> bool:
        """Whether ``<(`` stands here and is bash's."""
        return self.dialect == BASH and self.text.startswith("<(", self.at)

    def _escaped(self) -> Lit:
        """``$'...'`` (dash does not know it)."""
        if self.dialect == POSIX:
            raise ShellSyntaxError("not modelled: $'...'")
        found = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self.text, self.at)
        if found is None:
            raise ShellSyntaxError("syntax error: unterminated quoted string")
        self.at = found.end()
        return Lit(re.sub(_ESCAPE, _meant, found[1]), quoted=True)

    def _braced(self, *, quoted: bool) -> Var:
        text, at, bash = self.text, self.at + 2, self.dialect == BASH
        sign = text[at : at + 1]
        listed = sign == "#" and text.startswith(("@}", "*}"), at + 1)
        counts = sign == "#" and (self._name(at + 1) or listed)
        asks = sign == "!" and bash and self._name(at + 1)
        at += bool(counts or asks)
        name = self._name(at) or text[at : at + 1]
        if not name or (name not in _SPECIAL and not set(name) <= _NAME):
            raise ShellSyntaxError("syntax error: bad substitution")
        self.at = at + len(name)
        index: Word | None = None
        if bash and text.startswith("[", self.at):
            self.at += 1
            index = self._argument("]")
            self.at += 1
        every = index in {(Lit("@"),), (Lit("*"),)}
        if counts or (asks and every):
            self._close(self.at)
            return Var(name, "#len" if counts else "keys", quoted=quoted, index=index)
        op, arg, put = self._operation()
        self._close(self.at)
        return Var(name, op, arg, quoted, put, index, indirect=bool(asks))

    def _operation(self) -> tuple[str, Word, Word]:
        """What is done to a parameter, with what, and what is put instead."""
        text, at = self.text, self.at
        for op in _PARAMETER_OPS:
            if text.startswith(op, at):
                self.at = at + len(op)
                return op, self._argument("}"), ()
        if self.dialect == POSIX:
            return "", (), ()
        if text.startswith(":", at):
            self.at = at + 1
            return "slice", self._argument("}"), ()
        for op in _REPLACEMENTS:
            if text.startswith(op, at):
                self.at = at + len(op)
                wanted = self._argument("/}")
                if not self.text.startswith("/", self.at):
                    return op, wanted, ()
                self.at += 1
                return op, wanted, self._argument("}")
        for op in _CASES if self.dialect == BASH else ():
            if text.startswith(op, at):
                self.at = at + len(op)
                return op, self._argument("}"), ()
        return "", (), ()

    def _argument(self, stop: str) -> Word:
        if self.depth >= MAX_DEPTH:
            raise ShellSyntaxError("syntax error: nested too deep")
        self.depth += 1
        found = self.word(stop=stop)
        self.depth -= 1
        return found

    def _close(self, at: int) -> None:
        if not self.text.startswith("}", at):
            raise ShellSyntaxError("syntax error: bad substitution")
        self.at = at + 1


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|[0-7]{1,3}|.)", re.DOTALL)


def _meant(found: re.Match[str]) -> str:
    """The character that an escape of ``$'...'`` stands for."""
    code = found[1]
    if code[0] in "xu" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _ESCAPES.get(code, found[0])
