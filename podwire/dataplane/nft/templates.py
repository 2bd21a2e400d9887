"""Rules that differ only in addresses and in the chains they lead to: one shape, many rules.

A program writes a hundred thousand rules in a dozen shapes. The grammar reads each shape once; a
further rule of it is its text and the chains it names, and its statements are made only when a
packet or ``nft list`` wants them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from podwire.dataplane.nft.expr import Anonymous
from podwire.dataplane.nft.model import Rule
from podwire.dataplane.nft.respell import respell
from podwire.dataplane.nft.stmt import Stmt

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_VARIABLE = re.compile(
    rf"(?<![\w./-]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w./-])"
    r"|(?<=goto )[A-Za-z][\w./-]*(?![\w./*\\-])"
    r"|(?<![\w.:/\[-])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w.:/\]-])"
)
KEEP_SHAPES = 1 << 14


class Shape(NamedTuple):
    """What all rules of a shape have in common: one of them, read by the grammar."""

    rule: Rule
    names: tuple[int, ...]
    """Which of the variables are chains."""
    words: tuple[str, ...]
    """The variables of that rule."""


class Templates:
    """The shapes of one family that were met."""

    def __init__(self, family: str, read: Callable[[str, str], Rule]) -> None:
        self.family, self._read = family, read
        self._shapes: dict[str, Shape] = {}

    def rule(self, text: str) -> Rule:
        """The rule of a line. Raises NftError."""
        found: list[str] = []

        def take(match: re.Match[str]) -> str:
            word = match.group()
            found.append(word)
            return _kind(word)

        key = _VARIABLE.sub(take, text)
        shape = self._shapes.get(key)
        if shape is None or "?" in key:
            rule = self._read(text, self.family)
            if "?" not in key and len(self._shapes) < KEEP_SHAPES:
                names = tuple(i for i, word in enumerate(found) if word in rule.targets)
                chains = [word for word in found if _kind(word) == "\0"]
                distinct = len(set(found)) == len(found) and _plain(rule.stmts, found)
                if distinct and (not chains or chains == list(rule.targets)):
                    self._shapes[key] = Shape(rule, names, tuple(found))
            return rule
        targets = shape.rule.targets
        if shape.names:
            targets = tuple(dict.fromkeys(found[i] for i in shape.names))
        return shape.rule.like(shape.words, tuple(found), targets)


class _Met(dict[str, str]):
    """Words, and which of them were asked for."""

    def __init__(self, words: list[str]) -> None:
        super().__init__((word, word) for word in words)
        self.met: dict[str, None] = {}

    def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
        """The word itself."""
        if key in self:
            self.met[key] = None
        return default


def _plain(stmts: tuple[Stmt, ...], found: list[str]) -> bool:
    """Whether ``respell`` finds each of the variables, and they decide nothing about the shape.

    (A mask makes a prefix, ranges of a set are merged, a comment is no address.)
    """
    words = _Met(found)
    respell(stmts, words)
    return len(words.met) == len(found) and not any(
        isinstance(where, Anonymous) and where.interval
        for stmt in stmts
        for where in (getattr(stmt, "right", None), getattr(stmt, "container", None))
    )


def _kind(word: str) -> str:
    """The mark of a chain or address. A rule with ``?`` (spelled unusually) is read anew."""
    if ":" not in word:
        return "\0" if word[0].isalpha() else "\1"
    try:
        plain = str(IPv6Address(word)) == word
    except AddressValueError:
        return "?"
    return "\2" if plain else "?"
