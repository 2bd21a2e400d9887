"""Kubernetes' protobuf wire format, decoded by the table of types into JSON form.

kubectl, helm and client-go send typed writes this way and never fall back to JSON. Encoding is in
protobuf_encode. The decoder trusts nothing: lengths, depth and varints are
bounded, and every failure is a ProtobufError.
Source of the format: apimachinery runtime/serializer/protobuf and meta/v1 (special types).
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec

from podwire.api import times
from podwire.api.schema import Field, Type, type_named
from podwire.api.view import JSON

MAGIC = b"k8s\x00"
MAX_DEPTH = 120
"""Deeper than any type in the table nests but CustomResourceDefinition's, which recurses."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ProtobufError(ValueError):
    """The bytes are not a message of the type."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned 64-bit varint and the offset behind it."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ProtobufError("proto: integer overflow")


def _records(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of every record of a message, in order."""
    found: list[tuple[int, int, int | bytes]] = []
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ProtobufError("proto: illegal tag 0")
        if wire == _VARINT:
            value, at = _varint(data, at)
            found.append((number, wire, value))
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")
        if size > end - at:
            raise ProtobufError("unexpected EOF")
        found.append((number, wire, data[at : at + size]))
        at += size
    return found


def unwrap(body: bytes) -> tuple[str, str, bytes]:
    """The apiVersion, kind and message bytes of the ``k8s`` envelope (runtime.Unknown).

    Raises ProtobufError.
    """
    if not body.startswith(MAGIC):
        raise ProtobufError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    api_version = kind = ""
    raw = b""
    for number, wire, value in _records(body[len(MAGIC) :]):
        if wire != _BYTES or not isinstance(value, bytes):
            continue
        if number == 1:
            for inner, _, text in _records(value):
                if isinstance(text, bytes):
                    if inner == 1:
                        api_version = _text(text)
                    elif inner == 2:
                        kind = _text(text)
        elif number == 2:
            raw = value
    return api_version, kind, raw


def decode(type: Type, data: bytes) -> JSON:
    """A message in JSON form: bytes as base64, times as RFC 3339, nothing defaulted or pruned.

    Zero values are kept; the structural check drops those that Go would. Raises ProtobufError.
    """
    found: JSON = {}
    _message(type, data, found, 0)
    return found


_numbers: dict[str, dict[int, Field]] = {}


def _by_number(type: Type) -> dict[int, Field]:
    found = _numbers.get(type.name)
    if found is None:
        found = _numbers[type.name] = {field.number: field for field in type.own if field.number}
    return found


def _message(type: Type, data: bytes, into: JSON, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ProtobufError("proto: message nests too deep")
    fields = _by_number(type)
    for number, wire, value in _records(data):
        field = fields.get(number)
        if field is None:  # a newer client's field
            continue
        code = field.code
        if not field.name:
            _message(type_named(field.ref), _need_bytes(value, field), into, depth + 1)
        elif code[0] == "[":
            items = into.setdefault(field.name, [])
            if wire == _BYTES and code[1] in "bil":
                items += _packed(_need_bytes(value, field), code[1])
            else:
                items.append(_value(code[1], field, value, depth))
        elif code[0] == "{":
            key, item = _entry(code[1], field, _need_bytes(value, field), depth)
            into.setdefault(field.name, {})[key] = item
        else:
            decoded = _value(code, field, value, depth)
            if decoded is not None:
                into[field.name] = decoded


def _need_bytes(value: int | bytes, field: Field) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError(f"proto: wrong wireType = 0 for field {field.name}")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtobufError("proto: invalid UTF-8 string") from None


def _number(code: str, value: int) -> int | bool:
    if code == "b":
        return value != 0
    bits = 32 if code == "i" else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _packed(data: bytes, code: str) -> list[int | bool]:
    found = []
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(_number(code, value))
    return found


def _entry(code: str, field: Field, data: bytes, depth: int) -> tuple[str, Any]:
    """One map entry; an absent value is the type's zero."""
    key = ""
    item: Any = {} if code == "m" else _ZERO.get(code)
    for number, _, value in _records(data):
        if number == 1:
            key = _text(_need_bytes(value, field))
        elif number == 2:
            decoded = _value(code, field, value, depth)
            item = item if decoded is None else decoded
    return key, item


_ZERO: dict[str, Any] = {"s": "", "y": "", "b": False, "i": 0, "l": 0, "f": 0, "q": "0"}


def _value(code: str, field: Field, value: int | bytes, depth: int) -> Any:
    """One value in JSON form, or None for Go's zero of a special type."""
    if code in "bil":
        if not isinstance(value, int):
            raise ProtobufError(f"proto: wrong wireType = 2 for field {field.name}")
        return _number(code, value)
    data = _need_bytes(value, field)
    if code == "s":
        return _text(data)
    if code == "f":
        if len(data) != 8:
            raise ProtobufError(f"proto: wrong wireType for field {field.name}")
        return struct.unpack("<d", data)[0]
    if code == "m":
        found: JSON = {}
        _message(type_named(field.ref), data, found, depth + 1)
        return found
    if code == "y":
        return base64.b64encode(data).decode()
    if code == "e":
        return [
            _text(_need_bytes(item, field)) for number, _, item in _records(data) if number == 1
        ]
    if code in "ABS":
        return _union(code, field, data, depth)
    return _special(code, field, data)


def _union(code: str, field: Field, data: bytes, depth: int) -> Any:
    """A JSON schema or something else. Source: apiextensions v1 marshal.go."""
    schema: JSON | None = None
    allows, schemas, texts = False, [], []
    for number, _, value in _records(data):
        if code == "B" and number == 1:
            allows = bool(value)
        elif code == "S" and number == 2:
            texts.append(_text(_need_bytes(value, field)))
        else:
            found: JSON = {}
            _message(type_named(field.ref), _need_bytes(value, field), found, depth + 1)
            if number == 1 or code == "B":
                schema = found
            else:
                schemas.append(found)
    if code == "B":
        return allows if schema is None else schema
    return schemas or texts or schema


def _special(code: str, field: Field, data: bytes) -> Any:
    parts = {number: value for number, _, value in _records(data)}
    if code in "tu":
        return _timestamp(code, parts)
    if code == "x":
        if parts.get(1, 0) == 0:
            value = parts.get(2, 0)
            return _number("i", value) if isinstance(value, int) else None
        return _text(_need_bytes(parts.get(3, b""), field))
    content = _need_bytes(parts.get(1, b""), field)
    if code == "q":
        return _text(content) or None
    if code in "rv":
        if not content:
            return None
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtobufError(f"{field.name}: {error}") from None
    raise ProtobufError(f"proto: field {field.name} is not modelled")


def _timestamp(code: str, parts: dict[int, int | bytes]) -> str | None:
    """Time carries seconds only (its nanos are ignored, as upstream does)."""
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not parts or not isinstance(seconds, int) or not isinstance(nanos, int):
        return None
    seconds, nanos = _number("l", seconds), _number("i", nanos)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ProtobufError("proto: time out of range")
    if seconds == _FIRST_SECOND:
        return None
    ns = seconds * times.NS
    return times.format_time(ns) if code == "t" else times.format_micro_time(ns + nanos)


_FIRST_SECOND = times.parse_time("0001-01-01T00:00:00Z") // times.NS
_LAST_SECOND = times.parse_time("9999-12-31T23:59:59Z") // times.NS
