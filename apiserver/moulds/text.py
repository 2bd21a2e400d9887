"""Texts with gaps: where the strings of a JSON text stand, and a text parted at marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Names and indices."""

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|[\[\]{},]')
_PLAIN = re.compile(rb"[ -~]*")


class Free(NamedTuple):
    """A kind of string that may be another one each time."""

    pattern: bytes
    """What it may be, a regular expression: nothing that validation refuses or Go leaves out."""
    mark: Callable[[int, int, str], str]
    """A string of its kind for (round, number, the string that stands there); others differ."""
    tells: Callable[[str], Any] | None = None
    """What the outcome depends on, of such a string."""
    keys: bool = False
    """Whether it is the key of its list's item: owned fields are in the order of keys."""


class Place(NamedTuple):
    """A free string in a text."""

    start: int
    end: int
    free: Free
    group: Path
    """The list whose items it tells apart, () if it is no key."""


def is_plain(body: bytes) -> bool:
    """Whether a text can be looked at by this module: printable ASCII."""
    return _PLAIN.fullmatch(body) is not None


def strings(body: bytes) -> Iterator[tuple[Path, int, int]]:
    """Path and span of every string that is a value, of a plain JSON text that is well formed."""
    path: list[str | int | None] = []  # None: a name comes next
    lists: list[bool] = []
    for token in _TOKEN.finditer(body):
        char = body[token.start()]
        if char == 0x22:  # a quote
            if lists and not lists[-1] and path[-1] is None:
                path[-1] = token[1].decode()
            else:
                yield tuple(path), token.start(1), token.end(1)  # type: ignore[arg-type]  # no name is due
        elif char in b"[{":
            lists.append(char == 0x5B)
            path.append(0 if lists[-1] else None)
        elif char in b"]}":
            lists.pop()
            path.pop()
        elif lists:
            at = path[-1]
            path[-1] = at + 1 if isinstance(at, int) else None


def places(body: bytes, free_at: Callable[[Path], Free | None]) -> list[Place]:
    """The free strings of a text, in order."""
    found: list[Place] = []
    for path, start, end in strings(body):
        free = free_at(path)
        if free is not None and re.fullmatch(free.pattern, body[start:end]):
            found.append(Place(start, end, free, path[:-2] if free.keys else ()))
    return found


def numbers(body: bytes, found: Sequence[Place]) -> list[int]:
    """A number for each place; keys of one list are numbered in their order."""
    given = list(range(len(found)))
    for group in {place.group: None for place in found if place.group}:
        mine = [i for i, place in enumerate(found) if place.group == group]
        by_value = sorted(mine, key=lambda i: body[found[i].start : found[i].end])
        for i, number in zip(by_value, mine, strict=True):
            given[i] = number
    return given


def filled(body: bytes, found: Sequence[Place], values: Sequence[bytes]) -> bytes:
    """The text with other strings in its places."""
    parts: list[bytes] = []
    at = 0
    for place, value in zip(found, values, strict=True):
        parts += (body[at : place.start], value)
        at = place.end
    return b"".join((*parts, body[at:]))


def pattern(body: bytes, found: Sequence[Place]) -> re.Pattern[bytes]:
    """What matches the text with any strings that are not empty in its places, each a group.

    Which strings is looked at behind it (``checks``): alike ones together, and patterns of few
    sets of characters are quickly compiled.
    """
    parts: list[bytes] = []
    at = 0
    for place in found:
        parts += (re.escape(body[at : place.start]), _SOME)
        at = place.end
    return re.compile(b"".join((*parts, re.escape(body[at:]))))


_SOME = rb'((?=[^"])[^"\\]*+(?:\\.[^"\\]*+)*+)'


Check = tuple[Callable[[Sequence[bytes]], bytes], Callable[[bytes], Any]]
"""What joins some of all values, and what matches when each of them is fit."""


def checks(found: Sequence[Place]) -> list[Check]:
    """Whether values are fit for their places: one look for each kind of free string."""
    by_kind: dict[bytes, list[int]] = {}
    for i, place in enumerate(found):
        by_kind.setdefault(place.free.pattern, []).append(i)
    return [(_joiner(mine), _all(one, len(mine)).fullmatch) for one, mine in by_kind.items()]


def _joiner(mine: Sequence[int]) -> Callable[[Sequence[bytes]], bytes]:
    pick = itemgetter(*mine)
    return pick if len(mine) == 1 else lambda values: b"\n".join(pick(values))


@lru_cache(maxsize=1024)
def _all(one: bytes, count: int) -> re.Pattern[bytes]:
    """So many strings in lines: no free string holds a line's end."""
    return re.compile(rb"%b(?:\n%b){%d}" % (one, one, count - 1))


class Gapped(NamedTuple):
    """A text whose gaps are filled by position."""

    text: bytes
    """For the % of bytes."""
    gaps: tuple[int, ...]

    def filler(self) -> Callable[[Sequence[bytes]], bytes]:
        """Makes the text of all values."""
        text = self.text
        if len(self.gaps) == 1:
            (only,) = self.gaps
            return lambda values: text % (values[only],)
        if not self.gaps:
            whole = text % ()
            return lambda _values: whole
        pick = itemgetter(*self.gaps)
        return lambda values: text % pick(values)


def parted(text: bytes, marks: Mapping[bytes, int]) -> Gapped:
    """A text with gaps where marks stand; by which numbers they are filled."""
    at_marks = re.compile(b"(" + b"|".join(map(re.escape, sorted(marks, reverse=True))) + b")")
    parts = at_marks.split(text)
    gaps = tuple(marks[mark] for mark in parts[1::2])
    return Gapped(b"%b".join(part.replace(b"%", b"%%") for part in parts[::2]), gaps)
