"""Conversions between types: ``int('1')``, ``string(1.0)``, ``type(x)``, ``dyn(x)``.

Source: cel-go common/stdlib/standard.go and ConvertToType of each type in common/types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from podwire.api.cel.functions import costs
from podwire.api.cel.functions.operators import A, natural, whole
from podwire.api.cel.functions.registry import function
from podwire.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    type_of,
)
from podwire.api.cel.values import (
    CelError,
    Duration,
    Timestamp,
    TypeValue,
    format_double,
    parse_duration,
    parse_timestamp,
    type_name,
)

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_DIGITS = re.compile(r"[0-9]{1,40}")
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
    r"|inf|infinity|nan|0x[0-9a-f]*\.?[0-9a-f]*p[+-]?[0-9]+)",
    re.IGNORECASE,
)
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_WIDE = float(1 << 63)
_WIDEST = float(1 << 64)


def _wrong(source: str, target: str) -> CelError:
    return CelError(f"type conversion error from '{source}' to '{target}'")


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _wrong("string", "bool")


def _int(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _wrong("string", "int")
    try:
        return whole(int(text))
    except CelError:
        raise _wrong("string", "int") from None


def _uint(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise _wrong("string", "uint")
    try:
        return natural(int(text))
    except CelError:
        raise _wrong("string", "uint") from None


def _double(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise _wrong("string", "double")
    try:
        return float.fromhex(text) if "x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        raise _wrong("string", "double") from None


def _truncated(number: float) -> int:
    if math.isnan(number) or not -_WIDE < number < _WIDE:
        raise CelError("integer overflow")
    return int(number)


def _unsigned(number: float) -> int:
    if math.isnan(number) or not 0 <= number < _WIDEST:
        raise CelError("unsigned integer overflow")
    return natural(int(number))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _duration(text: str) -> Duration:
    parsed = parse_duration(text)
    if parsed is None:
        raise _wrong("string", "google.protobuf.Duration")
    return parsed


def _timestamp(text: str) -> Timestamp:
    parsed = parse_timestamp(text)
    if parsed is None:
        raise _wrong("string", "google.protobuf.Timestamp")
    return parsed


def _same(value: Any) -> Any:
    return value


Conversion = tuple[str, Type, Callable[..., Any]]
_TO: tuple[tuple[str, Type, tuple[Conversion, ...]], ...] = (
    ("bool", BOOL, (("bool_to_bool", BOOL, _same), ("string_to_bool", STRING, _bool))),
    (
        "bytes",
        BYTES,
        (("bytes_to_bytes", BYTES, _same), ("string_to_bytes", STRING, str.encode)),
    ),
    (
        "double",
        DOUBLE,
        (
            ("double_to_double", DOUBLE, _same),
            ("int64_to_double", INT, float),
            ("string_to_double", STRING, _double),
            ("uint64_to_double", UINT, float),
        ),
    ),
    (
        "duration",
        DURATION,
        (("duration_to_duration", DURATION, _same), ("string_to_duration", STRING, _duration)),
    ),
    (
        "int",
        INT,
        (
            ("int64_to_int64", INT, _same),
            ("double_to_int64", DOUBLE, _truncated),
            ("duration_to_int64", DURATION, int),
            ("string_to_int64", STRING, _int),
            ("timestamp_to_int64", TIMESTAMP, lambda when: when.ns // 10**9),
            ("uint64_to_int64", UINT, lambda number: whole(int(number))),
        ),
    ),
    (
        "string",
        STRING,
        (
            ("string_to_string", STRING, _same),
            ("bool_to_string", BOOL, lambda value: "true" if value else "false"),
            ("bytes_to_string", BYTES, _text),
            ("double_to_string", DOUBLE, format_double),
            ("duration_to_string", DURATION, str),
            ("int64_to_string", INT, str),
            ("timestamp_to_string", TIMESTAMP, str),
            ("uint64_to_string", UINT, str),
        ),
    ),
    (
        "timestamp",
        TIMESTAMP,
        (
            ("timestamp_to_timestamp", TIMESTAMP, _same),
            ("int64_to_timestamp", INT, Timestamp.of_seconds),
            ("string_to_timestamp", STRING, _timestamp),
        ),
    ),
    (
        "uint",
        UINT,
        (
            ("uint64_to_uint64", UINT, _same),
            ("double_to_uint64", DOUBLE, _unsigned),
            ("int64_to_uint64", INT, natural),
            ("string_to_uint64", STRING, _uint),
        ),
    ),
)
_SIZED = frozenset(("string_to_bytes", "bytes_to_string"))

for _name, _result, _conversions in _TO:
    for _id, _arg, _work in _conversions:
        function(_name, _id, (_arg,), _result, _work, costs.traversal if _id in _SIZED else 1)
function("type", "type", (A,), type_of(A), lambda value: TypeValue(type_name(value)))
function("dyn", "to_dyn", (A,), DYN, _same)
