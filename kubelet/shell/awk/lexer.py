"""An awk program as tokens (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from podwire.kubelet.shell.command import UsageError

MAX_PROGRAM_CHARS = 64 * 1024
KEYWORDS = (
    "BEGIN", "END", "function", "func", "if", "else", "while", "for", "do", "break", "continue",
    "next", "exit", "return", "delete", "in", "getline", "print", "printf",
)  # fmt: skip
_TOKEN = re.compile(
    r'(?P<space>[ \t\r]+|\\\r?\n|#[^\n]*)|(?P<string>"(?:\\(?:.|\n)|[^"\\\n])*")'
    r"|(?P<number>0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<op>\*\*=|\*\*|\+\+|--|\+=|-=|\*=|/=|%=|\^=|==|!=|<=|>=|>>|&&|\|\||!~"
    r"|[-+*%^<>=!~(){}\[\],;$?:|/\n])"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "/": "/", "a": "\a", "b": "\b",
            "f": "\f", "v": "\v", "\n": ""}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``call`` is a name right before ``(``."""

    kind: str
    """string, number, name, keyword, op, regex or end."""
    word: str
    call: bool = False


def unescaped(text: str) -> str:
    """What a string's backslashes stand for; an unknown one stays, as in busybox."""

    def fill(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 8) % 256)
        return _ESCAPES.get(found[2], found[0])

    return re.sub(r"\\(?:([0-7]{1,3})|(.|\n))", fill, text)


def tokens(text: str) -> list[Token]:
    """The tokens, ``end`` last. Raises UsageError."""
    if len(text) > MAX_PROGRAM_CHARS:
        raise UsageError("not modelled: a program of this size", 2)
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at] == "/" and not _operand(found):
            at = _regex(text, at, found)
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"syntax error near {text[at : at + 10]!r}", 2)
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "string":
            found.append(Token("string", unescaped(match[0][1:-1])))
        elif kind == "name" and match[0] in KEYWORDS:
            word = "function" if match[0] == "func" else match[0]
            found.append(Token("keyword", word))
        elif kind != "space":
            word = {"**": "^", "**=": "^="}.get(match[0], match[0])
            found.append(Token(kind, word, kind == "name" and text[at : at + 1] == "("))
    return [*found, Token("end", "")]


def _operand(found: list[Token]) -> bool:
    """Whether a slash here divides: something that has a value stands before it."""
    if not found:
        return False
    last = found[-1]
    if last.kind == "op":
        return last.word in {")", "]", "$", "++", "--"}
    return last.kind in {"name", "string", "number"}


def _regex(text: str, at: int, found: list[Token]) -> int:
    start, inside = at + 1, False
    at = start
    while at < len(text) and (text[at] != "/" or inside):
        if text[at] == "\n":
            break
        if text[at] == "[" and not inside:
            inside = True
            at += text[at + 1 : at + 2] == "^"
            at += text[at + 1 : at + 2] == "]"
        elif text[at] == "[" and text[at + 1 : at + 2] == ":":
            at = max(text.find(":]", at), at) + 1
        elif text[at] == "]":
            inside = False
        at += 2 if text[at] == "\\" else 1
    if text[at : at + 1] != "/":
        raise UsageError(f"unterminated regexp at {text[start : start + 10]!r}", 2)
    found.append(Token("regex", text[start:at].replace("\\/", "/")))
    return at + 1
