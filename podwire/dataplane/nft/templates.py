"""Rules that differ only in addresses and in the chains they lead to: one shape, many rules.

A program writes a hundred thousand rules in a dozen shapes. The grammar reads each shape once; a
further rule of it is its text and the chains it names, and its statements are made only when a
packet or ``nft list`` wants them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from podwire.dataplane.nft.expr import Anonymous
from podwire.dataplane.nft.model import Rule
from podwire.dataplane.nft.respell import respell
from podwire.dataplane.nft.stmt import Stmt

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_KINDS = {
    "\1": rf"(?<![\w./-]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w./-])",
    "\0": r"(?<=goto )[A-Za-z][\w./-]*(?![\w./*\\-])",
    "\2": r"(?<![\w.:/\[-])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w.:/\]-])",
}
"""Addresses and chains, by the mark that stands for them in a shape."""
_VARIABLE = re.compile("|".join(_KINDS.values()))
_MARK = re.compile("([\0\1\2])")
KEEP_SHAPES = 1 << 14
KEEP_FOLLOWING = 4


class Shape:
    """What all rules of a shape have in common: one of them, read by the grammar."""

    __slots__ = ("following", "names", "pattern", "rule", "words")

    def __init__(self, key: str, rule: Rule, words: tuple[str, ...]) -> None:
        self.rule = rule
        self.names = tuple(i for i, word in enumerate(words) if word in rule.targets)
        """Which of the variables are chains."""
        self.words = words
        """The variables of that rule."""
        self.following: list[Shape] = []
        """The shapes that came after this one, the latest first: programs write in turns."""
        self.pattern: re.Pattern[str] | None = None
        """All rules of the shape; None where more than their look counts (IPv6)."""
        if "\2" not in key:
            parts = _MARK.split(key)
            self.pattern = re.compile("".join(
                f"({_KINDS[part]})" if part in _KINDS else re.escape(part) for part in parts
            ))  # fmt: skip

    def rule_of(self, words: tuple[str, ...]) -> Rule:
        """The rule with other variables."""
        targets = self.rule.targets
        if self.names:
            targets = tuple(dict.fromkeys([words[i] for i in self.names]))
        return self.rule.like(self.words, words, targets)


class Templates:
    """The shapes of one family that were met."""

    def __init__(self, family: str, read: Callable[[str, str], Rule]) -> None:
        self.family, self._read = family, read
        self._shapes: dict[str, Shape] = {}
        self._last: Shape | None = None

    def rule(self, text: str) -> Rule:
        """The rule of a line. Raises NftError."""
        last = self._last
        if last is not None:
            for shape in last.following:
                found = shape.pattern.fullmatch(text) if shape.pattern is not None else None
                if found is not None:
                    self._last = shape
                    return shape.rule_of(found.groups())
        return self._look(text)

    def _look(self, text: str) -> Rule:
        """The rule of a line of which nothing is expected."""
        found: list[str] = []

        def take(match: re.Match[str]) -> str:
            word = match.group()
            found.append(word)
            return _kind(word)

        key = _VARIABLE.sub(take, text)
        shape = self._shapes.get(key)
        if shape is not None and "?" not in key:
            self._follow(shape)
            return shape.rule_of(tuple(found))
        rule = self._read(text, self.family)
        if "?" not in key and len(self._shapes) < KEEP_SHAPES and not _MARK.search(text):
            chains = [word for word in found if _kind(word) == "\0"]
            distinct = len(set(found)) == len(found) and _plain(rule.stmts, found)
            if distinct and (not chains or chains == list(rule.targets)):
                self._shapes[key] = Shape(key, rule, tuple(found))
        return rule

    def _follow(self, shape: Shape) -> None:
        """Expect a shape the next time that the latest one is met."""
        if self._last is not None:
            following = self._last.following
            following.insert(0, shape)
            del following[KEEP_FOLLOWING:]
        self._last = shape


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
