"""Texts: searching, cutting, joining, patterns, ``format``, JSON pointers.

Source: cel-go common/stdlib/standard.go, ext/strings.go (version 2), ext/formatting.go; Kubernetes'
apiserver pkg/cel/library/regex.go, jsonpatch.go.
"""

from __future__ import annotations

from typing import Any

from podwire.api import regex
from podwire.api.cel.functions import costs
from podwire.api.cel.functions.formatting import formatted
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.types import BOOL, DYN, INT, STRING, list_of
from podwire.api.cel.values import CelError

_STRINGS = list_of(STRING)
_SPACES = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_QUOTES = str.maketrans(
    {
        "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
        "\v": "\\v", "\\": "\\\\", '"': '\\"',
    }
)  # fmt: skip
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def pattern(text: str) -> regex.Pattern:
    """A compiled pattern. Raises CelError."""
    try:
        return regex.compile(text)
    except regex.RegexError as wrong:
        raise CelError(str(wrong)) from None


def matches(text: str, wanted: str) -> bool:
    """Whether a pattern is anywhere in a text."""
    return bool(pattern(wanted).search(text))


def _find(text: str, wanted: str) -> str:
    return next(iter(pattern(wanted).find_all(text, 1)), "")


def _find_all(text: str, wanted: str, limit: int = -1) -> list[str]:
    return pattern(wanted).find_all(text, limit)


def _out_of_range(index: int) -> CelError:
    return CelError(f"index out of range: {index}")


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise _out_of_range(index)
    return text[index : index + 1]


def _index_of(text: str, wanted: str, start: int = 0) -> int:
    if start < 0:
        raise _out_of_range(start)
    return text.find(wanted, start) if wanted else min(start, len(text))


def _last_index_of(text: str, wanted: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(wanted)
    if start < 0:
        raise _out_of_range(start)
    if not wanted:
        return min(start, len(text))
    return -1 if start >= len(text) else text.rfind(wanted, 0, start + len(wanted))


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, end):
        if index is not None and not 0 <= index <= len(text):
            raise _out_of_range(index)
    return text[start:end]


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if 0 < count < len(text):
        return [*text[: count - 1], text[count - 1 :]]
    return list(text)


def _join(items: list[Any], *separator: str) -> str:
    if not all(isinstance(item, str) for item in items):
        given = ", ".join(("list", *("string" for _ in separator)))
        raise CelError(f"no such overload: join({given})")
    return "".join(separator).join(items)


_ONE, _TWO = (STRING,), (STRING, STRING)
method("startsWith", "starts_with_string", _TWO, BOOL, str.startswith, costs.traversal_of_second)
method("endsWith", "ends_with_string", _TWO, BOOL, str.endswith, costs.traversal_of_second)
method("contains", "contains_string", _TWO, BOOL, lambda x, y: y in x, costs.product)
function("matches", "matches", _TWO, BOOL, matches, costs.pattern)
method("matches", "matches_string", _TWO, BOOL, matches, costs.pattern)
method("find", "string_find_string", _TWO, STRING, _find, costs.pattern)
method("findAll", "string_find_all_string", _TWO, _STRINGS, _find_all, costs.pattern)
method("findAll", "string_find_all_string_int", (*_TWO, INT), _STRINGS, _find_all, costs.pattern)
method("charAt", "string_char_at_int", (STRING, INT), STRING, _char_at)
method("indexOf", "string_index_of_string", _TWO, INT, _index_of, costs.deep)
method("indexOf", "string_index_of_string_int", (*_TWO, INT), INT, _index_of, costs.deep)
method("lastIndexOf", "string_last_index_of_string", _TWO, INT, _last_index_of, costs.deep)
method(
    "lastIndexOf", "string_last_index_of_string_int", (*_TWO, INT), INT, _last_index_of, costs.deep
)
method(
    "lowerAscii", "string_lower_ascii", _ONE, STRING,
    lambda text: text.translate(_LOWER), costs.traversal,
)  # fmt: skip
method(
    "upperAscii", "string_upper_ascii", _ONE, STRING,
    lambda text: text.translate(_UPPER), costs.traversal,
)  # fmt: skip
method(
    "replace", "string_replace_string_string", (STRING, *_TWO), STRING, str.replace,
    costs.traversal_twice,
)  # fmt: skip
method(
    "replace", "string_replace_string_string_int", (STRING, *_TWO, INT), STRING, str.replace,
    costs.traversal_twice,
)  # fmt: skip
method("split", "string_split_string", _TWO, _STRINGS, _split, costs.traversal_twice)
method("split", "string_split_string_int", (*_TWO, INT), _STRINGS, _split, costs.traversal_twice)
method("substring", "string_substring_int", (STRING, INT), STRING, _substring, costs.traversal)
method(
    "substring", "string_substring_int_int", (STRING, INT, INT), STRING, _substring,
    costs.traversal,
)  # fmt: skip
method("trim", "string_trim", _ONE, STRING, lambda text: text.strip(_SPACES), costs.traversal)
method("join", "list_join", (_STRINGS,), STRING, _join, costs.result_twice)
method("join", "list_join_string", (_STRINGS, STRING), STRING, _join, costs.result_twice)
method("format", "string_format", (STRING, list_of(DYN)), STRING, formatted, costs.traversal)
function(
    "strings.quote", "strings_quote", _ONE, STRING,
    lambda text: f'"{text.translate(_QUOTES)}"', costs.traversal,
)  # fmt: skip
function(
    "jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", _ONE, STRING,
    lambda key: key.replace("~", "~0").replace("/", "~1"), costs.traversal,
)  # fmt: skip
