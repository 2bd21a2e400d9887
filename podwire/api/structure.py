"""The structural check: what Go's decoder does to a body, in one pass over the table of types.

The outcome is the object as a real API server would print it back after decoding: unknown fields
pruned and reported, nulls and empty optional values gone, quantities and times in canonical form,
and what Go always prints (``resources: {}``, ``replicas: 0``) present. The input is not changed.
Source of the behaviour: encoding/json and sigs.k8s.io/json, apimachinery resource and meta/v1.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from podwire.api import quantity, times
from podwire.api.schema import Field, Type, type_named
from podwire.api.view import JSON

MAX_RAW_DEPTH = 64
"""How deep free-form JSON (ControllerRevision data, managed fields) may nest."""

MAX_DEPTH = 120
"""How deep structs may nest; only the JSON schemas of CustomResourceDefinitions recurse."""


class StructureError(ValueError):
    """A value of the wrong type; the message is what Go's decoder says."""


class Walk:
    """Where the check stands: the path so far, the struct around it, and unknown fields found."""

    __slots__ = ("depth", "path", "struct", "unknown")

    def __init__(self) -> None:
        self.depth = 0
        self.path: list[str | int] = []
        self.struct: Type | None = None
        self.unknown: list[str] = []

    def fail(self, value: Any, go_type: str, name: str | None = None) -> StructureError:
        """Go's UnmarshalTypeError for ``value`` at the current path (plus ``name``)."""
        parts = [part for part in self.path if part.__class__ is str]
        if name is not None:
            parts.append(name)
        shown = describe(value)
        if self.struct is None or not parts:
            return _plain(shown, go_type)
        field = ".".join(map(str, parts))
        return StructureError(
            f"json: cannot unmarshal {shown} into Go struct field "
            f"{self.struct.go_name}.{field} of type {go_type}"
        )

    def report(self, name: str) -> None:
        """Remember an unknown field at the current path."""
        self.unknown.append(join_path(self.path, name))


def join_path(path: list[str | int], name: str) -> str:
    """``spec.containers[0].name`` from its parts."""
    text = ""
    for part in path:
        text += f"[{part}]" if part.__class__ is int else f".{part}"
    return f"{text}.{name}"[1:]


def describe(value: Any) -> str:
    """A JSON value as Go's errors call it: ``string``, ``number 1.5``, ``object``."""
    if value is True or value is False:
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return f"number {value}" if isinstance(value, float) else "number"
    return "array" if isinstance(value, list) else "object"


def _plain(shown: str, go_type: str) -> StructureError:
    return StructureError(f"json: cannot unmarshal {shown} into Go value of type {go_type}")


def check(type: Type, body: Any) -> tuple[JSON, list[str]]:
    """The object as decoded and the paths of unknown fields, in the body's order.

    Raises StructureError.
    """
    walk = Walk()
    try:
        found = _quick(body, _quick_plan(type), walk)
        if not walk.unknown:
            return found, walk.unknown
    except (StructureError, RecursionError):
        pass  # the walk that knows where it stands says it properly
    walk = Walk()
    return _message(body, type, walk), walk.unknown


# Most bodies have nothing wrong with them, so a first pass keeps no path: half the time.

_STRING, _MESSAGE, _MESSAGES, _OTHER = range(4)


class _Quick:
    """What the first pass knows of a type: per JSON name how, whether an empty value stays, the
    plan of nested messages, converter, field.
    """

    __slots__ = ("always", "recurs", "steps")

    def __init__(self, type: Type) -> None:
        self.always = tuple(type.always.items())
        self.recurs = any(field.ref == type.name for field in type.own)
        self.steps: dict[str, tuple[int, bool, Any, _Convert, Field]] = {}


_quick_plans: dict[str, _Quick] = {}


def _quick_plan(type: Type) -> _Quick:
    found = _quick_plans.get(type.name)
    if found is None:
        found = _quick_plans[type.name] = _Quick(type)  # before its steps: types recur
        for name, (code, keep_empty, convert, field) in plan(type).items():
            how = {"s": _STRING, "m": _MESSAGE}.get(code, _OTHER)
            if field.shape == "[" and code[1:] == "m":
                how = _MESSAGES
            nested = _quick_plan(type_named(field.ref)) if how in {_MESSAGE, _MESSAGES} else None
            found.steps[name] = (how, keep_empty, nested, convert, field)
    return found


def _quick(body: Any, plan: _Quick, walk: Walk) -> JSON:
    """``_message`` without paths. Raises StructureError, whose text is not the final one."""
    if body.__class__ is not dict:
        raise StructureError
    steps = plan.steps
    found: JSON = {}
    if plan.recurs:
        walk.depth += 1
        if walk.depth > MAX_DEPTH:
            raise StructureError
    for name, value in body.items():
        step = steps.get(name)
        if step is None:
            raise StructureError
        if value is None:
            continue
        how, keep_empty, nested, convert, field = step
        if how == _STRING:
            if value.__class__ is not str:
                raise StructureError
        elif how == _MESSAGE:
            found[name] = _quick(value, nested, walk)
            continue
        elif how == _MESSAGES:
            if value.__class__ is not list:
                raise StructureError
            value = [_quick({} if v is None else v, nested, walk) for v in value]  # noqa: PLW2901
        else:
            value = convert(value, field, walk)  # noqa: PLW2901 - the converted one replaces it
        if value or keep_empty:
            found[name] = value
    for name, zero in plan.always:
        if name not in found:
            found[name] = fresh(zero)
    if plan.recurs:
        walk.depth -= 1
    return found


_Convert = Callable[[Any, Field, Walk], Any]
Step = tuple[str, bool, _Convert, Field]
_plans: dict[str, dict[str, Step]] = {}


def plan(type: Type) -> dict[str, Step]:
    """Per JSON name: code, whether an empty value stays, converter, field."""
    found = _plans.get(type.name)
    if found is None:
        found = {}
        for name, field in type.fields.items():
            convert = _BY_SHAPE.get(field.shape) or _BY_CODE[field.code]
            found[name] = (field.code, field.pointer or not field.omitempty, convert, field)
        _plans[type.name] = found
    return found


def _message(body: Any, type: Type, walk: Walk) -> JSON:
    if body.__class__ is not dict:
        raise walk.fail(body, type.go_type)
    steps = plan(type)
    outer, walk.struct = walk.struct, type
    walk.depth += 1
    if walk.depth > MAX_DEPTH:
        raise StructureError(f"objects nest deeper than {MAX_DEPTH} levels")
    found: JSON = {}
    for name, value in body.items():
        step = steps.get(name)
        if step is None:
            walk.report(name)
            continue
        if value is None:
            continue
        code, keep_empty, convert, field = step
        if code == "s":
            if value.__class__ is not str:
                raise walk.fail(value, field.go_type, name)
            if value or keep_empty:
                found[name] = value
            continue
        value = convert(value, field, walk)  # noqa: PLW2901 - the converted value replaces it
        if value or keep_empty or code == "m":
            found[name] = value
    if len(type.always) > 0:
        for name, zero in type.always.items():
            if name not in found:
                found[name] = fresh(zero)
    walk.struct = outer
    walk.depth -= 1
    return found


def fresh(value: Any) -> Any:
    """A copy of a JSON value that shares no dict or list with it."""
    if value.__class__ is dict:
        return {name: fresh(item) for name, item in value.items()}
    if value.__class__ is list:
        return [fresh(item) for item in value]
    return value


def _reference(value: Any, field: Field, walk: Walk) -> Any:
    walk.path.append(field.name)
    found = _message(value, type_named(field.ref), walk)
    walk.path.pop()
    return found


def _string(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not str:
        raise walk.fail(value, field.go_type, field.name)
    return value


def _bool(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not bool:
        raise walk.fail(value, field.go_type, field.name)
    return value


def _int32(value: Any, field: Field, walk: Walk) -> Any:
    return _integer(value, field, walk, 31)


def _int64(value: Any, field: Field, walk: Walk) -> Any:
    return _integer(value, field, walk, 63)


def _integer(value: Any, field: Field, walk: Walk, bits: int) -> Any:
    if value.__class__ is not int:
        raise walk.fail(value, field.go_type, field.name)
    if not -(1 << bits) <= value < 1 << bits:
        error = walk.fail(value, field.go_type, field.name)
        raise StructureError(str(error).replace("number", f"number {value}", 1))
    return value


def _float(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not float and value.__class__ is not int:
        raise walk.fail(value, field.go_type, field.name)
    return value


def _time(value: Any, _field: Field, _walk: Walk) -> Any:
    if value.__class__ is not str:
        raise _plain(describe(value), "string")
    try:
        return _canonical_time(value)
    except times.TimeError as error:
        raise StructureError(str(error)) from None


@lru_cache(maxsize=4096)
def _canonical_time(text: str) -> str:
    """Remembered: an object's timestamps are checked again at each of its writes."""
    return times.format_time(times.parse_time(text))


def _micro_time(value: Any, _field: Field, _walk: Walk) -> Any:
    if value.__class__ is not str:
        raise _plain(describe(value), "string")
    try:
        return times.format_micro_time(times.parse_micro_time(value))
    except times.TimeError as error:
        raise StructureError(str(error)) from None


def _quantity(value: Any, _field: Field, _walk: Walk) -> Any:
    """Quantities may be written as numbers; they come back as strings."""
    text = value if value.__class__ is str else str(value)
    try:
        return quantity.canonical(text.strip())
    except quantity.QuantityError as error:
        raise StructureError(str(error)) from None


def _int_or_string(value: Any, _field: Field, _walk: Walk) -> Any:
    if value.__class__ is str:
        return value
    if value.__class__ is not int or not -(1 << 31) <= value < 1 << 31:
        raise _plain(describe(value), "int32")
    return value


_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def _bytes(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not str:
        raise walk.fail(value, "[]uint8", field.name)
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        wrong = _NOT_BASE64.search(text)
        at = wrong.start() if wrong else len(text)
        raise StructureError(f"illegal base64 data at input byte {at}") from None
    return text


def _strings(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not list:
        raise walk.fail(value, field.go_type, field.name)
    for item in value:
        if item.__class__ is not str:
            raise walk.fail(item, "string", field.name)
    return list(value)


def _schema_or_array(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is list:
        return _messages(value, field, walk)
    return _reference(value, field, walk)


def _schema_or_bool(value: Any, field: Field, walk: Walk) -> Any:
    return value if value.__class__ is bool else _reference(value, field, walk)


def _schema_or_strings(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is list:
        return _strings(value, field, walk)
    return _reference(value, field, walk)


def _raw(value: Any, _field: Field, _walk: Walk) -> Any:
    check_depth(value)
    return value


def check_depth(value: Any, limit: int = MAX_RAW_DEPTH) -> None:
    """Raises StructureError when free-form JSON nests deeper than ``limit``."""
    level = [value]
    depth = 0
    while level:
        if depth > limit:
            raise StructureError(f"free-form JSON nests deeper than {limit} levels")
        depth += 1
        level = [
            item
            for node in level
            if isinstance(node, dict | list)
            for item in (node.values() if isinstance(node, dict) else node)
        ]


def _list(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not list:
        raise walk.fail(value, field.go_type, field.name)
    code = field.code[1:]
    if code == "m":
        return _messages(value, field, walk)
    item_field = _item_field(field, code)
    convert = _BY_CODE[code]
    zero = _ZERO.get(code)
    return [zero if item is None else convert(item, item_field, walk) for item in value]


def _messages(value: list[Any], field: Field, walk: Walk) -> list[JSON]:
    struct = type_named(field.ref)
    path = walk.path
    path.append(field.name)
    found = []
    for i, item in enumerate(value):
        path.append(i)
        found.append(_message({} if item is None else item, struct, walk))
        path.pop()
    path.pop()
    return found


def _map(value: Any, field: Field, walk: Walk) -> Any:
    if value.__class__ is not dict:
        raise walk.fail(value, field.go_type, field.name)
    code = field.code[1:]
    if code == "s":
        for item in value.values():
            if item.__class__ is not str:
                break
        else:
            return dict(value)
    item_field = _item_field(field, code)
    convert = _BY_CODE[code]
    zero = {} if code == "m" else _ZERO.get(code)
    return {k: zero if v is None else convert(v, item_field, walk) for k, v in value.items()}


_item_fields: dict[Field, Field] = {}


def _item_field(field: Field, code: str) -> Field:
    """The field as one of its items sees it (for messages)."""
    found = _item_fields.get(field)
    if found is None:
        found = _item_fields[field] = msgspec.structs.replace(field, code=code)
    return found


_ZERO = {"s": "", "b": False, "i": 0, "l": 0, "f": 0, "q": "0", "y": "", "x": 0}
_BY_SHAPE: dict[str, _Convert] = {"[": _list, "{": _map}
_BY_CODE: dict[str, _Convert] = {
    "s": _string, "b": _bool, "i": _int32, "l": _int64, "f": _float, "y": _bytes, "m": _reference,
    "t": _time, "u": _micro_time, "q": _quantity, "x": _int_or_string, "r": _raw, "v": _raw,
    "e": _strings, "A": _schema_or_array, "B": _schema_or_bool, "S": _schema_or_strings,
}  # fmt: skip
