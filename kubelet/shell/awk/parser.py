"""awk's grammar: rules and statements, as closures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from podwire.kubelet.shell.awk.closures import Expression, condition, string
from podwire.kubelet.shell.awk.expressions import Expressions
from podwire.kubelet.shell.awk.lexer import Token
from podwire.kubelet.shell.awk.machine import (
    Break,
    Continue,
    Exit,
    Function,
    Machine,
    NextRecord,
    Return,
)
from podwire.kubelet.shell.awk.values import UNSET, Input, number, sprintf, text

Statement = Callable[[Machine], None]
_NO_IN = 3
"""Tokens of ``NAME in NAME`` at the head of a for."""


@dataclass(slots=True)
class Rule:
    """``PATTERN { ACTION }``."""

    when: str
    """BEGIN, END or ""."""
    pattern: Expression | None
    until: Expression | None
    """The second pattern of a range."""
    body: Statement
    inside: bool = False
    """Whether a range has begun and not ended."""

    def applies(self, machine: Machine) -> bool:
        """Whether the present record is one of this rule's."""
        if self.until is None:
            return self.pattern is None or condition(self.pattern, machine)
        if not self.inside:
            assert self.pattern is not None, "a range has two patterns"
            if not condition(self.pattern, machine):
                return False
        self.inside = not condition(self.until, machine)
        return True


class Parser(Expressions):
    """Reads a whole program."""

    def program(self) -> list[Rule]:
        """The rules; functions land in ``functions``. Raises UsageError."""
        rules: list[Rule] = []
        self._ends()
        while self.token.kind != "end":
            if self.took("function"):
                self._function()
            else:
                rules.append(self._rule())
            self._ends()
        return rules

    def _ends(self) -> None:
        while self.took("\n", ";"):
            pass

    def _rule(self) -> Rule:
        if self.is_("BEGIN", "END"):
            self.at += 1
            return Rule(self.tokens[self.at - 1].word, None, None, self._block())
        pattern = until = None
        if not self.is_("{"):
            pattern = self.expression()
            if self.took(","):
                self.newlines()
                until = self.expression()
        return Rule("", pattern, until, self._block() if self.is_("{") else _print_record)

    def _function(self) -> None:
        name = self.name()
        self.take("(")
        parameters: list[str] = []
        self.newlines()
        while not self.took(")"):
            parameters.append(self.name())
            self.newlines()
            if not self.took(",") and not self.is_(")"):
                raise self.wrong()
            self.newlines()
        self.newlines()
        self.function = self.functions[name] = Function(parameters)
        self.function.body = self._block()
        self.function = None

    # ------------------------------------------------------------------ statements

    def _block(self) -> Statement:
        self.take("{")
        steps: list[Statement] = []
        self._ends()
        while not self.took("}"):
            steps.append(self._statement())
            self._ends()

        def run(m: Machine) -> None:
            for step in steps:
                step(m)

        return run

    def _body(self) -> Statement:
        """What an if or a loop runs; a lone ``;`` is nothing."""
        self.newlines()
        return _nothing if self.took(";") else self._statement()

    def _statement(self) -> Statement:
        self.deeper()
        try:
            return self._block() if self.is_("{") else self._one()
        finally:
            self.depth -= 1

    def _one(self) -> Statement:
        for word, read in (
            ("if", self._if), ("while", self._while), ("do", self._do), ("for", self._for),
        ):  # fmt: skip
            if self.took(word):
                return read()
        statement = self._simple()
        if not self.is_(";", "\n", "}") and self.token.kind != "end":
            raise self.wrong()
        self.took(";", "\n")
        return statement

    def _simple(self) -> Statement:
        if self.is_("print", "printf"):
            self.at += 1
            return self._print(self.tokens[self.at - 1].word)
        for word, jump in (("next", NextRecord), ("break", Break), ("continue", Continue)):
            if self.took(word):
                return _jump(jump)
        if self.took("exit"):
            code = self._optional()
            return lambda m: _exit(m, code)
        if self.took("return"):
            value = self._optional()
            return lambda m: _return(m, value)
        if self.took("delete"):
            return self._delete()
        expression = self.expression()

        def run(m: Machine) -> None:
            m.step()
            expression(m)

        return run

    def _optional(self) -> Expression | None:
        if self.is_(";", "}", "\n") or self.token.kind == "end":
            return None
        return self.expression()

    def _condition(self) -> Expression:
        self.take("(")
        found = self.expression()
        self.take(")")
        return found

    def _if(self) -> Statement:
        test = self._condition()
        yes = self._body()
        no: Statement = _nothing
        mark = self.at
        self._ends()
        if self.took("else"):
            no = self._body()
        else:
            self.at = mark
        return lambda m: yes(m) if condition(test, m) else no(m)

    def _while(self) -> Statement:
        test = self._condition()
        return _loop(test, self._body(), _nothing)

    def _do(self) -> Statement:
        body = self._body()
        self._ends()
        self.take("while")
        again = _loop(self._condition(), body, _nothing)

        def run(m: Machine) -> None:
            if _once(m, body):
                again(m)

        return run

    def _for(self) -> Statement:
        self.take("(")
        ahead = self.tokens[self.at : self.at + _NO_IN + 1]
        if [t.word for t in ahead[1::2]] == ["in", ")"] and ahead[0].kind == "name":
            return self._for_in()
        start = _nothing if self.is_(";") else self._simple()
        self.take(";")
        self.newlines()
        test = None if self.is_(";") else self.expression()
        self.take(";")
        self.newlines()
        after = _nothing if self.is_(")") else self._simple()
        self.take(")")
        loop = _loop(test, self._body(), after)

        def run(m: Machine) -> None:
            start(m)
            loop(m)

        return run

    def _for_in(self) -> Statement:
        place = self._scalar(self.name())
        self.take("in")
        array = self.array()
        self.take(")")
        body = self._body()

        def run(m: Machine) -> None:
            for key in list(array(m)):
                place.set(m, Input(key))
                if not _once(m, body):
                    return

        return run

    def _delete(self) -> Statement:
        array = self.array()
        if not self.took("["):
            return lambda m: array(m).clear()
        key = self.keys()

        def run(m: Machine) -> None:
            array(m).pop(string(key(m), m), None)

        return run

    # ------------------------------------------------------------------ print

    def _print(self, word: str) -> Statement:
        parts = self._printed()
        if word == "printf" and not parts:
            raise self.wrong()
        how, target = "", None
        if self.is_(">", ">>", "|"):
            how = self.token.word
            self.at += 1
            target = self._concatenation() if how == "|" else self._file()

        def run(m: Machine) -> None:
            m.step()
            values = [part(m) for part in parts]
            where = string(target(m), m) if target is not None else ""
            if word == "printf":
                m.print(sprintf(values), how, where)
                return
            form = text(m.values["OFMT"])
            shown = [text(value, form) for value in values] if values else [m.record]
            line = text(m.values["OFS"]).join(shown) + text(m.values["ORS"])
            m.print(line, how, where)

        return run

    def _printed(self) -> list[Expression]:
        if self.is_(";", "}", "\n", ">", ">>", "|") or self.token.kind == "end":
            return []
        mark = self.at
        if self.took("("):
            parts = self._listed(no_greater=False)
            after = self.tokens[self.at + 1]
            closed = self.is_(")") and (
                after.kind == "end"
                or after in [Token("op", word) for word in (";", "}", "\n", ">", ">>", "|")]
            )
            if closed:
                self.at += 1
                return parts
            self.at = mark
        return self._listed(no_greater=True)

    def _listed(self, *, no_greater: bool) -> list[Expression]:
        self.newlines()
        parts = [self.expression(no_greater=no_greater)]
        while self.took(","):
            self.newlines()
            parts.append(self.expression(no_greater=no_greater))
        return parts


def _nothing(_m: Machine) -> None:
    """The empty statement."""


def _print_record(m: Machine) -> None:
    m.print(m.record + text(m.values["ORS"]), "", "")


def _jump(kind: type[Exception]) -> Statement:
    def run(_m: Machine) -> None:
        raise kind

    return run


def _exit(m: Machine, code: Expression | None) -> None:
    raise Exit(int(number(code(m))) if code is not None else None)


def _return(m: Machine, value: Expression | None) -> None:
    raise Return(value(m) if value is not None else UNSET)


def _once(m: Machine, body: Statement) -> bool:
    """Run a loop's body: False after ``break``."""
    m.step()
    try:
        body(m)
    except Continue:
        return True
    except Break:
        return False
    return True


def _loop(test: Expression | None, body: Statement, after: Statement) -> Statement:
    def run(m: Machine) -> None:
        while test is None or condition(test, m):
            if not _once(m, body):
                return
            after(m)

    return run
