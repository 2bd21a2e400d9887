"""Words of an nft file, and errors that point at them.

Tokens are made when they are asked for, so that lines which need no grammar (elements, rules seen
before) are taken by one regular expression each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_TEXT_BYTES = 64 << 20
MAX_DEPTH = 16

TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\n|\#[^\n]*)
      | (?P<newline>\n)
      | (?P<string>"[^"\n]*")
      | (?P<colons>(?:[0-9A-Fa-f]{0,4}:){2,}[0-9A-Fa-f.:]*)
      | (?P<number>\d[\w.]*)
      | (?P<word>(?:[A-Za-z]|[_.](?=\w))[\w./\\-]*\*?)
      | (?P<symbol>==|!=|<=|>=|<<|>>|[-@{}(),;<>=+.:!&|^/*\[\]$])
      | (?P<junk>.)""",
    re.VERBOSE,
)


class NftError(Exception):
    """A text that nft refuses. ``start`` and ``end`` are offsets into it (end exclusive)."""

    def __init__(self, message: str, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.message, self.start, self.end = message, start, max(end, start + 1)
        self.own = False
        """Whether the text is the part that one node adds to what many load."""

    def shifted(self, by: int) -> NftError:
        """The same error in a text that this one is a piece of."""
        return NftError(self.message, self.start + by, self.end + by)

    def show(self, text: str, name: str) -> str:
        """As nft prints it: place, message, the line, and a mark under the words.

        ``name`` "" stands for a command line, which has no place.
        """
        begin = text.rfind("\n", 0, self.start) + 1
        stop = text.find("\n", begin)
        line = text[begin : stop if stop >= 0 else len(text)]
        first, last = self.start - begin + 1, max(self.end - begin, self.start - begin + 1)
        number = text.count("\n", 0, begin) + 1
        place = f"{name}:{number}:{first}-{last}: " if name else ""
        pad = "".join("\t" if c == "\t" else " " for c in line[: first - 1])
        return f"{place}Error: {self.message}\n{line}\n{pad}{'^' * (last - first + 1)}\n"


class Token(NamedTuple):
    """A word and where it stands. ``kind``: newline, string, colons, number, word, symbol, end."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def value(self) -> str:
        """The word without quotes."""
        return self.text[1:-1] if self.kind == "string" else self.text


class Words:
    """Reads a text token by token from an offset."""

    __slots__ = ("_ahead", "at", "defines", "depth", "last", "text", "transport")

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self._ahead: list[Token] = []
        self.last = Token("end", "", at, at)
        self.defines: dict[str, list[Token]] = {}
        self.depth = 0
        self.transport = False
        """Whether the rule being read is known to see one transport protocol."""

    def _read(self) -> Token:
        text, at = self.text, self.at
        while at < len(text):
            found = TOKEN.match(text, at)
            assert found is not None
            kind = found.lastgroup or "junk"
            start, at = at, found.end()
            if kind == "space":
                continue
            self.at = at
            if kind == "junk":
                raise NftError("syntax error, unexpected junk", start, at)
            return Token(kind, found.group(), start, at)
        self.at = at
        return Token("end", "", at, at)

    def peek(self, n: int = 0) -> Token:
        """The n-th token from here, without taking it; ``$name`` is replaced by its definition."""
        while len(self._ahead) <= n:
            token = self._read()
            if token.text == "$" and token.kind == "symbol":
                name = self._read()
                if name.text not in self.defines:
                    raise NftError(f"unknown identifier '{name.text}'", token.start, name.end)
                self._ahead += [
                    Token(t.kind, t.text, token.start, name.end) for t in self.defines[name.text]
                ]
            else:
                self._ahead.append(token)
        return self._ahead[n]

    def next(self) -> Token:
        """The next token."""
        token = self.peek()
        del self._ahead[0]
        self.last = token
        return token

    def take(self, *texts: str) -> Token | None:
        """The next token if it is one of these words (not a quoted string), else None."""
        token = self.peek()
        if token.text in texts and token.kind != "string":
            return self.next()
        return None

    def want(self, text: str) -> Token:
        """The next token, which must be this word."""
        found = self.take(text)
        if found is None:
            raise unexpected(self.peek(), f"expecting {text}")
        return found

    def name(self) -> Token:
        """A name: of a table, a chain, a set, a device."""
        token = self.next()
        if token.kind not in {"word", "string"}:
            raise unexpected(token, "expecting string")
        return token

    def number(self) -> int:
        """A whole number."""
        token = self.next()
        if token.kind != "number":
            raise unexpected(token)
        try:
            return int(token.text, 0)
        except ValueError:
            raise unexpected(token) from None

    def ended(self) -> bool:
        """Whether the statement is over: a newline, ``;``, the end or a closing brace."""
        token = self.peek()
        return token.kind in {"newline", "end"} or token.text in {";", "}"}

    def skip_lines(self) -> None:
        """Go past newlines and semicolons."""
        while self.peek().kind == "newline" or self.peek().text == ";":
            self.next()

    def skip_newlines(self) -> None:
        """Go past newlines, as inside braces."""
        while self.peek().kind == "newline":
            self.next()

    def lines(self) -> Iterator[Token]:
        """The first words of the lines in braces. The braces are taken too."""
        self.want("{")
        while True:
            self.skip_lines()
            if self.take("}"):
                return
            yield self.next()

    def deeper(self) -> None:
        """Count a level of nesting. Raises NftError when there are too many."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NftError("too many levels of nesting", self.last.start, self.last.end)


KEYWORDS = frozenset(
    """
    accept add and chain comment continue counter create ct daddr delete destroy dport drop
    eq fib flags flush goto handle icmp icmpv6 iif iifname index insert ip ip6 jump limit
    list log map mark masquerade meta ne not notrack numgen oif oifname or over packets
    policy position priority protocol queue quota rate redirect reject replace reset return
    rule saddr sctp set size snat dnat sport table tcp th timeout to type typeof udp update
    vmap with xor
    """.split()  # noqa: SIM905  # a list of 80 lines says no more
)
"""Words that nft's messages name as they are; any other is a string to it."""


def unexpected(token: Token, expecting: str = "") -> NftError:
    """The parser met something it has no use for."""
    what = {"end": "end of file", "newline": "newline", "string": "quoted string"}.get(token.kind)
    if what is None:
        what = "string" if token.kind == "word" and token.text not in KEYWORDS else token.text
    what = "'}'" if what == "}" else what
    message = f"syntax error, unexpected {what}" + (f", {expecting}" if expecting else "")
    return NftError(message, token.start, token.end)
