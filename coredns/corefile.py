"""The Corefile: server blocks, plugins, snippets (``coredns/caddy`` caddyfile).

Errors read as CoreDNS prints them: ``/etc/coredns/Corefile:3 - Error during parsing: ...``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


class CorefileError(ValueError):
    """A Corefile that CoreDNS would not start with."""

    def __init__(self, line: int, message: str, path: str = "Corefile") -> None:
        super().__init__(f"{path}:{line} - Error during parsing: {message}")


@dataclass(frozen=True, slots=True)
class Token:
    """A word with its line."""

    text: str
    line: int
    quoted: bool = False


@dataclass(slots=True)
class Directive:
    """One plugin line (or a line inside its block) with arguments and sub-lines."""

    name: str
    args: list[str]
    line: int
    block: list[Directive] = field(default_factory=list)

    def error(self, message: str) -> CorefileError:
        """An error about this line."""
        return CorefileError(self.line, message)

    def wrong(self, argument: str) -> CorefileError:
        """The usual error about an argument."""
        return self.error(f"Wrong argument count or unexpected line ending after '{argument}'")


@dataclass(slots=True)
class ServerBlock:
    """Zones and port of one server, and its plugins in file order."""

    zones: list[str]
    """Absolute, lower case."""
    port: int
    plugins: list[Directive]


def tokenize(text: str) -> list[Token]:
    """Words; quotes group, ``#`` starts a comment, braces stand alone."""
    tokens: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        i, n = 0, len(line)
        while i < n:
            c = line[i]
            if c.isspace():
                i += 1
            elif c == "#":
                break
            elif c == '"':
                end = line.find('"', i + 1)
                if end < 0:
                    raise CorefileError(number, "unterminated quote")
                tokens.append(Token(line[i + 1 : end], number, quoted=True))
                i = end + 1
            else:
                start = i
                while i < n and not line[i].isspace():
                    i += 1
                tokens.append(Token(line[start:i], number))
    return tokens


def is_open(token: Token) -> bool:
    """Whether the token opens a block."""
    return token.text == "{" and not token.quoted


def is_close(token: Token) -> bool:
    """Whether the token closes a block."""
    return token.text == "}" and not token.quoted


@dataclass(slots=True)
class _Parser:
    tokens: list[Token]
    at: int = 0
    snippets: dict[str, list[Directive]] = field(default_factory=dict)

    def parse(self) -> list[ServerBlock]:
        blocks: list[ServerBlock] = []
        while self.at < len(self.tokens):
            keys, line = self._keys()
            lines = self._lines(line)
            if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
                self.snippets[keys[0][1:-1]] = lines
                continue
            blocks += _servers(keys, line, self._imported(lines))
        return blocks

    def _keys(self) -> tuple[list[str], int]:
        keys: list[str] = []
        line = self.tokens[self.at].line
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            if is_open(token):
                if not keys:
                    raise CorefileError(token.line, "Unexpected '{', expecting a server key")
                return keys, token.line
            if is_close(token):
                raise CorefileError(token.line, "Unexpected '}'")
            keys += [key for key in token.text.split(",") if key]
        raise CorefileError(line, "Unexpected EOF, expecting '{'")

    def _lines(self, opened: int, depth: int = 0) -> list[Directive]:
        """The lines of a block whose ``{`` was read, up to its ``}``."""
        if depth > 8:
            raise CorefileError(opened, "blocks nested too deep")
        lines: list[Directive] = []
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            if is_close(token):
                return lines
            if is_open(token):
                raise CorefileError(token.line, "Unexpected '{'")
            lines.append(self._line(token, depth))
        raise CorefileError(opened, "Unexpected EOF, expecting '}'")

    def _line(self, first: Token, depth: int) -> Directive:
        directive = Directive(first.text, [], first.line)
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.line != first.line or is_close(token):
                break
            self.at += 1
            if is_open(token):
                directive.block = self._lines(token.line, depth + 1)
                break
            directive.args.append(token.text)
        return directive

    def _imported(self, lines: list[Directive]) -> list[Directive]:
        out: list[Directive] = []
        for line in lines:
            if line.name != "import":
                out.append(line)
            elif len(line.args) != 1 or line.args[0] not in self.snippets:
                what = line.args[0] if line.args else ""
                raise line.error(f"Could not import '{what}': files are not modelled")
            else:
                out += self.snippets[line.args[0]]
        return out


def _servers(keys: list[str], line: int, plugins: list[Directive]) -> list[ServerBlock]:
    by_port: dict[int, ServerBlock] = {}
    for key in keys:
        zone, port = _key(key, line)
        by_port.setdefault(port, ServerBlock([], port, plugins)).zones.append(zone)
    return list(by_port.values())


def _key(key: str, line: int) -> tuple[str, int]:
    rest = key.removeprefix("dns://")
    if "://" in rest:
        raise CorefileError(line, f"transport of '{key}' is not modelled")
    zone, colon, port = rest.rpartition(":")
    if not colon:
        zone, port = rest, "53"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise CorefileError(line, f"invalid port in '{key}'")
    return normalize(zone or "."), int(port)


def normalize(zone: str) -> str:
    """A zone as CoreDNS keeps it: absolute and lower case."""
    zone = zone.lower()
    return zone if zone.endswith(".") else f"{zone}."


def parse(text: str) -> list[ServerBlock]:
    """The server blocks of a Corefile. Raises CorefileError."""
    return _Parser(tokenize(text)).parse()


def duration_s(text: str, fail: Callable[[str], CorefileError]) -> float:
    """Go's duration: ``5s``, ``1m30s``, ``500ms``. Raises what ``fail`` makes."""
    units = {"ms": 0.001, "us": 1e-6, "ns": 1e-9, "s": 1.0, "m": 60.0, "h": 3600.0}
    total, number, i = 0.0, "", 0
    while i < len(text):
        if text[i].isdigit() or text[i] == ".":
            number += text[i]
            i += 1
            continue
        unit = text[i : i + 2] if text[i : i + 2] in units else text[i]
        if unit not in units or not number or number.count(".") > 1 or number == ".":
            raise fail(f'time: invalid duration "{text}"')
        total += float(number) * units[unit]
        number, i = "", i + len(unit)
    if number or not text:
        raise fail(f'time: missing unit in duration "{text}"')
    return total
