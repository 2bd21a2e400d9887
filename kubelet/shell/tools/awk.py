"""awk, as far as pipelines use it: patterns, print, printf, variables, if; the rest says so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.printf import FORMAT

Value = str | float
_TOKEN = re.compile(
    r'[ \t]*(?:(\\\n)|(#[^\n]*)|("(?:\\.|[^"\\])*")|(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)'
    r"|([A-Za-z_]\w*)|(\+\+|--|\+=|-=|\*=|/=|%=|==|!=|<=|>=|&&|\|\||!~|[-+*%^<>=!~(){}\[\],;$?:\n])"
    r"|(/))"
)
_FUNCTIONS = ("length", "substr", "index", "tolower", "toupper", "int", "sprintf", "sqrt")
_LACKING = (
    "for", "while", "do", "function", "getline", "split", "sub", "gsub", "match", "system",
    "delete", "in", "close", "srand", "rand", "break", "continue", "return",
)  # fmt: skip
MAX_PROGRAM_CHARS = 16 * 1024
MAX_DEPTH = 40


class _Next(Exception):  # noqa: N818  a jump
    """``next``."""


class _Exit(Exception):  # noqa: N818  a jump
    """``exit [CODE]``."""


@dataclass(slots=True)
class _State:
    variables: dict[str, Value] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    record: str = ""
    out: Callable[[str], None] = print


Expression = Callable[[_State], Value]
Statement = Callable[[_State], None]


def _number(value: Value) -> float:
    if isinstance(value, float):
        return value
    found = re.match(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value)
    return float(found[0]) if found else 0.0


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return f"{value:.6g}"


def _numeric(value: Value) -> bool:
    return isinstance(value, float) or bool(
        re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", value)
    )


def _truth(value: Value) -> bool:
    return _number(value) != 0 if _numeric(value) else bool(value)


class _Input(str):
    """Text that was read: it compares as a number when it looks like one."""

    __slots__ = ()


class _Parser:
    """Builds closures; precedence from low to high in ``_ternary`` .. ``_primary``."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PROGRAM_CHARS:
            raise UsageError("not modelled: a program of this size", 2)
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind = self.word = ""
        self.advance()

    # ------------------------------------------------------------------ tokens

    def advance(self) -> None:
        while True:
            found = _TOKEN.match(self.text, self.at)
            if found is None:
                if self.text[self.at :].strip(" \t"):
                    raise self.wrong(self.text[self.at :][:10])
                self.kind, self.word = "end", ""
                return
            self.at = found.end()
            if found[1] or found[2]:
                continue
            kinds = ("string", "number", "name", "op", "slash")
            for i, kind in enumerate(kinds, 3):
                if found[i] is not None:
                    self.kind, self.word = kind, found[i]
            return

    def wrong(self, near: str) -> UsageError:
        return UsageError(f"not modelled or a syntax error near {near!r}", 2)

    def is_(self, *words: str) -> bool:
        return self.kind == "op" and self.word in words

    def take(self, word: str) -> None:
        if not self.is_(word):
            raise self.wrong(self.word or "the end")
        self.advance()

    def skip(self, *words: str) -> None:
        while self.is_(*words):
            self.advance()

    # ------------------------------------------------------------------ statements

    def program(self) -> list[tuple[str, Expression | None, Statement]]:
        rules: list[tuple[str, Expression | None, Statement]] = []
        self.skip("\n", ";")
        while self.kind != "end":
            when, pattern = "", None
            if self.kind == "name" and self.word in {"BEGIN", "END"}:
                when = self.word
                self.advance()
            elif not self.is_("{"):
                pattern = self.expression()
                if self.is_(","):
                    raise UsageError("not modelled: a range of patterns", 2)
            body = self.block() if self.is_("{") else _print_record
            rules.append((when, pattern, body))
            self.skip("\n", ";")
        return rules

    def block(self) -> Statement:
        self.take("{")
        steps: list[Statement] = []
        self.skip("\n", ";")
        while not self.is_("}"):
            steps.append(self.statement())
            if not self.is_("}"):
                if not self.is_(";", "\n") and self.kind == "end":
                    raise self.wrong("the end")
                self.skip(";", "\n")
        self.advance()

        def run(state: _State) -> None:
            for step in steps:
                step(state)

        return run

    def statement(self) -> Statement:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError("not modelled: nested this deep", 2)
        try:
            return self._statement()
        finally:
            self.depth -= 1

    def _statement(self) -> Statement:
        if self.is_("{"):
            return self.block()
        word = self.word if self.kind == "name" else ""
        if word in {"print", "printf"}:
            self.advance()
            return self._print(word)
        if word == "if":
            return self._if()
        if word == "next":
            self.advance()
            return _next
        if word == "exit":
            self.advance()
            code = None if self.is_(";", "}", "\n") or self.kind == "end" else self.expression()
            return lambda state: _exit(state, code)
        value = self.expression()

        def run(state: _State) -> None:
            value(state)

        return run

    def _if(self) -> Statement:
        self.advance()
        self.take("(")
        condition = self.expression()
        self.take(")")
        self.skip("\n")
        yes = self.statement()
        mark = (self.at, self.kind, self.word)
        self.skip(";", "\n")
        no: Statement | None = None
        if self.kind == "name" and self.word == "else":
            self.advance()
            self.skip("\n")
            no = self.statement()
        else:
            self.at, self.kind, self.word = mark

        def run(state: _State) -> None:
            if _truth(condition(state)):
                yes(state)
            elif no is not None:
                no(state)

        return run

    def _print(self, word: str) -> Statement:
        parts: list[Expression] = []
        if not (self.is_(";", "}", "\n") or self.kind == "end"):
            parts.append(self.expression(printing=True))
            while self.is_(","):
                self.advance()
                parts.append(self.expression(printing=True))
        if self.is_(">"):
            raise UsageError("not modelled: redirections inside awk", 2)
        if word == "printf":
            if not parts:
                raise self.wrong(word)
            return lambda state: state.out(_sprintf([part(state) for part in parts]))

        def run(state: _State) -> None:
            gap, end = _text(state.variables["OFS"]), _text(state.variables["ORS"])
            shown = [_text(part(state)) for part in parts] if parts else [state.record]
            state.out(gap.join(shown) + end)

        return run

    # ------------------------------------------------------------------ expressions

    def expression(self, *, printing: bool = False) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError("not modelled: nested this deep", 2)
        try:
            return self._assignment(printing)
        finally:
            self.depth -= 1

    def _assignment(self, printing: bool) -> Expression:
        before = (self.at, self.kind, self.word)
        if self.kind == "name" and self.word not in (*_FUNCTIONS, *_LACKING):
            name = self.word
            self.advance()
            if self.is_("=", "+=", "-=", "*=", "/=", "%="):
                op = self.word
                self.advance()
                value = self.expression(printing=printing)
                return lambda state: _assign(state, name, op, value)
            if self.is_("++", "--"):
                op = self.word
                self.advance()
                return lambda state: _count(state, name, op)
            self.at, self.kind, self.word = before
        return self._ternary(printing)

    def _ternary(self, printing: bool) -> Expression:
        condition = self._or(printing)
        if not self.is_("?"):
            return condition
        self.advance()
        yes = self.expression(printing=printing)
        self.take(":")
        no = self.expression(printing=printing)
        return lambda state: yes(state) if _truth(condition(state)) else no(state)

    def _or(self, printing: bool) -> Expression:
        left = self._and(printing)
        while self.is_("||"):
            self.advance()
            a, b = left, self._and(printing)
            left = lambda state, a=a, b=b: float(_truth(a(state)) or _truth(b(state)))  # type: ignore[misc]  # noqa: E731
        return left

    def _and(self, printing: bool) -> Expression:
        left = self._match(printing)
        while self.is_("&&"):
            self.advance()
            a, b = left, self._match(printing)
            left = lambda state, a=a, b=b: float(_truth(a(state)) and _truth(b(state)))  # type: ignore[misc]  # noqa: E731
        return left

    def _match(self, printing: bool) -> Expression:
        left = self._comparison(printing)
        if not self.is_("~", "!~"):
            return left
        wanted = self.word == "~"
        self.advance()
        if self.kind == "slash":
            pattern = self.regex()
            return lambda state: float(bool(pattern.search(_text(left(state)))) == wanted)
        right = self._comparison(printing)
        return lambda state: float(
            bool(_compiled(_text(right(state))).search(_text(left(state)))) == wanted
        )

    def _comparison(self, printing: bool) -> Expression:
        left = self._concatenation()
        if not self.is_("<", "<=", "==", "!=", ">=", ">") or (printing and self.is_(">")):
            return left
        op = self.word
        self.advance()
        right = self._concatenation()
        return lambda state: float(_compare(left(state), right(state), op))

    def _concatenation(self) -> Expression:
        parts = [self._sum()]
        while (
            self.kind in {"string", "number"}
            or self.is_("$", "(", "!")
            or (self.kind == "name" and self.word not in {"else", "in"})
        ):
            parts.append(self._sum())
        if len(parts) == 1:
            return parts[0]
        return lambda state: "".join(_text(part(state)) for part in parts)

    def _sum(self) -> Expression:
        return self._chain(self._product, ("+", "-"))

    def _product(self) -> Expression:
        return self._chain(self._unary, ("*", "/", "%"))

    def _chain(self, lower: Callable[[], Expression], ops: tuple[str, ...]) -> Expression:
        left = lower()
        while self.is_(*ops) or (self.kind == "slash" and "/" in ops):
            op = self.word
            self.advance()
            left = _calculation(op, left, lower())
        return left

    def _unary(self) -> Expression:
        if self.is_("!"):
            self.advance()
            inner = self._unary()
            return lambda state: float(not _truth(inner(state)))
        if self.is_("-", "+"):
            sign = -1.0 if self.word == "-" else 1.0
            self.advance()
            inner = self._unary()
            return lambda state: sign * _number(inner(state))
        return self._primary()

    def _primary(self) -> Expression:
        kind, word = self.kind, self.word
        if kind == "slash":
            pattern = self.regex()
            return lambda state: float(bool(pattern.search(state.record)))
        self.advance()
        if kind == "number":
            number = float(word)
            return lambda _state: number
        if kind == "string":
            text = _unescaped(word[1:-1])
            return lambda _state: text
        if kind == "op" and word == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if kind == "op" and word == "$":
            index = self._primary()
            return lambda state: _field(state, int(_number(index(state))))
        if kind == "name" and word in _FUNCTIONS:
            return self._call(word)
        if kind == "name" and word not in _LACKING:
            if self.is_("["):
                raise UsageError("not modelled: arrays", 2)
            if self.is_("("):
                raise UsageError(f"not modelled: {word}()", 2)
            return lambda state: state.variables.get(word, "")
        if word in _LACKING:
            raise UsageError(f"not modelled: {word}", 2)
        raise self.wrong(word or "the end")

    def _call(self, name: str) -> Expression:
        args: list[Expression] = []
        if self.is_("("):
            self.advance()
            while not self.is_(")"):
                args.append(self.expression())
                if not self.is_(","):
                    break
                self.advance()
            self.take(")")
        return lambda state: _call(state, name, [arg(state) for arg in args])

    def regex(self) -> re.Pattern[str]:
        """What stands between slashes; the first was just read."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] != "/":
            self.at += 2 if self.text[self.at] == "\\" else 1
        pattern = self.text[start : self.at].replace("\\/", "/")
        self.at += 1
        self.advance()
        return _compiled(pattern)


def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = re.sub(
        r"\[:(alpha|digit|alnum|space|upper|lower):\]",
        lambda m: {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "space": r"\s",
                   "upper": "A-Z", "lower": "a-z"}[m[1]],
        pattern,
    )  # fmt: skip
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"not modelled: regular expression {pattern!r} ({error})", 2) from None


def _unescaped(text: str) -> str:
    named = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "/": "/", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: named.get(m[1], m[0]), text)


def _calculation(op: str, a: Expression, b: Expression) -> Expression:
    def run(state: _State) -> Value:
        x, y = _number(a(state)), _number(b(state))
        if op in "/%" and y == 0:
            raise UsageError("division by zero", 2)
        if op == "%":
            return math.fmod(x, y)
        return {"+": x + y, "-": x - y, "*": x * y}[op] if op != "/" else x / y

    return run


def _compare(a: Value, b: Value, op: str) -> bool:
    numbers = (
        (
            (isinstance(a, float) or (isinstance(a, _Input) and _numeric(a)))
            and (isinstance(b, float) or (isinstance(b, _Input) and _numeric(b)))
        )
        or (a == "" and isinstance(b, float))
        or (b == "" and isinstance(a, float))
    )
    x: float | str
    y: float | str
    x, y = (_number(a), _number(b)) if numbers else (_text(a), _text(b))
    less, same = x < y, x == y  # type: ignore[operator]
    return {"<": less, "<=": less or same, "==": same, "!=": not same, ">": not (less or same),
            ">=": not less}[op]  # fmt: skip


def _field(state: _State, index: int) -> Value:
    if index == 0:
        return _Input(state.record)
    if index < 0:
        raise UsageError(f"attempt to access field {index}", 2)
    return _Input(state.fields[index - 1]) if index <= len(state.fields) else ""


def _assign(state: _State, name: str, op: str, value: Expression) -> Value:
    new = value(state)
    if op != "=":
        old = _number(state.variables.get(name, ""))
        new = _calculation(op[0], lambda _s: old, lambda _s: new)(state)
    state.variables[name] = new
    return new


def _count(state: _State, name: str, op: str) -> Value:
    old = _number(state.variables.get(name, ""))
    state.variables[name] = old + (1 if op == "++" else -1)
    return old


def _call(state: _State, name: str, args: list[Value]) -> Value:
    texts = [_text(arg) for arg in args]
    if name == "length":
        return float(len(texts[0] if texts else state.record))
    if not args or (name == "index" and len(args) != 2):
        raise UsageError(f"wrong arguments of {name}()", 2)
    if name == "substr":
        start = round(_number(args[1])) if len(args) > 1 else 1
        end = start + round(_number(args[2])) if len(args) > 2 else len(texts[0]) + 1
        return texts[0][max(start, 1) - 1 : max(end - 1, 0)]
    if name == "index":
        return float(texts[0].find(texts[1]) + 1)
    if name == "int":
        return float(int(_number(args[0])))
    if name == "sqrt":
        return math.sqrt(max(_number(args[0]), 0.0))
    if name == "sprintf":
        return _sprintf(args)
    return texts[0].lower() if name == "tolower" else texts[0].upper()


def _sprintf(args: list[Value]) -> str:
    left = list(args[1:])

    def fill(found: re.Match[str]) -> str:
        spec = found[1]
        if spec == "%":
            return "%"
        value = left.pop(0) if left else ""
        if spec[-1] in "sb":
            return ("%" + spec[:-1] + "s") % _text(value)
        if spec[-1] == "c":
            return _text(value)[:1]
        if spec[-1] == "f":
            return ("%" + spec) % _number(value)
        return ("%" + spec.replace("u", "d")) % int(_number(value))

    return FORMAT.sub(fill, _text(args[0]))


def _print_record(state: _State) -> None:
    state.out(state.record + _text(state.variables["ORS"]))


def _next(_state: _State) -> None:
    raise _Next


def _exit(state: _State, code: Expression | None) -> None:
    raise _Exit(int(_number(code(state))) if code is not None else 0)


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if not line:
        return []
    return line.split(separator) if len(separator) == 1 else _compiled(separator).split(line)


async def run(command: Command) -> int:
    """``awk [-F SEPARATOR] [-v NAME=VALUE] 'PROGRAM' [FILE...]``."""
    variables: dict[str, Value] = {"FS": " ", "OFS": " ", "ORS": "\n", "NR": 0.0, "NF": 0.0}
    args = list(command.args)
    while args and args[0].startswith("-") and len(args[0]) > 1:
        arg = args.pop(0)
        if arg == "--":
            break
        value = arg[2:] or (args.pop(0) if args else "")
        if arg[:2] == "-F":
            variables["FS"] = "\t" if value == "t" else _unescaped(value)
        elif arg[:2] == "-v" and "=" in value:
            name, _, text = value.partition("=")
            variables[name] = _Input(_unescaped(text))
        else:
            raise UsageError(f"not modelled: option {arg}", 2)
    if not args:
        command.err("usage: awk [-F fs][-v var=value] 'prog' [file ...]\n")
        return 2
    rules = _Parser(args[0]).program()
    state = _State(variables, out=command.out)
    code = 0
    try:
        for when, _, body in rules:
            if when == "BEGIN":
                body(state)
        if any(when != "BEGIN" for when, _, _ in rules):
            for _, data in await command.inputs(args[1:]):
                _records(state, rules, data.decode(errors="surrogateescape"))
    except _Exit as ended:
        code = int(ended.args[0])
    for when, _, body in rules:
        if when == "END":
            try:
                body(state)
            except _Exit as ended:
                return int(ended.args[0])
    return code


def _records(
    state: _State, rules: list[tuple[str, Expression | None, Statement]], text: str
) -> None:
    for line in text.splitlines():
        state.record = line
        state.fields = _split(line, _text(state.variables["FS"]))
        state.variables["NR"] = _number(state.variables["NR"]) + 1
        state.variables["NF"] = float(len(state.fields))
        try:
            for when, pattern, body in rules:
                if not when and (pattern is None or _truth(pattern(state))):
                    body(state)
        except _Next:
            continue
