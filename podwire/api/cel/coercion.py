"""JSON values to the values that their schema says they are.

Source: Kubernetes' apiserver pkg/cel/common/valuesunstructured.go. Values stay JSON until an
expression takes them: most schemas have nothing to convert, and most rules look at little.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from podwire.api.cel.types import Type, is_optional
from podwire.api.cel.values import (
    NONE,
    CelError,
    Duration,
    MapList,
    Optional,
    SetList,
    parse_duration,
    parse_timestamp,
)

Coerce = Callable[[Any], Any]
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WORDS = re.compile(r"\s*([0-9]+)\s*([A-Za-zµ]+)\s*")
_UNITS = {
    **dict.fromkeys(("ns", "nano", "nanosecond", "nanoseconds"), 1),
    **dict.fromkeys(("us", "µs", "micro", "micros", "microsecond", "microseconds"), 10**3),
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 10**6),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 10**9),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60 * 10**9),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600 * 10**9),
    **dict.fromkeys(("d", "day", "days"), 86400 * 10**9),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400 * 10**9),
}


def coercion(one: Type) -> Coerce | None:
    """What makes a value of this type out of JSON, or None where JSON's value is the value."""
    match one.kind:
        case "double":
            return _double
        case "timestamp":
            return _timestamp
        case "duration":
            return _duration
        case "bytes":
            return _bytes
        case "list":
            return _list(one)
        case "map":
            inner = coercion(one.params[1])
            return None if inner is None else _entries(inner)
        case "struct":
            return _struct(one)
    if is_optional(one) and (inner := coercion(one.params[0])) is not None:
        return _optional(inner)
    return None


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _timestamp(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parsed = parse_timestamp(f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value)
    if parsed is None:
        raise CelError(f"Invalid RFC3339 time {value}")
    return parsed


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parsed = parse_duration(value)
    if parsed is None and (words := _WORDS.fullmatch(value)) and words[2].lower() in _UNITS:
        parsed = Duration(int(words[1][:20]) * _UNITS[words[2].lower()])
    if parsed is None:
        raise CelError(f"Invalid duration {value}")
    return parsed


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise CelError(f"Invalid base64 {value}") from None


def _list(one: Type) -> Coerce | None:
    inner = coercion(one.params[0])
    if one.merge == "set":
        return lambda value: value if isinstance(value, SetList) else _set(value, inner)
    if one.merge == "map":
        keys = one.keys

        def key(item: Any) -> Any:
            return tuple(item.get(name) for name in keys) if isinstance(item, dict) else None

        return lambda value: value if isinstance(value, MapList) else _map_list(value, inner, key)
    return None if inner is None else lambda value: _items(value, inner)


def _items(value: Any, inner: Coerce | None) -> Any:
    if inner is None or not isinstance(value, list):
        return value
    return [inner(item) for item in value]


def _set(value: Any, inner: Coerce | None) -> Any:
    return SetList(_items(value, inner)) if isinstance(value, list) else value


def _map_list(value: Any, inner: Coerce | None, key: Coerce) -> Any:
    return MapList(_items(value, inner), key) if isinstance(value, list) else value


def _entries(inner: Coerce) -> Coerce:
    return lambda value: (
        {key: inner(one) for key, one in value.items()} if isinstance(value, dict) else value
    )


def _struct(one: Type) -> Coerce | None:
    inner = {
        field.json: coerce
        for field in (one.fields or {}).values()
        if (coerce := coercion(field.type)) is not None
    }
    if not inner:
        return None

    def work(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: inner[key](it) if key in inner else it for key, it in value.items()}

    return work


def _optional(inner: Coerce) -> Coerce:
    return lambda value: (
        Optional(inner(value.value)) if isinstance(value, Optional) and value is not NONE else value
    )
