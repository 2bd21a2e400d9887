"""Tokens to a tree (the POSIX grammar)."""

from __future__ import annotations

from podwire.kubelet.shell.lexer import MAX_DEPTH, Lexer, ShellSyntaxError, Token
from podwire.kubelet.shell.syntax import (
    AndOr,
    Case,
    For,
    Function,
    Group,
    If,
    Lit,
    Node,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    While,
    Word,
)

_REDIRECTS = (">", ">>", "<", ">&", "<&", "<<")
_CLOSERS = ("then", "else", "elif", "fi", "do", "done", "esac", "}")


def parse(text: str) -> Node:
    """The tree of a script. Raises ShellSyntaxError."""
    parser = _Parser(text)
    node = parser.sequence()
    if parser.token.op != "EOF":
        raise parser.unexpected()
    return node


def _parse_sub(text: str, at: int, depth: int) -> tuple[Node, int]:
    parser = _Parser(text, at, depth)
    node = parser.sequence()
    if parser.token.op != ")":
        raise ShellSyntaxError('syntax error: unexpected end of file (expecting ")")')
    return node, parser.lexer.at


class _Parser:
    def __init__(self, text: str, at: int = 0, depth: int = 0) -> None:
        self.lexer = Lexer(text, _parse_sub, at, depth)
        self.depth = depth
        self.token: Token = self.lexer.token()

    # ------------------------------------------------------------------ helpers

    def advance(self) -> None:
        self.token = self.lexer.token()

    def unexpected(self) -> ShellSyntaxError:
        token = self.token
        if token.op == "EOF":
            return ShellSyntaxError("syntax error: unexpected end of file")
        text = token.op or token.plain() or "word"
        shown = "newline" if text == "\n" else f'"{text}"'
        return ShellSyntaxError(f"syntax error: unexpected {shown}")

    def _at(self, op: str) -> bool:
        return self.token.op == op

    def keyword(self, *words: str) -> bool:
        return self.token.plain() in words

    def expect(self, word: str) -> None:
        if not self.keyword(word):
            raise self.unexpected()
        self.advance()

    def newlines(self) -> None:
        while self.token.op == "\n":
            self.advance()

    # ------------------------------------------------------------------ grammar

    def sequence(self) -> Sequence:
        """Commands until a closing token."""
        self.depth += 1
        if self.depth > MAX_DEPTH * 3:
            raise ShellSyntaxError("syntax error: nested too deep")
        items: list[tuple[Node, bool]] = []
        self.newlines()
        while self.token.op not in {"EOF", ")", ";;"} and not self.keyword(*_CLOSERS):
            node = self.and_or()
            background = self.token.op == "&"
            items.append((node, background))
            if self.token.op not in {";", "&", "\n"}:
                break
            self.advance()
            self.newlines()
        self.depth -= 1
        return Sequence(tuple(items))

    def and_or(self) -> Node:
        first = self.pipeline()
        rest: list[tuple[str, Node]] = []
        while self.token.op in {"&&", "||"}:
            op = self.token.op
            self.advance()
            self.newlines()
            rest.append((op, self.pipeline()))
        return AndOr(first, tuple(rest)) if rest else first

    def pipeline(self) -> Node:
        negated = False
        while self.keyword("!"):
            negated = not negated
            self.advance()
        commands = [self.command()]
        while self.token.op == "|":
            self.advance()
            self.newlines()
            commands.append(self.command())
        if len(commands) == 1 and not negated:
            return commands[0]
        return Pipeline(tuple(commands), negated)

    def command(self) -> Node:
        if self.token.op == "(":
            self.advance()
            body = self.sequence()
            if self.token.op != ")":
                raise self.unexpected()
            self.advance()
            return Group(body, subshell=True, redirects=self.redirects())
        compounds = {
            "{": self.braces, "if": self.if_, "for": self.for_, "while": self.while_,
            "until": self.while_, "case": self.case,
        }  # fmt: skip
        compound = compounds.get(self.token.plain() or "")
        if compound is None:
            return self.simple()
        node = compound()
        redirects = self.redirects()
        return Group(node, redirects=redirects) if redirects else node

    def braces(self) -> Node:
        self.advance()
        body = self.sequence()
        self.expect("}")
        return Group(body, redirects=self.redirects())

    def if_(self) -> Node:
        branches: list[tuple[Node, Node]] = []
        otherwise: Node = Sequence()
        while True:
            self.advance()
            condition = self.sequence()
            self.expect("then")
            branches.append((condition, self.sequence()))
            if self.keyword("elif"):
                continue
            if self.keyword("else"):
                self.advance()
                otherwise = self.sequence()
            self.expect("fi")
            return If(tuple(branches), otherwise)

    def for_(self) -> Node:
        self.advance()
        name = self.token.plain()
        if not name or not name.isidentifier():
            raise ShellSyntaxError("syntax error: bad for loop variable")
        self.advance()
        self.newlines()
        words: list[Word] | None = None
        if self.keyword("in"):
            self.advance()
            words = []
            while not self.token.op:
                words.append(self.token.word)
                self.advance()
        if self.token.op == ";":
            self.advance()
        self.newlines()
        self.expect("do")
        body = self.sequence()
        self.expect("done")
        return For(name, None if words is None else tuple(words), body)

    def while_(self) -> Node:
        until = self.keyword("until")
        self.advance()
        condition = self.sequence()
        self.expect("do")
        body = self.sequence()
        self.expect("done")
        return While(condition, body, until)

    def case(self) -> Node:
        self.advance()
        if self.token.op:
            raise self.unexpected()
        word = self.token.word
        self.advance()
        self.newlines()
        self.expect("in")
        self.newlines()
        arms: list[tuple[tuple[Word, ...], Node]] = []
        while not self.keyword("esac"):
            arms.append(self._arm())
        self.advance()
        return Case(word, tuple(arms))

    def _arm(self) -> tuple[tuple[Word, ...], Node]:
        if self.token.op == "(":
            self.advance()
        patterns: list[Word] = []
        while True:
            if self.token.op:
                raise self.unexpected()
            patterns.append(self.token.word)
            self.advance()
            if not self._at("|"):
                break
            self.advance()
        if not self._at(")"):
            raise self.unexpected()
        self.advance()
        body = self.sequence()
        if self._at(";;"):
            self.advance()
            self.newlines()
        elif not self.keyword("esac"):
            raise self.unexpected()
        return tuple(patterns), body

    def redirects(self) -> tuple[Redirect, ...]:
        found: list[Redirect] = []
        while self.token.op in _REDIRECTS:
            found.append(self._redirect())
        return tuple(found)

    def _redirect(self) -> Redirect:
        op, fd, document = self.token.op, self.token.fd, self.token.document
        self.advance()
        if document is not None:
            return Redirect(max(fd, 0), op, document)
        if self.token.op:
            raise self.unexpected()
        target = self.token.word
        self.advance()
        return Redirect(fd if fd >= 0 else int(op[0] == ">"), op, target)

    def simple(self) -> Node:
        words: list[Word] = []
        assignments: list[tuple[str, Word]] = []
        redirects: list[Redirect] = []
        while True:
            if self.token.op in _REDIRECTS:
                redirects.append(self._redirect())
                continue
            if self.token.op == "(" and len(words) == 1 and not assignments and not redirects:
                return self._function(words[0])
            if self.token.op:
                break
            assigned = None if words else _assignment(self.token.word)
            if assigned is not None:
                assignments.append(assigned)
            else:
                words.append(self.token.word)
            self.advance()
        if not words and not assignments and not redirects:
            raise self.unexpected()
        return Simple(tuple(words), tuple(assignments), tuple(redirects))

    def _function(self, word: Word) -> Node:
        name = Token("", word).plain()
        self.advance()
        if self.token.op != ")" or not name or not name.replace("-", "_").isidentifier():
            raise self.unexpected()
        self.advance()
        self.newlines()
        return Function(name, self.command())


def _assignment(word: Word) -> tuple[str, Word] | None:
    if not word or not isinstance(word[0], Lit) or word[0].quoted:
        return None
    name, equals, value = word[0].text.partition("=")
    if not equals or not name.isidentifier() or not name.isascii():
        return None
    rest = word[1:]
    return name, ((Lit(value), *rest) if value else rest)
