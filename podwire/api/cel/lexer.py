"""Expression text to tokens, and literals to values.

Source: cel-go parser/gen/CEL.g4 and parser/unescape.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from podwire.api.cel.syntax import Problems


class Token(NamedTuple):
    """``kind`` is an operator's own text or INT, UINT, FLOAT, STRING, BYTES, IDENT, QUOTED, EOF."""

    kind: str
    text: str
    at: int


_ESCAPE = (
    r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
)
_STRING = "|".join(
    (
        r'[rR]"""(?:.|\n)*?"""',
        r"[rR]'''(?:.|\n)*?'''",
        r'[rR]"[^"\n\r]*"',
        r"[rR]'[^'\n\r]*'",
        rf'"""(?:{_ESCAPE}|[^\\])*?"""',
        rf"'''(?:{_ESCAPE}|[^\\])*?'''",
        rf'"(?:{_ESCAPE}|[^\\"\n\r])*"',
        rf"'(?:{_ESCAPE}|[^\\'\n\r])*'",
    )
)
_TOKEN = re.compile(
    rf"""(?P<SKIP>[\t \r\n\f]+|//[^\n]*)
    |(?P<BYTES>[bB](?:{_STRING}))
    |(?P<STRING>{_STRING})
    |(?P<FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<UINT>0x[0-9a-fA-F]+[uU]|[0-9]+[uU])
    |(?P<INT>0x[0-9a-fA-F]+|[0-9]+)
    |(?P<IDENT>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<QUOTED>`[A-Za-z0-9_.\-/\ ]+`)
    |(?P<SIGN>==|!=|<=|>=|&&|\|\||[<>\[\]{{}}().,\-!?:+*/%])""",
    re.VERBOSE,
)
_WORDS = frozenset({"in", "true", "false", "null"})
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_UNESCAPE = re.compile(_ESCAPE)


def tokens(text: str, problems: Problems) -> Iterator[Token]:
    """The tokens of a text, the last one EOF. What is none is noted and skipped, as upstream."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            at = _skip(text, at, problems)
            continue
        kind = found.lastgroup or ""
        if kind != "SKIP":
            word = found[0]
            if kind == "SIGN" or (kind == "IDENT" and word in _WORDS):
                kind = word
            yield Token(kind, word, at)
        at = found.end()
    yield Token("EOF", "<EOF>", at)


_OPEN = re.compile(rf"""[bB]?(?:[rR]["'][^\n\r]*|["'](?:{_ESCAPE}|[^\\\n\r])*)""")


def _skip(text: str, at: int, problems: Problems) -> int:
    """Pass over what no token begins with, the sign that made it none included."""
    begun = _OPEN.match(text, at)
    end = begun.end() if begun else at + (text[at] in "&|=")
    end = min(end + 1, len(text))
    problems.add(at, f"Syntax error: token recognition error at: '{text[at:end]}'")
    return end


def string_value(token: str) -> str:
    """What a string literal says. Raises ValueError with upstream's message."""
    raw, body = _body(token)
    if raw:
        return body
    return _UNESCAPE.sub(lambda found: _character(found[0]), body)


def bytes_value(token: str) -> bytes:
    """What a bytes literal says: octal and hex escapes are bytes, all else is UTF-8."""
    raw, body = _body(token[1:])
    if raw:
        return body.encode()
    made, last = bytearray(), 0
    for found in _UNESCAPE.finditer(body):
        made += body[last : found.start()].encode()
        escape = found[0]
        if escape[1] in "xX0123":
            made.append(_code(escape[2:]) if escape[1] in "xX" else int(escape[1:], 8))
        elif escape[1] in "uU":
            raise ValueError("unable to unescape string")
        else:
            made += _character(escape).encode()
        last = found.end()
    return bytes(made + body[last:].encode())


def _body(token: str) -> tuple[bool, str]:
    raw = token[0] in "rR"
    token = token[1:] if raw else token
    width = 3 if len(token) >= 6 and token[:3] in {'"""', "'''"} else 1
    return raw, token[width:-width].replace("\r\n", "\n").replace("\r", "\n")


def _code(digits: str) -> int:
    return int(digits, 16)


def _character(escape: str) -> str:
    sign = escape[1]
    if sign in _SIMPLE:
        return _SIMPLE[sign]
    if sign in "xXuU":
        code = _code(escape[2:])
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError("invalid unicode code point")
        return chr(code)
    if sign in "0123":
        return chr(int(escape[1:], 8))
    return sign
