"""Swagger documents in the protobuf form that kubectl asks for: ``openapi.v2.Document``.

What kubectl validates on its own (``kind: List`` files, kinds that the server does not know) it
looks up there; it takes no JSON. Source of the field numbers: gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from podwire.api.protobuf_encode import record, varint
from podwire.api.view import JSON

_Write = Callable[[int, Any], bytes]
_Fields = dict[str, tuple[int, _Write]]
_json = msgspec.json.Encoder(order="sorted").encode


def document(swagger: JSON) -> bytes:
    """A swagger 2.0 document (JSON form), encoded.

    Raises ValueError with the name of a field that has no number in gnostic's messages, so that
    nothing is lost in silence.
    """
    return _message(_DOCUMENT, swagger)


def _message(fields: _Fields, node: JSON, extension: int = 0) -> bytes:
    """A message of its fields in order of their numbers; ``x-`` fields come as extensions."""
    parts: list[tuple[int, bytes]] = []
    for name, value in node.items():
        if name in fields:
            number, write = fields[name]
            parts.append((number, write(number, value)))
        elif name.startswith("x-") and extension:
            parts.append((extension, _named(_any)(extension, {name: value})))
        else:
            raise ValueError(f"{name} has no number in gnostic's protobuf")
    return b"".join(data for _, data in sorted(parts, key=lambda part: part[0]))


# ---------------------------------------------------------------- how a value is written


def _text(number: int, value: str) -> bytes:
    return record(number, value.encode())


def _flag(number: int, value: bool) -> bytes:
    return varint(number << 3) + varint(int(value)) if value else b""


def _any(number: int, value: Any) -> bytes:
    """An Any: YAML text, of which JSON is a part."""
    return record(number, record(2, _json(value)))


def _repeated(write: _Write) -> _Write:
    return lambda number, values: b"".join(write(number, value) for value in values)


def _named(write: _Write) -> _Write:
    """A map as pairs of a name and a value."""

    def pairs(number: int, values: JSON) -> bytes:
        return b"".join(
            record(number, record(1, name.encode()) + write(2, value))
            for name, value in values.items()
        )

    return pairs


def _inside(write: _Write) -> _Write:
    """A message of which ``write`` is field 1."""
    return lambda number, value: record(number, write(1, value))


def _object(fields: _Fields, extension: int = 0) -> _Write:
    return lambda number, value: record(number, _message(fields, value, extension))


def _type(number: int, value: str | list[str]) -> bytes:
    values = [value] if isinstance(value, str) else value
    return record(number, _repeated(_text)(1, values))


def _schema(number: int, value: JSON) -> bytes:
    return record(number, _message(_SCHEMA, value, 31))


def _additional(number: int, value: JSON | bool) -> bytes:
    """AdditionalPropertiesItem: a schema or a bool."""
    inner = _flag(2, value) if isinstance(value, bool) else _schema(1, value)
    return record(number, inner)


def _parameter(number: int, value: JSON) -> bytes:
    """ParametersItem of a Parameter: a body's, or a query's or path's."""
    if value["in"] == "body":
        inner = _object(_BODY, 6)(1, value)
    else:
        member, fields = (3, _QUERY) if value["in"] == "query" else (4, _PATH)
        inner = record(2, _object(fields, fields["uniqueItems"][0] + 2)(member, value))
    return record(number, record(1, inner))


def _path_items(number: int, value: JSON) -> bytes:
    return record(number, _named(_object(_PATH_ITEM, 10))(2, value))


# ---------------------------------------------------------------- messages

_TEXTS = _repeated(_text)
_SCHEMA: _Fields = {
    "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text),
    "default": (5, _any), "pattern": (13, _text), "uniqueItems": (16, _flag),
    "required": (19, _TEXTS), "enum": (20, _repeated(_any)),
    "additionalProperties": (21, _additional), "type": (22, _type), "items": (23, _inside(_schema)),
    "allOf": (24, _repeated(_schema)), "properties": (25, _inside(_named(_schema))),
}  # fmt: skip
_BODY: _Fields = {
    "description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _flag),
    "schema": (5, _schema),
}  # fmt: skip
_PATH: _Fields = {
    "required": (1, _flag), "in": (2, _text), "description": (3, _text), "name": (4, _text),
    "type": (5, _text), "format": (6, _text), "uniqueItems": (19, _flag),
}  # fmt: skip
_QUERY: _Fields = _PATH | {
    "type": (6, _text), "format": (7, _text), "uniqueItems": (20, _flag),
}  # fmt: skip
_RESPONSE: _Fields = {"description": (1, _text), "schema": (2, _inside(_schema))}
_OPERATION: _Fields = {
    "tags": (1, _TEXTS), "description": (3, _text), "operationId": (5, _text),
    "produces": (6, _TEXTS), "consumes": (7, _TEXTS), "parameters": (8, _repeated(_parameter)),
    "responses": (9, _inside(_named(_inside(_object(_RESPONSE, 5))))),
}  # fmt: skip
_PATH_ITEM: _Fields = {
    "get": (2, _object(_OPERATION, 13)), "put": (3, _object(_OPERATION, 13)),
    "post": (4, _object(_OPERATION, 13)), "delete": (5, _object(_OPERATION, 13)),
    "patch": (8, _object(_OPERATION, 13)), "parameters": (9, _repeated(_parameter)),
}  # fmt: skip
_DOCUMENT: _Fields = {
    "swagger": (1, _text), "info": (2, _object({"title": (1, _text), "version": (2, _text)})),
    "paths": (8, _path_items), "definitions": (9, _inside(_named(_schema))),
}  # fmt: skip
