"""Regular expressions of the API: RE2's syntax, decided in time that grows with the text only.

CRD patterns and CEL's ``matches`` are written by users and run on the write path, where Python's
own ``re`` could be made to run for hours. Go's regexp is RE2; google-re2 is its library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_QUICK_LENGTH = 256


class RegexError(ValueError):
    """The text is no regular expression of RE2's."""


_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


def _in_go(wrong: Exception, text: str) -> str:
    """An error of RE2 in the words of Go's regexp."""
    told = wrong.args[0] if wrong.args else ""
    message = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
    what, _, where = message.partition(": ")
    where = text if what == "missing )" else where
    return f"error parsing regexp: {_WORDS.get(what, what)}: `{where}`"


_MAX_DEPTH = 1000


def too_deep(text: str) -> bool:
    """Whether groups nest deeper than Go's regexp allows; RE2 would take seconds for each match."""
    if text.count("(") <= _MAX_DEPTH:
        return False
    depth, in_class = 0, False
    for part in _TOKENS.finditer(text):
        mark = part[0]
        if in_class:
            in_class = mark != "]"
        elif mark[0] == "[":
            in_class = True
        elif mark in {"(", ")"}:
            depth += 1 if mark == "(" else -1
            if depth > _MAX_DEPTH:
                return True
    return False


_TOKENS = re.compile(r"\\.|\[\^?\]?|[]()]", re.DOTALL)
"""Escapes, the beginnings and ends of classes, in which a parenthesis is none, parentheses."""


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_slow", "search")

    search: Callable[[str], Any]
    """Finds the pattern anywhere in a text; the answer is only true or not."""

    def __init__(self, text: str) -> None:
        import re2  # noqa: PLC0415  commands that meet no pattern need not wait for it

        if too_deep(text):
            raise RegexError(f"error parsing regexp: expression nests too deeply: `{text}`")
        options = re2.Options()
        options.log_errors = False
        try:
            self._slow = re2.compile(text, options)
        except re2.error as wrong:
            raise RegexError(_in_go(wrong, text)) from None
        self.search = self._slow.search
        if len(text) <= _QUICK_LENGTH:
            # A set of one pattern answers yes or no in a third of the time that a match takes.
            only = re2.Set.SearchSet(options)
            only.Add(text)
            only.Compile()
            self.search = only.Match

    def find_all(self, text: str, limit: int = -1) -> list[str]:
        """The texts of all matches from the left, at most ``limit`` unless that is negative."""
        found: list[str] = []
        for match in self._slow.finditer(text):
            if len(found) == limit:
                break
            found.append(match[0])
        return found


@lru_cache(maxsize=1024)
def compile(text: str) -> Pattern:  # noqa: A001 - as re.compile
    """The compiled pattern. Raises RegexError."""
    return Pattern(text)
