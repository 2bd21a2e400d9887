"""Tokens to a tree (the POSIX grammar)."""

from __future__ import annotations

from dataclasses import replace

from podwire.kubelet.shell.lexer import (
    BASH,
    MAX_DEPTH,
    POSIX,
    Lexer,
    ShellSyntaxError,
    Token,
)
from podwire.kubelet.shell.syntax import (
    AndOr,
    ArithCommand,
    Assign,
    Case,
    Condition,
    Counting,
    For,
    Function,
    Group,
    If,
    Lit,
    Node,
    Part,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    Timed,
    While,
    Word,
)

_REDIRECTS = (">", ">>", "<", ">&", "<&", "<<", ">|", "<<<", "&>", "&>>")
_DECLARATIONS = ("declare", "typeset", "local", "readonly", "export")
_UNARY = (
    "-a", "-b", "-c", "-d", "-e", "-f", "-g", "-h", "-k", "-n", "-o", "-p", "-r", "-s", "-t", "-u",
    "-v", "-w", "-x", "-z", "-L", "-O", "-G", "-S",
)  # fmt: skip
_BINARY = (
    "=", "==", "!=", "=~", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef",
)  # fmt: skip
_CLOSERS = ("then", "else", "elif", "fi", "do", "done", "esac", "}")


def parse(text: str, dialect: str = POSIX) -> Node:
    """The tree of a script in the words of dash, busybox or bash. Raises ShellSyntaxError."""
    parser = _Parser(text, dialect=dialect)
    node = parser.sequence()
    if parser.token.op != "EOF":
        raise parser.unexpected()
    return node


def _parse_sub(text: str, at: int, depth: int, dialect: str) -> tuple[Node, int]:
    parser = _Parser(text, at, depth, dialect)
    node = parser.sequence()
    if parser.token.op != ")":
        raise ShellSyntaxError('syntax error: unexpected end of file (expecting ")")')
    return node, parser.lexer.at


class _Parser:
    def __init__(self, text: str, at: int = 0, depth: int = 0, dialect: str = POSIX) -> None:
        self.lexer = Lexer(text, _parse_sub, at, depth, dialect)
        self.dialect = dialect
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
        if self.dialect == BASH and self.keyword("time"):
            self.advance()
            return Timed(self.pipeline())
        negated = False
        while self.keyword("!"):
            negated = not negated
            self.advance()
        commands = [self.command()]
        while self.token.op in {"|", "|&"}:
            if self.token.op == "|&":
                raise ShellSyntaxError("not modelled: |&")
            self.advance()
            self.newlines()
            commands.append(self.command())
        if len(commands) == 1 and not negated:
            return commands[0]
        return Pipeline(tuple(commands), negated)

    def command(self) -> Node:
        if self.token.op == "(":
            if self._doubled():
                return Group(ArithCommand(self._arithmetic()), redirects=self.redirects())
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
        if self.dialect != POSIX:
            compounds |= {"[[": self._condition, "function": self._named_function}
        if self.dialect == BASH and self.keyword("select", "coproc"):
            raise ShellSyntaxError(f"not modelled: {self.token.plain()}")
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

    def _doubled(self) -> bool:
        """Whether bash's ``((`` stands here."""
        return self.dialect == BASH and self.lexer.text.startswith("(", self.lexer.at)

    def _arithmetic(self) -> Word:
        self.lexer.at += 1
        expression = self.lexer.double()
        self.advance()
        return expression

    def _counting(self) -> Node:
        """``for ((...; ...; ...))``."""
        self.lexer.at += 1
        start = self.lexer.at
        self.lexer.double()
        pieces = self.lexer.text[start : self.lexer.at - 2].split(";")
        if len(pieces) != 3:
            raise ShellSyntaxError("syntax error: arithmetic expression required")
        self.advance()
        if self.token.op == ";":
            self.advance()
        self.newlines()
        closing = "}" if self.keyword("{") else "done"
        self.expect("{" if closing == "}" else "do")
        body = self.sequence()
        self.expect(closing)
        first, condition, each = (self.lexer.whole(piece.strip()) for piece in pieces)
        return Counting(first, condition, each, body)

    def _condition(self) -> Node:
        """``[[ ... ]]``."""
        self.advance()
        found = self._either()
        self.expect("]]")
        return found

    def _either(self) -> Condition:
        found = self._both()
        while self.token.op == "||":
            self.advance()
            self.newlines()
            found = Condition("||", parts=(found, self._both()))
        return found

    def _both(self) -> Condition:
        found = self._one()
        while self.token.op == "&&":
            self.advance()
            self.newlines()
            found = Condition("&&", parts=(found, self._one()))
        return found

    def _one(self) -> Condition:
        self.newlines()
        if self.keyword("!"):
            self.advance()
            return Condition("!", parts=(self._one(),))
        if self.token.op == "(":
            self.advance()
            found = self._either()
            if self.token.op != ")":
                raise self.unexpected()
            self.advance()
            return found
        operator, left = self.token.plain(), self._operand()
        if operator in _UNARY and not self.token.op and not self.keyword("]]", *_BINARY):
            return Condition(operator, (self._operand(),))
        op = self.token.op or self.token.plain() or ""
        if op not in {"<", ">", *_BINARY}:
            return Condition("", (left,))
        if op == "=~":
            self.lexer.skip_blanks()
            pattern = self.lexer.word(stop=" \t\r\n")
            self.advance()
            return Condition(op, (left, pattern))
        self.advance()
        return Condition(op, (left, self._operand()))

    def _operand(self) -> Word:
        if self.token.op or self.keyword("]]"):
            raise self.unexpected()
        word = self.token.word
        self.advance()
        return word

    def _named_function(self) -> Node:
        """``function NAME [()] BODY``."""
        self.advance()
        name = self.token.plain()
        if not name:
            raise self.unexpected()
        self.advance()
        if self.token.op == "(":
            self.advance()
            if self.token.op != ")":
                raise self.unexpected()
            self.advance()
        self.newlines()
        return Function(name, self.command())

    def for_(self) -> Node:
        self.advance()
        if self.token.op == "(" and self._doubled():
            return self._counting()
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
            found += self._redirect()
        return tuple(found)

    def _redirect(self) -> list[Redirect]:
        op, fd, document = self.token.op, self.token.fd, self.token.document
        self.advance()
        if document is not None:
            return [Redirect(max(fd, 0), op, document)]
        if self.token.op:
            raise self.unexpected()
        target = self.token.word
        self.advance()
        if op[0] == "&":  # &>FILE is >FILE 2>&1
            return [Redirect(1, op[1:], target), Redirect(2, ">&", (Lit("1"),))]
        op = ">" if op == ">|" else op
        return [Redirect(fd if fd >= 0 else int(op[0] == ">"), op, target)]

    def simple(self) -> Node:
        words: list[Word] = []
        assignments: list[Assign] = []
        after: list[Assign] = []
        redirects: list[Redirect] = []
        while True:
            if self.token.op in _REDIRECTS:
                redirects += self._redirect()
                continue
            if self.token.op == "(" and self.dialect == BASH:
                if not words and assignments and not assignments[-1].value:
                    assignments[-1] = replace(assignments[-1], elements=self._elements())
                    continue
                declared = _declared(words)
                if declared is not None:
                    words[-1] = (Lit(declared.name),)
                    after.append(replace(declared, elements=self._elements()))
                    continue
            if self.token.op == "(" and len(words) == 1 and not assignments and not redirects:
                return self._function(words[0])
            if self.token.op:
                break
            assigned = None if words else _assignment(self.token.word, self.dialect)
            if assigned is not None:
                assignments.append(assigned)
            else:
                words.append(self.token.word)
            self.advance()
        if not words and not assignments and not redirects:
            raise self.unexpected()
        return Simple(tuple(words), tuple(assignments), tuple(redirects), tuple(after))

    def _elements(self) -> tuple[Word, ...]:
        """``(WORD...)`` of an array."""
        self.advance()
        found: list[Word] = []
        while self.token.op != ")":
            if self.token.op not in {"", "\n"}:
                raise self.unexpected()
            if not self.token.op:
                found.append(self.token.word)
            self.advance()
        self.advance()
        return tuple(found)

    def _function(self, word: Word) -> Node:
        name = Token("", word).plain()
        self.advance()
        if self.token.op != ")" or not name or not name.replace("-", "_").isidentifier():
            raise self.unexpected()
        self.advance()
        self.newlines()
        return Function(name, self.command())


def _declared(words: list[Word]) -> Assign | None:
    """``declare NAME=`` before a parenthesis."""
    if len(words) < 2 or Token("", words[0]).plain() not in _DECLARATIONS:
        return None
    found = _assignment(words[-1], BASH)
    return found if found is not None and not found.value and found.index is None else None


def _assignment(word: Word, dialect: str) -> Assign | None:
    if not word or not isinstance(word[0], Lit) or word[0].quoted:
        return None
    text = word[0].text
    size = len(text)
    for at, letter in enumerate(text):
        if letter in "[=+":
            size = at
            break
    name, rest = text[:size], text[size:]
    if not name.isidentifier() or not name.isascii():
        return None
    if rest.startswith("=") or (rest.startswith("+=") and dialect == BASH):
        append = rest[0] == "+"
        value = rest[1 + append :]
        return Assign(name, ((Lit(value), *word[1:]) if value else word[1:]), append=append)
    return _indexed(name, word, size) if rest.startswith("[") and dialect == BASH else None


def _indexed(name: str, word: Word, size: int) -> Assign | None:
    """``NAME[INDEX]=VALUE``: the index may have parts of its own."""
    index: list[Part] = []
    for at, part in enumerate(word):
        text = part.text if isinstance(part, Lit) else ""
        if at == 0:
            text = text[size + 1 :]
        if not isinstance(part, Lit) or part.quoted:
            index.append(part)
            continue
        inner, closed, rest = text.partition("]")
        if inner:
            index.append(Lit(inner))
        if not closed:
            continue
        append = rest.startswith("+=")
        if not append and not rest.startswith("="):
            return None
        value = rest[1 + append :]
        after = word[at + 1 :]
        return Assign(name, ((Lit(value), *after) if value else after), tuple(index), append)
    return None
