"""``fieldPath`` of a rule: a JSON path of fields and map keys that a schema knows.

Source: apiextensions-apiserver pkg/apiserver/schema/cel/validation.go (ValidFieldPath).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'",
    "\\": "\\",
}  # fmt: skip
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+'*", re.DOTALL)


class PathError(ValueError):
    """The text is no path, or the schema does not know it; the message is upstream's."""


def resolve(path: str, schema: Mapping[str, Any]) -> str:
    """A path as field errors show it (``.a['b']`` -> ``a[b]``). Raises PathError."""
    tokens = _TOKEN.findall(path)
    shown, place = "", 0
    while place < len(tokens):
        sign = tokens[place]
        if sign not in {".", "["}:
            raise PathError(f"expected [ or . but got: {sign}")
        if place + 1 >= len(tokens):
            raise PathError("unexpected end of JSON path")
        name = tokens[place + 1]
        if sign == "[":
            name = _quoted(name)
            if place + 2 >= len(tokens):
                raise PathError("unexpected end of JSON path")
            if tokens[place + 2] != "]":
                raise PathError(f"expected ] but got {tokens[place + 2]}")
            place += 1
        place += 2
        schema, shown = _step(schema, name, shown)
    return shown


def _quoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise PathError(f"expected single quoted string but got {token}")

    def plain(found: re.Match[str]) -> str:
        if found[1] not in _SIMPLE:
            raise PathError(f"invalid string literal: invalid escape char {found[0]}")
        return _SIMPLE[found[1]]

    return _ESCAPE.sub(plain, token[1:-1])


def _step(schema: Mapping[str, Any], name: str, shown: str) -> tuple[Mapping[str, Any], str]:
    if schema.get("properties") is not None:
        found = schema["properties"].get(name)
        if found is None:
            raise PathError("does not refer to a valid field")
        return found, f"{shown}.{name}" if shown else name
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        return values, f"{shown}[{name}]"
    raise PathError("does not refer to a valid field")
