"""Bash's brace expansion: ``a{b,c}`` and ``{1..5}``, before anything else is expanded."""

from __future__ import annotations

import re
from itertools import pairwise

from podwire.kubelet.shell.arithmetic import ExpansionError
from podwire.kubelet.shell.syntax import Lit, Part, Word

MAX_WORDS = 10_000
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")

_Piece = str | Part
"""One unquoted character, or a part that is not looked into."""


def expanded(word: Word) -> list[Word]:
    """The words that a word stands for. Raises ExpansionError when they are far too many."""
    if not any(isinstance(part, Lit) and not part.quoted and "{" in part.text for part in word):
        return [word]
    pieces: list[_Piece] = []
    for part in word:
        pieces += list(part.text) if isinstance(part, Lit) and not part.quoted else [part]
    return [_word(found) for found in _expand(pieces)]


def _word(pieces: list[_Piece]) -> Word:
    parts: list[Part] = []
    run = ""
    for piece in pieces:
        if isinstance(piece, str):
            run += piece
            continue
        parts += [Lit(run), piece] if run else [piece]
        run = ""
    return tuple([*parts, Lit(run)] if run else parts)


def _expand(pieces: list[_Piece]) -> list[list[_Piece]]:
    for start, piece in enumerate(pieces):
        if piece != "{":
            continue
        found = _alternatives(pieces, start)
        if found is None:
            continue
        alternatives, end = found
        inner = [each for one in alternatives for each in _expand(one)]
        rest = _expand(pieces[end:])
        if len(inner) * len(rest) > MAX_WORDS:
            raise ExpansionError("brace expansion: too many words: not modelled")
        return [pieces[:start] + one + after for one in inner for after in rest]
    return [pieces]


def _alternatives(pieces: list[_Piece], start: int) -> tuple[list[list[_Piece]], int] | None:
    """What stands between braces, and where it ends; None when they are no expansion."""
    depth, commas, at = 0, [start], start
    for at in range(start, len(pieces)):
        piece = pieces[at]
        depth += {"{": 1, "}": -1}.get(piece, 0) if isinstance(piece, str) else 0
        if depth == 1 and piece == ",":
            commas.append(at)
        if not depth:
            break
    if depth:
        return None
    if len(commas) > 1:
        bounds = [*commas, at]
        return [pieces[a + 1 : b] for a, b in pairwise(bounds)], at + 1
    text = "".join(piece if isinstance(piece, str) else "$" for piece in pieces[start + 1 : at])
    found = _RANGE.fullmatch(text)
    values = _range(found) if found else None
    return None if values is None else ([list(value) for value in values], at + 1)


def _range(found: re.Match[str]) -> list[str] | None:
    first, last, step = found[1], found[2], abs(int(found[3] or 1)) or 1
    letters = first.isalpha()
    if letters != last.isalpha():
        return None
    low, high = (ord(first), ord(last)) if letters else (int(first), int(last))
    if abs(high - low) // step > MAX_WORDS:
        raise ExpansionError("brace expansion: too many words: not modelled")
    numbers = range(low, high + 1, step) if low <= high else range(low, high - 1, -step)
    padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-")[0] == "0" for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [chr(n) if letters else f"{n:0{width}d}" for n in numbers]
