"""Tokens to a tree, with macros expanded.

Source: cel-go parser/gen/CEL.g4, parser/parser.go; positions and words of errors are those of its
ANTLR parser for the first mistake of a text (it goes on and may tell of more).
"""

from __future__ import annotations

from podwire.api.cel import macros
from podwire.api.cel.lexer import Token, bytes_value, string_value, tokens
from podwire.api.cel.syntax import (
    Call,
    Fold,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    Problems,
    Select,
    Struct,
)
from podwire.api.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from podwire.api.cel.values import MAX_INT, MAX_UINT, Uint

MAX_DEPTH = 250
"""How deep expressions may nest (cel-go's default)."""

MAX_LENGTH = 100_000
"""How many characters an expression may have (cel-go's default)."""

_RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
        "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_BEGINNINGS = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, "
    "BYTES, IDENTIFIER}"
)
_BEGINS = frozenset(
    (
        "[", "{", "(", ".", "-", "!", "true", "false", "null", "FLOAT", "INT", "UINT", "STRING",
        "BYTES", "IDENT",
    )
)  # fmt: skip
_LEVELS = (
    {"<": "_<_", "<=": "_<=_", ">=": "_>=_", ">": "_>_", "==": "_==_", "!=": "_!=_", "in": "@in"},
    {"+": "_+_", "-": "_-_"},
    {"*": "_*_", "/": "_/_", "%": "_%_"},
)
"""Binary operators from the loosest to the tightest, below && and ||."""


class _Stop(Exception):  # noqa: N818 - it ends the parse; the problem is noted already
    """The text is wrong; what is wrong was noted."""


def parse(text: str, problems: Problems) -> Node | None:
    """The tree of an expression, or None with what is wrong in ``problems``."""
    if len(text) > MAX_LENGTH:
        size = f"size: {len(text)}, limit {MAX_LENGTH}"
        problems.add(-1, f"expression code point size exceeds limit: {size}")
        return None
    parser = _Parser(list(tokens(text, problems)), problems)
    try:
        tree = parser.expression()
        parser.end()
    except _Stop:
        return None
    if problems:
        return None
    if _depth(tree) > MAX_DEPTH + 2:
        problems.add(-1, "max recursion depth exceeded")
        return None
    return tree


class _Parser:
    def __init__(self, found: list[Token], problems: Problems) -> None:
        self._tokens = found
        self._place = 0
        self._problems = problems
        self._depth = 0
        self._now = found[0]

    def _next(self) -> Token:
        token = self._now
        if token.kind != "EOF":
            self._place += 1
            self._now = self._tokens[self._place]
        return token

    def _behind(self) -> str:
        """The kind of the token after the current one."""
        place = min(self._place + 1, len(self._tokens) - 1)
        return self._tokens[place].kind

    def _wrong(self, message: str, at: int | None = None) -> _Stop:
        self._problems.add(self._now.at if at is None else at, f"Syntax error: {message}")
        return _Stop()

    def _unexpected(self, wanted: str, kinds: frozenset[str]) -> _Stop:
        word = "extraneous" if self._behind() in kinds else "mismatched"
        return self._wrong(f"{word} input '{self._now.text}' expecting {wanted}")

    def _expect(self, kind: str, wanted: str = "") -> Token:
        if self._now.kind != kind:
            if not wanted and self._behind() != kind and self._goes_on(kind):
                raise self._wrong(f"missing '{kind}' at '{self._now.text}'")
            raise self._unexpected(wanted or f"'{kind}'", frozenset((kind,)))
        return self._next()

    def _goes_on(self, kind: str) -> bool:
        """Whether what follows would be right behind the missing token."""
        return self._now.kind == "EOF" if kind == ")" else self._now.kind in _BEGINS

    def end(self) -> None:
        """Nothing may follow an expression."""
        if self._now.kind != "EOF":
            raise self._unexpected("<EOF>", frozenset(("EOF",)))

    def expression(self) -> Node:
        """One whole expression, conditional operator included."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._problems.add(-1, f"expression recursion limit exceeded: {MAX_DEPTH}")
            raise _Stop
        test = self._logical("||", "_||_")
        if self._now.kind == "?":
            sign = self._next()
            yes = self._logical("||", "_||_")
            self._expect(":")
            test = Call(sign.at, "_?_:_", [test, yes, self.expression()])
        self._depth -= 1
        return test

    def _logical(self, sign: str, function: str) -> Node:
        """Terms of && or ||, as a balanced tree so that long ones are not deep."""
        terms = [self._term(sign)]
        places: list[int] = []
        while self._now.kind == sign:
            places.append(self._next().at)
            terms.append(self._term(sign))
        return _balanced(function, terms, places, 0, len(places) - 1) if places else terms[0]

    def _term(self, sign: str) -> Node:
        return self._logical("&&", "_&&_") if sign == "||" else self._binary(0)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while (function := _LEVELS[level].get(self._now.kind)) is not None:
            at = self._next().at
            left = Call(at, function, [left, self._binary(level + 1)])
        return left

    def _unary(self) -> Node:
        sign = self._now
        if sign.kind not in {"!", "-"}:
            return self._member(self._primary())
        if sign.kind == "-" and self._behind() in {"INT", "FLOAT"}:
            self._next()
            return self._member(self._number(self._next(), sign.at, -1))
        count = 0
        while self._now.kind == sign.kind:
            self._next()
            count += 1
        inner = self._member(self._primary())
        if count % 2 == 0:
            return inner
        return Call(sign.at, "!_" if sign.kind == "!" else "-_", [inner])

    def _member(self, node: Node) -> Node:
        while True:
            if self._now.kind == ".":
                node = self._selected(node)
            elif self._now.kind == "[":
                at = self._next().at
                optional = self._now.kind == "?" and bool(self._next())
                index = self.expression()
                self._expect("]", "']'")
                node = Call(at, "_[?_]" if optional else "_[_]", [node, index])
            else:
                return node

    def _selected(self, node: Node) -> Node:
        dot = self._next()
        optional = self._now.kind == "?" and bool(self._next())
        name = self._now
        if name.kind not in {"IDENT", "QUOTED"}:
            raise self._no_name(name)
        self._next()
        if optional:
            field = Literal(name.at, name.text.strip("`"), STRING)
            return Call(dot.at, "_?._", [node, field])
        if self._now.kind == "(" and name.kind == "IDENT":
            at = self._next().at
            return self._called(at, name.text, node, self._arguments())
        return Select(dot.at, node, name.text.strip("`"))

    def _no_name(self, token: Token) -> _Stop:
        if token.kind in {"true", "false", "null", "in"}:
            return self._wrong(f"mismatched input '{token.text}' expecting IDENTIFIER")
        return self._wrong(f"no viable alternative at input '.{_shown(token)}'")

    def _called(self, at: int, function: str, target: Node | None, args: list[Node]) -> Node:
        try:
            made = macros.expand(at, function, target, args)
        except macros.MacroError as wrong:
            self._problems.add(wrong.at, str(wrong))
            made = Ident(at, function)
        return made or Call(at, function, args, target)

    def _arguments(self) -> list[Node]:
        args: list[Node] = []
        if self._now.kind != ")":
            args.append(self.expression())
            while self._now.kind == ",":
                self._next()
                args.append(self.expression())
        self._expect(")")
        return args

    def _primary(self) -> Node:
        token = self._now
        match token.kind:
            case "INT" | "FLOAT" | "UINT":
                return self._number(self._next(), token.at, 1)
            case "STRING" | "BYTES":
                return self._text(self._next())
            case "true" | "false":
                self._next()
                return Literal(token.at, token.kind == "true", BOOL)
            case "null":
                self._next()
                return Literal(token.at, None, NULL)
            case "(":
                self._next()
                inner = self.expression()
                self._expect(")")
                return inner
            case "[":
                return self._list()
            case "{":
                return self._map()
            case "IDENT" | ".":
                return self._name()
        raise self._unexpected(_BEGINNINGS, _BEGINS)

    def _name(self) -> Node:
        first = self._now
        dotted = first.kind == "." and bool(self._next())
        token = self._now
        if token.kind != "IDENT":
            raise self._wrong(f"no viable alternative at input '.{_shown(token)}'")
        self._next()
        name = f".{token.text}" if dotted else token.text
        if struct := self._struct(name):
            return struct
        if token.text in _RESERVED:
            self._problems.add(token.at, f"reserved identifier: {token.text}")
        if self._now.kind == "(":
            at = self._next().at
            return self._called(at, name, None, self._arguments())
        return Ident(first.at, name)

    def _struct(self, name: str) -> Node | None:
        """``a.b.C{...}``, if that is what begins here; else nothing is consumed."""
        place = self._place
        while self._now.kind == "." and self._behind() == "IDENT":
            self._next()
            name += f".{self._next().text}"
        if self._now.kind != "{":
            self._place, self._now = place, self._tokens[place]
            return None
        at = self._next().at
        entries: list[tuple[int, str, Node]] = []
        optional: set[int] = set()
        while self._now.kind not in {"}", "EOF"}:
            if self._now.kind == "?":
                self._next()
                optional.add(len(entries))
            field = self._now
            if field.kind not in {"IDENT", "QUOTED"}:
                if field.kind == "," and entries == [] and self._behind() == "}":
                    self._next()
                    break
                raise self._unexpected("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}", frozenset())
            self._next()
            colon = self._expect(":")
            entries.append((colon.at, field.text.strip("`"), self.expression()))
            if not self._comma("}"):
                break
        self._expect("}", "{'}', ','}")
        return Struct(at, name, entries, frozenset(optional))

    def _comma(self, closing: str) -> bool:
        """Whether another element follows."""
        if self._now.kind != ",":
            return False
        self._next()
        return self._now.kind != closing

    def _list(self) -> Node:
        at = self._next().at
        items: list[Node] = []
        optional: set[int] = set()
        if self._now.kind == ",":
            self._next()
            self._expect("]", "']'")
            return ListOf(at, items)
        while self._now.kind != "]":
            if self._now.kind == "?":
                self._next()
                optional.add(len(items))
            items.append(self.expression())
            if not self._comma("]"):
                break
        self._expect("]", "{']', ','}")
        return ListOf(at, items, frozenset(optional))

    def _map(self) -> Node:
        at = self._next().at
        entries: list[tuple[Node, Node]] = []
        optional: set[int] = set()
        if self._now.kind == ",":
            self._next()
            self._expect("}", "'}'")
            return MapOf(at, entries)
        while self._now.kind != "}":
            if self._now.kind == "?":
                self._next()
                optional.add(len(entries))
            key = self.expression()
            self._expect(":")
            entries.append((key, self.expression()))
            if not self._comma("}"):
                break
        self._expect("}", "{'}', ','}")
        return MapOf(at, entries, frozenset(optional))

    def _number(self, token: Token, at: int, sign: int) -> Node:
        text = token.text
        if token.kind == "FLOAT":
            return Literal(at, sign * float(text), DOUBLE)
        digits = text.rstrip("uU") if token.kind == "UINT" else text
        # a longer text cannot fit, and parsing it would take time that grows with its square
        fits = len(digits) <= 4096
        number = int(digits, 16 if digits.startswith("0x") else 10) * sign if fits else MAX_UINT + 1
        if token.kind == "UINT":
            if number > MAX_UINT:
                self._problems.add(at, "invalid uint literal")
                number = 0
            return Literal(at, Uint(number), UINT)
        if number > MAX_INT or number < -MAX_INT - 1:
            self._problems.add(at, "invalid int literal")
            number = 0
        return Literal(at, number, INT)

    def _text(self, token: Token) -> Node:
        try:
            if token.kind == "BYTES":
                return Literal(token.at, bytes_value(token.text), BYTES)
            return Literal(token.at, string_value(token.text), STRING)
        except ValueError as wrong:
            self._problems.add(token.at, str(wrong))
            return Literal(token.at, "", STRING)


def _shown(token: Token) -> str:
    return "" if token.kind == "EOF" else token.text


def _balanced(function: str, terms: list[Node], places: list[int], low: int, high: int) -> Node:
    middle = (low + high + 1) // 2
    left = terms[middle] if middle == low else _balanced(function, terms, places, low, middle - 1)
    right = (
        terms[middle + 1]
        if middle == high
        else _balanced(function, terms, places, middle + 1, high)
    )
    return Call(places[middle], function, [left, right])


def _depth(tree: Node) -> int:
    """How deep a tree is, without recursion; a node that macros use twice is looked at once."""
    depths: dict[int, int] = {}
    waiting = [tree]
    while waiting:
        node = waiting[-1]
        below = children(node)
        missing = [child for child in below if id(child) not in depths]
        if missing:
            waiting += missing
        else:
            depths[id(node)] = 1 + max((depths[id(child)] for child in below), default=0)
            waiting.pop()
    return depths[id(tree)]


def children(node: Node) -> list[Node]:
    """The nodes directly below one, in the order of the text."""
    match node:
        case Select():
            return [node.operand]
        case Call():
            return [*([node.target] if node.target is not None else []), *node.args]
        case ListOf():
            return list(node.items)
        case MapOf():
            return [one for entry in node.entries for one in entry]
        case Struct():
            return [value for _, _, value in node.entries]
        case Fold():
            return [node.range, *node.parts]
        case _:
            return []
