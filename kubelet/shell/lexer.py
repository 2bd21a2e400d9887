"""Characters to tokens: words with their parts, operators, newlines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from podwire.kubelet.shell.syntax import Arith, Lit, Node, Part, Sub, Var, Word

OPERATORS = ("&&", "||", ";;", ">>", ">&", "<&", "<<", ";", "&", "|", "(", ")", "<", ">", "\n")
MAX_DEPTH = 30
_SPECIAL = "@*#?$!-"
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_PARAMETER_OPS = (":-", ":=", ":+", ":?", "##", "%%", "-", "=", "+", "?", "#", "%")


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


Subparser = Callable[[str, int, int], tuple[Node, int]]
"""(text, position after "$(", depth) -> tree and position after ")"."""


class Lexer:
    """Tokens on demand; ``$(...)`` is handed to the parser."""

    def __init__(self, text: str, parse_sub: Subparser, at: int = 0, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ShellSyntaxError("syntax error: nested too deep")
        self.text = text
        self.at = at
        self.depth = depth
        self._parse_sub = parse_sub
        self._documents: list[tuple[str, bool, bool, list[Part]]] = []

    def token(self) -> Token:
        """The next token."""
        self._skip_blanks()
        text = self.text
        if self.at >= len(text):
            if self._documents:
                raise _UNENDED
            return Token("EOF")
        fd = self._fd()
        for op in OPERATORS:
            if text.startswith(op, self.at):
                self.at += len(op)
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
            raise ShellSyntaxError("not modelled: <<<")
        stripped = self.text.startswith("-", self.at)
        self.at += stripped
        self._skip_blanks()
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
                inner = Lexer(f'"{quoted}"', self._parse_sub, depth=self.depth + 1)
                body.extend(inner.word(stop=""))
        self._documents.clear()

    # ------------------------------------------------------------------ words

    def _fd(self) -> int:
        text, at = self.text, self.at
        if text[at].isdigit() and text[at + 1 : at + 2] in {"<", ">"}:
            self.at += 1
            return int(text[at]) if text[at].isascii() else -1
        return -1

    def _skip_blanks(self) -> None:
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

        while self.at < len(self.text) and (c := self.text[self.at]) not in stop:
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
            raise ShellSyntaxError("not modelled: $'...'")
        if text.startswith("$((", at):
            return self._arithmetic(quoted=quoted)
        if text.startswith("$(", at):
            body, self.at = self._parse_sub(text, at + 2, self.depth + 1)
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
        body, _ = self._parse_sub("".join(inner) + ")", 0, self.depth + 1)
        return Sub(body, quoted)

    def _arithmetic(self, *, quoted: bool) -> Arith:
        start, depth, end = self.at + 3, 0, self.at + 3
        while end < len(self.text):
            if self.text.startswith("))", end) and depth == 0:
                break
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
        else:
            raise ShellSyntaxError("syntax error: missing '))'")
        inner = Lexer(self.text[start:end], self._parse_sub, depth=self.depth + 1)
        expression = inner.word(stop="")
        self.at = end + 2
        return Arith(expression, quoted)

    def _braced(self, *, quoted: bool) -> Var:
        at = self.at + 2
        if self.text.startswith("#", at) and (name := self._name(at + 1)):
            self._close(at + 1 + len(name))
            return Var(name, "#len", quoted=quoted)
        name = self._name(at) or self.text[at : at + 1]
        if not name or (name not in _SPECIAL and not set(name) <= _NAME):
            raise ShellSyntaxError("syntax error: bad substitution")
        at += len(name)
        for op in _PARAMETER_OPS:
            if self.text.startswith(op, at):
                self.at = at + len(op)
                if self.depth >= MAX_DEPTH:
                    raise ShellSyntaxError("syntax error: nested too deep")
                self.depth += 1
                arg = self.word(stop="}")
                self.depth -= 1
                self._close(self.at)
                return Var(name, op, arg, quoted)
        self._close(at)
        return Var(name, quoted=quoted)

    def _close(self, at: int) -> None:
        if not self.text.startswith("}", at):
            raise ShellSyntaxError("syntax error: bad substitution")
        self.at = at + 1
