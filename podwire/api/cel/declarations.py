"""Structural schemas as CEL types, and names that CEL cannot say.

Source: Kubernetes' apiserver pkg/cel/common/schemas.go, pkg/cel/escaping.go, pkg/cel/limits.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podwire.api.cel.types import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    Field,
    Type,
    list_of,
    map_of,
    struct,
)
from podwire.api.view import JSON

MAX_REQUEST_BYTES = 3 * 1024 * 1024
"""The largest request that costs are estimated for."""

_MAX_TEXT = MAX_REQUEST_BYTES - 2
RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for",
        "function", "if", "import", "let", "loop", "package", "namespace", "return", "var",
        "void", "while",
    )
)  # fmt: skip
"""Words that are no names."""

_PLAIN = re.compile(r"[A-Za-z_](?:_?[A-Za-z0-9])*_?")
_ALLOWED = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
_SPECIAL = re.compile(r"__|[-./]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_MAX_NAME = 253


def escape(name: str) -> str | None:
    """A property's name as an identifier (``a-b`` -> ``a__dash__b``); None when there is none."""
    if name in RESERVED:
        return f"__{name}__"
    if _PLAIN.fullmatch(name):
        return name
    if not _ALLOWED.fullmatch(name):
        return None
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)


def with_metadata(schema: Mapping[str, Any]) -> JSON:
    """The schema of a resource's root: rules may always ask for its kind, version and name."""
    text = {"type": "string"}
    properties = schema.get("properties") or {}
    names = (properties.get("metadata") or {}).get("properties") or {}
    if {name: (names.get(name) or {}).get("type") for name in _NAMES} == _NAMES:
        given = {name: (properties.get(name) or {}).get("type") for name in ("kind", "apiVersion")}
        if set(given.values()) == {"string"}:
            return dict(schema)
    capped = {
        "name": _capped(names.get("name"), _MAX_NAME),
        # what the server appends has a byte at least
        "generateName": _capped(names.get("generateName"), _MAX_NAME - 1),
    }
    metadata = {"type": "object", "properties": capped}
    made = {**properties, "kind": text, "apiVersion": text, "metadata": metadata}
    return {**schema, "properties": made}


_NAMES = {"name": "string", "generateName": "string"}


def _capped(schema: Any, limit: int) -> JSON:
    longest = schema.get("maxLength") if isinstance(schema, Mapping) else None
    return {"type": "string", "maxLength": limit if longest is None else min(longest, limit)}


def declare(
    schema: Mapping[str, Any], *, root: bool = False, name: str = "selfType"
) -> Type | None:
    """The type of what a schema describes, or None where expressions cannot see it.

    ``root`` marks the root of a resource, embedded ones included; ``name`` is what errors call
    its objects (upstream appends a number that is different each time).
    """
    if schema.get("x-kubernetes-int-or-string"):
        return _sized("dyn", "dyn", _text_limit(schema), 1)
    if root:
        schema = with_metadata(schema)
    match schema.get("type"):
        case "array":
            return _array(schema, name)
        case "object":
            return _object(schema, name)
        case "string":
            return _string(schema)
        case "boolean":
            return BOOL
        case "number":
            return DOUBLE
        case "integer":
            return INT
    return None


def _sized(kind: str, name: str, max_elements: int, min_size_bytes: int) -> Type:
    return Type(kind, name, max_elements=max_elements, min_size_bytes=min_size_bytes)


def _inner(schema: Mapping[str, Any], name: str) -> Type | None:
    return declare(schema, root=bool(schema.get("x-kubernetes-embedded-resource")), name=name)


def _text_limit(schema: Mapping[str, Any]) -> int:
    longest = schema.get("maxLength")
    # a limit is in characters, and one may take four bytes
    return _MAX_TEXT if longest is None else max(longest, 0) * 4


def _array(schema: Mapping[str, Any], name: str) -> Type | None:
    items = schema.get("items")
    inner = _inner(items, f"{name}.@idx") if isinstance(items, Mapping) else None
    if inner is None:
        return None
    limit = schema.get("maxItems")
    if limit is None:
        limit = _MAX_TEXT // (inner.min_size_bytes + 1)
    made = list_of(inner, max(limit, 0))
    made.merge = schema.get("x-kubernetes-list-type") or ""
    made.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return made


def _object(schema: Mapping[str, Any], name: str) -> Type | None:
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        inner = _inner(values, f"{name}.@elem")
        if inner is None:
            return None
        limit = schema.get("maxProperties")
        if limit is None:
            limit = _MAX_TEXT // (inner.min_size_bytes + 6)
        return map_of(STRING, inner, max(limit, 0))
    required = schema.get("required") or ()
    fields: dict[str, Field] = {}
    size = 2
    for key, one in (schema.get("properties") or {}).items():
        escaped = escape(key)
        inner = _inner(one, f"{name}.{escaped or key}")
        if inner is None:
            continue
        if escaped is not None:
            fields[escaped] = Field(key, inner)
        if key in required and one.get("default") is None:
            size += len(key.encode()) + inner.min_size_bytes + 4
    return struct(name, fields, size)


def field_of(one: Type, name: str) -> Field | None:
    """A declared field by its name in an expression; keywords need not be escaped there."""
    fields: Mapping[str, Field] = {} if one.fields is None else one.fields
    found = fields.get(name)
    return fields.get(f"__{name}__") if found is None and name in RESERVED else found


def _string(schema: Mapping[str, Any]) -> Type:
    match schema.get("format"):
        case "byte":
            longest = schema.get("maxLength")
            return _sized("bytes", "bytes", _MAX_TEXT if longest is None else max(longest, 0), 2)
        case "duration":
            return _sized("duration", "duration", 32, 3)
        case "date":
            return _sized("timestamp", "timestamp", 12, 12)
        case "date-time":
            return _sized("timestamp", "timestamp", 32, 21)
    choices = schema.get("enum")
    if schema.get("maxLength") is None and choices:
        longest = max((len(one.encode()) for one in choices if isinstance(one, str)), default=0)
        return _sized("string", "string", longest, 2)
    return _sized("string", "string", _text_limit(schema), 2)
