"""JSON values as Go prints them, for messages that upstream makes with %v and %q."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any


def go_value(value: Any) -> str:
    """``map[a:1 b:[x y]]``: Go's %v; keys in order, as Go prints maps."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_value(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def go_quoted(text: str) -> str:
    """A text in quotes: Go's %q, as far as JSON's escapes are the same."""
    return encode_basestring(text)
