"""awk's grammar: expressions, from low to high precedence (``ternary`` .. ``primary``)."""

from __future__ import annotations

from collections.abc import Callable

from podwire.kubelet.shell.awk import closures
from podwire.kubelet.shell.awk.closures import ArrayOf, Expression, Place, string
from podwire.kubelet.shell.awk.functions import ARITIES, call
from podwire.kubelet.shell.awk.lexer import Token, tokens
from podwire.kubelet.shell.awk.machine import Function, Machine
from podwire.kubelet.shell.awk.values import (
    UNSET,
    Input,
    Value,
    calculate,
    compare,
    compiled,
    number,
    split,
    substitute,
    text,
    truth,
)
from podwire.kubelet.shell.command import UsageError

MAX_DEPTH = 60
_ASSIGNS = ("=", "+=", "-=", "*=", "/=", "%=", "^=")
_COMPARISONS = ("<", "<=", "==", "!=", ">=", ">")


class Expressions:
    """The tokens of a program and what is read of them."""

    def __init__(self, source: str) -> None:
        self.tokens = tokens(source)
        self.at = 0
        self.depth = 0
        self.functions: dict[str, Function] = {}
        self.function: Function | None = None
        """The one whose body is being read."""
        self._no_in = self._no_greater = False

    # ------------------------------------------------------------------ tokens

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def wrong(self) -> UsageError:
        """The error for the next token."""
        return UsageError(f"syntax error at or near {self.token.word or 'end of program'!r}", 2)

    def is_(self, *words: str) -> bool:
        """Whether the next token is one of these operators or keywords."""
        return self.token.kind in {"op", "keyword"} and self.token.word in words

    def took(self, *words: str) -> bool:
        """Whether it is; then it is read."""
        if not self.is_(*words):
            return False
        self.at += 1
        return True

    def take(self, word: str) -> None:
        """Read this one. Raises UsageError."""
        if not self.took(word):
            raise self.wrong()

    def newlines(self) -> None:
        """Skip the ends of lines."""
        while self.took("\n"):
            pass

    def name(self) -> str:
        """Read a name. Raises UsageError."""
        if self.token.kind != "name":
            raise self.wrong()
        self.at += 1
        return self.tokens[self.at - 1].word

    def deeper(self) -> None:
        """One level down. Raises UsageError when that is too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError("not modelled: nested this deep", 2)

    # ------------------------------------------------------------------ expressions

    def expression(self, *, no_in: bool = False, no_greater: bool = False) -> Expression:
        """An expression; without ``in`` (the head of a for) or ``>`` (print) where these mean
        something else.
        """
        self.deeper()
        saved = self._no_in, self._no_greater
        self._no_in, self._no_greater = no_in, no_greater
        try:
            return self._ternary()
        finally:
            self.depth -= 1
            self._no_in, self._no_greater = saved

    def _inherited(self) -> Expression:
        return self.expression(no_in=self._no_in, no_greater=self._no_greater)

    def _ternary(self) -> Expression:
        place = self._assigned()
        if place is not None:
            return place
        test = self._or()
        if not self.took("?"):
            return test
        self.newlines()
        yes = self._inherited()
        self.newlines()
        self.take(":")
        self.newlines()
        no = self._inherited()
        return lambda m: yes(m) if truth(test(m)) else no(m)

    def _assigned(self) -> Expression | None:
        """``PLACE = VALUE`` and its kin, or None with nothing read."""
        mark = self.at
        if not (self.is_("$") or (self.token.kind == "name" and not self.token.call)):
            return None
        if self.token.kind == "name" and self.token.word in ARITIES:
            return None
        place = self._place()
        if not self.is_(*_ASSIGNS):
            self.at = mark
            return None
        op = self.token.word
        self.at += 1
        self.newlines()
        value = self._inherited()

        def run(m: Machine) -> Value:
            new = value(m)
            if op != "=":
                new = calculate(op[0], number(place.get(m)), number(new))
            place.set(m, new)
            return new

        return run

    def _or(self) -> Expression:
        left = self._and()
        while self.took("||"):
            self.newlines()
            left = closures.either(left, self._and())
        return left

    def _and(self) -> Expression:
        left = self._in()
        while self.took("&&"):
            self.newlines()
            left = closures.both(left, self._in())
        return left

    def _in(self) -> Expression:
        left = self._match()
        while not self._no_in and self.took("in"):
            left = closures.member(left, self.array())
        return left

    def _match(self) -> Expression:
        left = self._comparison()
        while self.is_("~", "!~"):
            wanted = self.token.word == "~"
            self.at += 1
            left = closures.matches(left, self._pattern(self._comparison), wanted)
        return left

    def _pattern(self, lower: Callable[[], Expression]) -> Expression:
        """An operand that is a regular expression: a literal one is not matched against $0."""
        if self.token.kind != "regex":
            return lower()
        source = self.token.word
        self.at += 1
        compiled(source)
        return lambda _m: source

    def _comparison(self) -> Expression:
        left = self._concatenation()
        if not self.is_(*_COMPARISONS) or (self._no_greater and self.is_(">")):
            return left
        op = self.token.word
        self.at += 1
        right = self._concatenation()
        return lambda m: float(compare(left(m), right(m), op))

    def _concatenation(self) -> Expression:
        parts = [self._sum()]
        while (
            self.token.kind in {"string", "number", "name", "regex"}
            or self.is_("$", "(", "!", "++", "--")
        ):  # fmt: skip
            parts.append(self._sum())
        if len(parts) == 1:
            return parts[0]
        return lambda m: "".join([string(part(m), m) for part in parts])

    def _sum(self) -> Expression:
        left = self._product()
        while self.is_("+", "-"):
            self.at += 1
            left = closures.calculation(self.tokens[self.at - 1].word, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._unary()
        while self.is_("*", "/", "%"):
            self.at += 1
            left = closures.calculation(self.tokens[self.at - 1].word, left, self._unary())
        return left

    def _unary(self) -> Expression:
        if self.is_("!", "-", "+"):
            op = self.token.word
            self.at += 1
            self.deeper()
            inner = self._unary()
            self.depth -= 1
            if op == "!":
                return lambda m: float(not truth(inner(m)))
            sign = -1.0 if op == "-" else 1.0
            return lambda m: sign * number(inner(m))
        base = self._postfix()
        if not self.took("^"):
            return base
        self.deeper()
        power = self._unary()
        self.depth -= 1
        return closures.calculation("^", base, power)

    def _postfix(self) -> Expression:
        if self.is_("++", "--"):
            change = 1.0 if self.token.word == "++" else -1.0
            self.at += 1
            return closures.counted(self._place(), change, before=True)
        if self.is_("$") or (self._is_variable() and not self.token.call):
            place = self._place()
            if self.took("++"):
                return closures.counted(place, 1.0, before=False)
            if self.took("--"):
                return closures.counted(place, -1.0, before=False)
            return place.get
        return self._primary()

    def _is_variable(self) -> bool:
        return self.token.kind == "name" and self.token.word not in ARITIES

    def _primary(self) -> Expression:
        kind, word = self.token.kind, self.token.word
        if kind == "keyword" and word == "getline":
            self.at += 1
            return self._getline()
        if kind == "op" and word == "(":
            self.at += 1
            return self._parenthesised()
        if kind not in {"number", "string", "regex", "name"}:
            raise self.wrong()
        self.at += 1
        if kind == "number":
            value = float(int(word, 16)) if word[:2] in {"0x", "0X"} else float(word)
            return lambda _m: value
        if kind == "string":
            return lambda _m: word
        if kind == "regex":
            pattern = compiled(word)
            return lambda m: float(pattern.search(m.record) is not None)
        return self._builtin(word) if word in ARITIES else self._user(word)

    def _parenthesised(self) -> Expression:
        self.newlines()
        first = self.expression()
        keys = [first]
        while self.took(","):
            self.newlines()
            keys.append(self.expression())
        self.newlines()
        self.take(")")
        if len(keys) == 1:
            return first
        self.take("in")
        return closures.member(closures.key(keys), self.array())

    # ------------------------------------------------------------------ places

    def _place(self) -> Place:
        if self.took("$"):
            self.deeper()
            index = self._postfix() if not self.is_("-", "!") else self._unary()
            self.depth -= 1
            return Place(
                lambda m: m.field(int(number(index(m)))),
                lambda m, v: m.set_field(int(number(index(m))), Input(string(v, m))),
            )
        if not self._is_variable():
            raise self.wrong()
        if self.tokens[self.at + 1] == Token("op", "["):
            array = self.array()
            self.take("[")
            return closures.element(array, self.keys())
        return self._scalar(self.name())

    def _scalar(self, name: str) -> Place:
        if self.function is None or name not in self.function.parameters:
            return Place(lambda m: m.get(name), lambda m, v: m.set(name, v))

        def set_local(m: Machine, value: Value) -> None:
            m.local(name)
            m.frames[-1][name] = value

        return Place(lambda m: m.local(name), set_local)

    def keys(self) -> Expression:
        """What stands between the brackets of an array; the first was read."""
        keys = [self.expression()]
        while self.took(","):
            keys.append(self.expression())
        self.take("]")
        return closures.key(keys)

    def array(self) -> ArrayOf:
        """The name of an array."""
        name = self.name()
        if self.function is None or name not in self.function.parameters:
            return lambda m: m.array(name)
        self.function.arrays[name] = None
        return lambda m: m.local_array(name)

    # ------------------------------------------------------------------ calls

    def _getline(self) -> Expression:
        place: Place | None = None
        if self.is_("$") or self._is_variable():
            place = self._place()
        source = self._file() if self.took("<") else None

        def run(m: Machine) -> Value:
            try:
                path = string(source(m), m) if source is not None else ""
                line = m.next_line(path) if source is not None else m.next_record()
            except UsageError:
                return -1.0
            if line is None:
                return 0.0
            if place is not None:
                place.set(m, Input(line))
            else:
                m.record = line
            return 1.0

        return run

    def _file(self) -> Expression:
        """The name after ``<`` or ``>``: no concatenation."""
        return self._postfix()

    def _builtin(self, name: str) -> Expression:
        if name == "length":
            return self._length()
        if name == "split":
            return self._split()
        if name in {"sub", "gsub"}:
            return self._substitution(every=name == "gsub")
        args = self._arguments(pattern_at=1 if name == "match" else -1, needed=ARITIES[name][0])
        if not ARITIES[name][0] <= len(args) <= ARITIES[name][1]:
            raise UsageError(f"wrong number of arguments of {name}()", 2)
        return lambda m: call(m, name, [arg(m) for arg in args])

    def _arguments(self, *, pattern_at: int, needed: int) -> list[Expression]:
        args: list[Expression] = []
        if not self.took("("):
            if needed:
                raise self.wrong()
            return args
        self.newlines()
        while not self.is_(")"):
            args.append(self._argument(pattern=len(args) == pattern_at))
            if not self.took(","):
                break
            self.newlines()
        self.take(")")
        return args

    def _argument(self, *, pattern: bool = False) -> Expression:
        after = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else self.token
        found = self._pattern(self.expression) if pattern and after.word in {",", ")"} else None
        found = found or self.expression()
        self.newlines()
        return found

    def _length(self) -> Expression:
        if not self.took("(") or self.took(")"):
            return lambda m: float(len(m.record))
        ahead = self.tokens[self.at + 1]
        name = self.token.word if self._is_variable() and ahead == Token("op", ")") else ""
        inner = self._argument()
        self.take(")")
        local = self.function is not None and name in self.function.parameters

        def run(m: Machine) -> Value:
            array = m.frames[-1].get(name) if local else m.arrays.get(name)
            return float(len(array if isinstance(array, dict) else string(inner(m), m)))

        return run

    def _split(self) -> Expression:
        self.take("(")
        line = self._argument()
        self.take(",")
        self.newlines()
        array = self.array()
        separator: Expression | None = None
        if self.took(","):
            self.newlines()
            separator = self._argument(pattern=True)
        self.take(")")

        def run(m: Machine) -> Value:
            mark = string(separator(m), m) if separator else text(m.values["FS"])
            pieces = split(string(line(m), m), mark)
            target = array(m)
            target.clear()
            target.update((str(i), Input(piece)) for i, piece in enumerate(pieces, 1))
            return float(len(pieces))

        return run

    def _substitution(self, *, every: bool) -> Expression:
        self.take("(")
        source = self._argument(pattern=True)
        self.take(",")
        self.newlines()
        new = self._argument()
        place = Place(lambda m: m.record, lambda m, v: m.set_field(0, string(v, m)))
        if self.took(","):
            self.newlines()
            place = self._place()
            self.newlines()
        self.take(")")

        def run(m: Machine) -> Value:
            pattern, filled = string(source(m), m), string(new(m), m)
            line, count = substitute(pattern, filled, string(place.get(m), m), every=every)
            if count:
                place.set(m, line)
            return float(count)

        return run

    def _user(self, name: str) -> Expression:
        """A call of one of the program's own functions, which may stand further down."""
        args: list[tuple[Expression, str, bool]] = []
        self.take("(")
        self.newlines()
        while not self.is_(")"):
            ahead = self.tokens[self.at + 1]
            bare = self._is_variable() and ahead.kind == "op" and ahead.word in {",", ")"}
            word = self.token.word if bare else ""
            local = self.function is not None and word in self.function.parameters
            args.append((self._lazy(word, local=local), word, local))
            self.newlines()
            if not self.took(","):
                break
            self.newlines()
        self.take(")")
        return lambda m: closures.called(m, name, args)

    def _lazy(self, word: str, *, local: bool) -> Expression:
        """An argument; a bare name may be an array, of which there is no value."""
        inner = self.expression()
        if not word:
            return inner
        return lambda m: UNSET if local and isinstance(m.frames[-1].get(word), dict) else inner(m)
