"""Kubernetes' protobuf wire format, encoded by the table of types from JSON form.

Fields are written in order of their numbers, maps in order of their keys, and every field that Go
holds by value also when it is zero: byte for byte what upstream's generated code writes. The
input is an object as the API server holds it (checked by podwire.api.structure).
Source of the format: generated.pb.go of k8s.io/api, apimachinery runtime/serializer/protobuf.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec

from podwire.api import times
from podwire.api.protobuf import MAGIC
from podwire.api.schema import Field, Type, type_named
from podwire.api.view import JSON

_FIXED64, _BYTES = 1, 2
_json = msgspec.json.Encoder().encode


def varint(value: int) -> bytes:
    """A varint; negative numbers as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([n]) for n in range(0x80)]


def record(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return b"%b%b%b" % (varint(number << 3 | _BYTES), varint(len(data)), data)


def wrap(api_version: str, kind: str, message: bytes) -> bytes:
    """The ``k8s`` envelope (runtime.Unknown) around a message."""
    type_meta = record(1, api_version.encode()) + record(2, kind.encode())
    return b"%b%b%b\x1a\x00\x22\x00" % (MAGIC, record(1, type_meta), record(2, message))


def encode(type: Type, obj: JSON) -> bytes:
    """An object's message, without envelope."""
    return _message(type, obj)


def encode_list(items: Iterable[bytes], meta: JSON) -> bytes:
    """The message of any list kind from its items' messages; ``meta`` is its ListMeta."""
    head = record(1, _message(type_named("meta.v1.ListMeta"), meta))
    return b"".join([head, *(record(2, item) for item in items)])


def watch_event(type: str, wrapped: bytes) -> bytes:
    """A frame of a watch stream: four bytes of length, then a WatchEvent around an object."""
    event = record(1, type.encode()) + record(2, record(1, wrapped))
    return len(event).to_bytes(4, "big") + event


_Write = Callable[[Any, Field], bytes]
_Step = tuple[str, bytes, str, Field, bytes | None]
_plans: dict[str, list[_Step]] = {}


def _plan(type: Type) -> list[_Step]:
    """Per field in order: JSON name, key, code, field, and what is written when it is absent."""
    plan = _plans.get(type.name)
    if plan is None:
        plan = _plans[type.name] = []
        for field in sorted(type.own, key=lambda f: f.number):
            if field.number:
                code = field.code
                wire = 0 if code[-1] in "bil" else _FIXED64 if code[-1] == "f" else _BYTES
                key = varint(field.number << 3 | (_BYTES if code[0] == "{" else wire))
                plan.append((field.name, key, code, field, _absent(field, key)))
    return plan


def _absent(field: Field, key: bytes) -> bytes | None:
    """What Go writes for a zero value that it does not hold by pointer; None when nothing."""
    code = field.code
    if field.pointer or len(code) > 1 or code in "yeABS":
        return None
    if code == "m":
        return key + _sized(_message(type_named(field.ref), {}))
    return key + _ZEROS[code]


_ZEROS = {
    "s": b"\x00", "b": b"\x00", "i": b"\x00", "l": b"\x00", "f": bytes(8), "t": b"\x00",
    "u": b"\x00", "r": b"\x00", "v": b"\x00", "q": b"\x03\x0a\x010",
    "x": b"\x06\x08\x00\x10\x00\x1a\x00",
}  # fmt: skip


def _sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def _message(type: Type, obj: JSON) -> bytes:
    parts: list[bytes] = []
    for name, key, code, field, absent in _plan(type):
        if not name:  # an embedded struct that has a number of its own
            parts += (key, _sized(_message(type_named(field.ref), obj)))
            continue
        value = obj.get(name)
        if value is None:
            if absent is not None:
                parts.append(absent)
        elif code == "s":
            data = value.encode()
            parts += (key, varint(len(data)), data)
        elif code[0] == "[":
            write = _WRITERS[code[1]]
            for item in value:
                parts += (key, _ZEROS[code[1]] if item is None else write(item, field))
        elif code[0] == "{":
            for name_ in sorted(value):
                parts += (key, _sized(_entry(code[1], name_, value[name_], field)))
        else:
            parts += (key, _WRITERS[code](value, field))
    return b"".join(parts)


def _entry(code: str, name: str, value: Any, field: Field) -> bytes:
    wire = 0 if code in "bil" else _FIXED64 if code == "f" else _BYTES
    data = name.encode()
    written = _ZEROS[code] if value is None else _WRITERS[code](value, field)
    return b"\x0a%b%b%b%b" % (varint(len(data)), data, _SMALL[2 << 3 | wire], written)


def _text(value: str, _field: Field) -> bytes:
    return _sized(value.encode())


def _integer(value: int, _field: Field) -> bytes:
    return varint(int(value))


def _float(value: float, _field: Field) -> bytes:
    return struct.pack("<d", value)


def _base64(value: str, _field: Field) -> bytes:
    return _sized(base64.b64decode(value))


def _reference(value: JSON, field: Field) -> bytes:
    return _sized(_message(type_named(field.ref), value))


def _time(value: str, _field: Field) -> bytes:
    return _seconds(value)


@lru_cache(maxsize=4096)
def _seconds(text: str) -> bytes:
    """Remembered: an object's timestamps are written again at each of its changes."""
    return _timestamp(times.parse_time(text) // times.NS, 0)


def _micro_time(value: str, _field: Field) -> bytes:
    ns = times.parse_micro_time(value)
    return _timestamp(ns // times.NS, ns % times.NS)


def _timestamp(seconds: int, nanos: int) -> bytes:
    return _sized(b"\x08%b\x10%b" % (varint(seconds), varint(nanos)))


def _quantity(value: str, _field: Field) -> bytes:
    return _sized(record(1, value.encode()))


def _int_or_string(value: int | str, _field: Field) -> bytes:
    if isinstance(value, str):
        return _sized(b"\x08\x01\x10\x00\x1a" + _sized(value.encode()))
    return _sized(b"\x08\x00\x10%b\x1a\x00" % varint(value))


def _raw(value: Any, _field: Field) -> bytes:
    return _sized(record(1, _json(value)))


def _strings(value: list[str], _field: Field) -> bytes:
    return _sized(b"".join(record(1, item.encode()) for item in value))


def _schema_or_array(value: Any, field: Field) -> bytes:
    struct_type = type_named(field.ref)
    if isinstance(value, list):
        return _sized(b"".join(record(2, _message(struct_type, item)) for item in value))
    return _sized(record(1, _message(struct_type, value)))


def _schema_or_bool(value: Any, field: Field) -> bytes:
    if isinstance(value, bool):
        return _sized(b"\x08\x01" if value else b"\x08\x00")
    return _sized(b"\x08\x01" + record(2, _message(type_named(field.ref), value)))


def _schema_or_strings(value: Any, field: Field) -> bytes:
    if isinstance(value, list):
        return _sized(b"".join(record(2, item.encode()) for item in value))
    return _sized(record(1, _message(type_named(field.ref), value)))


_WRITERS: dict[str, _Write] = {
    "s": _text, "b": _integer, "i": _integer, "l": _integer, "f": _float, "y": _base64,
    "m": _reference, "t": _time, "u": _micro_time, "q": _quantity, "x": _int_or_string,
    "r": _raw, "v": _raw, "e": _strings, "A": _schema_or_array, "B": _schema_or_bool,
    "S": _schema_or_strings,
}  # fmt: skip
