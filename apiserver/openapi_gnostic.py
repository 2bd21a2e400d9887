"""Swagger documents in the protobuf form that kubectl asks for: ``openapi.v2.Document``.

What kubectl validates on its own (``kind: List`` files, kinds that the server does not know) it
looks up there; it takes no JSON. Source of the field numbers: gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

import struct
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


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def _number(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


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
    """ParametersItem of a Parameter: a body's, or one of the others, which NonBodyParameter holds
    by where they are.
    """
    if value["in"] == "body":
        inner = _object(_BODY, 6)(1, value)
    else:
        member = _MEMBERS[value["in"]]
        fields, extension = (_QUERY, 23) if member in {2, 3} else (_PATH, 22)
        inner = record(2, _object(fields, extension)(member, value))
    return record(number, record(1, inner))


def _items(number: int, value: JSON) -> bytes:
    return record(number, _message(_ITEMS, value, 18))


def _path_items(number: int, value: JSON) -> bytes:
    return record(number, _named(_object(_PATH_ITEM, 10))(2, value))


# ---------------------------------------------------------------- messages

_TEXTS = _repeated(_text)
_MEMBERS = {"header": 1, "formData": 2, "query": 3, "path": 4}
_PLAIN: dict[str, _Write] = {
    "type": _text, "format": _text, "items": _items, "collectionFormat": _text, "default": _any,
    "maximum": _number, "exclusiveMaximum": _flag, "minimum": _number, "exclusiveMinimum": _flag,
    "maxLength": _integer, "minLength": _integer, "pattern": _text, "maxItems": _integer,
    "minItems": _integer, "uniqueItems": _flag, "enum": _repeated(_any), "multipleOf": _number,
}  # fmt: skip
"""What is no object, in the order of its numbers, which begin elsewhere in each message."""


def _plain(first: int) -> _Fields:
    return {name: (number, write) for number, (name, write) in enumerate(_PLAIN.items(), first)}


_SCHEMA: _Fields = {
    "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text),
    "default": (5, _any), "multipleOf": (6, _number), "maximum": (7, _number),
    "exclusiveMaximum": (8, _flag), "minimum": (9, _number), "exclusiveMinimum": (10, _flag),
    "maxLength": (11, _integer), "minLength": (12, _integer), "pattern": (13, _text),
    "maxItems": (14, _integer), "minItems": (15, _integer), "uniqueItems": (16, _flag),
    "maxProperties": (17, _integer), "minProperties": (18, _integer), "required": (19, _TEXTS),
    "enum": (20, _repeated(_any)), "additionalProperties": (21, _additional), "type": (22, _type),
    "items": (23, _inside(_schema)), "allOf": (24, _repeated(_schema)),
    "properties": (25, _inside(_named(_schema))), "discriminator": (26, _text),
    "readOnly": (27, _flag), "example": (30, _any),
}  # fmt: skip
_BODY: _Fields = {
    "description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _flag),
    "schema": (5, _schema),
}  # fmt: skip
_PARAMETER: _Fields = {
    "required": (1, _flag), "in": (2, _text), "description": (3, _text), "name": (4, _text),
}  # fmt: skip
_ITEMS = _plain(1)
_PATH = _PARAMETER | _plain(5)
_QUERY = _PARAMETER | {"allowEmptyValue": (5, _flag)} | _plain(6)
_RESPONSE: _Fields = {"description": (1, _text), "schema": (2, _inside(_schema))}
_OPERATION: _Fields = {
    "tags": (1, _TEXTS), "summary": (2, _text), "description": (3, _text),
    "operationId": (5, _text), "produces": (6, _TEXTS), "consumes": (7, _TEXTS),
    "parameters": (8, _repeated(_parameter)),
    "responses": (9, _inside(_named(_inside(_object(_RESPONSE, 5))))), "schemes": (10, _TEXTS),
    "deprecated": (11, _flag),
}  # fmt: skip
_PATH_ITEM: _Fields = {
    "get": (2, _object(_OPERATION, 13)), "put": (3, _object(_OPERATION, 13)),
    "post": (4, _object(_OPERATION, 13)), "delete": (5, _object(_OPERATION, 13)),
    "options": (6, _object(_OPERATION, 13)), "head": (7, _object(_OPERATION, 13)),
    "patch": (8, _object(_OPERATION, 13)), "parameters": (9, _repeated(_parameter)),
}  # fmt: skip
_DOCUMENT: _Fields = {
    "swagger": (1, _text), "info": (2, _object({"title": (1, _text), "version": (2, _text)})),
    "paths": (8, _path_items), "definitions": (9, _inside(_named(_schema))),
}  # fmt: skip
