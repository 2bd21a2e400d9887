"""The short way through decoding: from JSON text to the checked object in one typed pass.

Nearly all bodies have nothing wrong with them, and msgspec checks types while it decodes, faster
than any walk over what it made. Its TypedDicts yield plain dicts and leave unknown and doubled
names out, which the number of colons betrays: a name that is left out takes its own colon with
it, and writing the rest again brings none back. What types cannot say (times, quantities, what Go
always prints, empty values) is done to the few places of a type that have it.

``read`` gives the object of ``structure.check``, or None where it is not sure: whoever asked goes
the long way then, which is the law and has the words for what is wrong.
"""

from __future__ import annotations

from types import GenericAlias
from typing import Annotated, Any, Required, TypedDict

import msgspec

from podwire.api import quantity, structure
from podwire.api.schema import Field, Type, type_named
from podwire.api.structure import Walk, fresh
from podwire.api.view import JSON

USES_BEFORE = 3
"""How many bodies of a kind go the long way before its types are made: 25 ms for the first kind
that holds a pod, 1 to 3 ms for others, and a cluster that starts writes few objects of most.
"""

_INT32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_POSITIVE: dict[str, Any] = {
    "i": Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)],
    "l": Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)],
}
_NOT_EMPTY = msgspec.Meta(min_length=1)
_TYPES: dict[str, Any] = {
    "s": str, "b": bool, "i": _INT32, "l": _INT64, "x": _INT32 | str, "e": list[str],
}  # fmt: skip
"""Of the codes of schema.Field that msgspec can check; others are read as they are and converted.
"""

_typed_dict: Any = TypedDict  # type checkers want its fields spelt out

_CONVERT, _MESSAGE, _MESSAGES, _THROUGH, _MESSAGE_MAP, _STRING_MAP, _QUANTITIES = range(7)
"""How a field is finished; _THROUGH: messages of which one nested message matters (env)."""

_FALSE: tuple[bytes, ...] = (b":false",)
_EMPTY = (*_FALSE, b':""', b":0", b":[]")
"""How empty values look; of those, constraints on types leave only the first."""
_MANY = 32
"""How many empty values are looked at one by one."""
_LONGEST_NAME = 100
"""Bytes: more than any field's name has."""


class _Plan:
    """What is to be done for a type: see _prune and _finish."""

    __slots__ = ("always", "children", "full", "loose", "optional", "steps", "vanishing")

    def __init__(self) -> None:
        self.loose: Any = Any
        """The TypedDict of the type."""
        self.full: Any = Any
        """The same, with fields that vanish when they are empty not empty."""
        self.steps: list[tuple[str, int, Any, bool, Field]] = []
        """Fields that types cannot settle: name, how, plan or converter, whether empty stays."""
        self.always: list[tuple[str, Any]] = []
        self.optional: dict[str, None] = {}
        """Fields that are left out when empty."""
        self.children: dict[str, tuple[_Plan, bool]] = {}
        """Of messages, and whether they are the values of a map."""
        self.vanishing: set[bytes] = set()
        """Names of optional fields here and below."""


_plans: dict[str, _Plan | None] = {}
_Prepared = tuple[msgspec.json.Decoder[JSON], msgspec.json.Decoder[JSON], _Plan]
_decoders: dict[str, _Prepared] = {}
_uses: dict[str, int] = {}


def same_colons(text: bytes, written: bytes) -> bool:
    r"""Whether no name of a JSON object in ``text`` was left out of ``written``, which msgspec
    wrote of what it read: every name has a colon, and those in strings stay as they are.

    False also where a colon may be hidden as ``\u003a``.
    """
    if b"\\" in text and (b"\\u003a" in text or b"\\u003A" in text):
        return False
    return text.count(b":") == written.count(b":")


def read(type: Type, body: bytes) -> JSON | None:
    """The object that ``structure.check`` makes of the value of ``body``, if it is one that has
    no unknown and no doubled names; None when in doubt.
    """
    found = _decoders.get(type.name) or _prepare(type)
    if found is None:
        return None
    full, loose, plan = found
    walk = Walk()
    try:
        empties = _FALSE
        try:
            obj = full.decode(body)
        except msgspec.ValidationError:
            obj = loose.decode(body)
            empties = _EMPTY
        written = msgspec.json.encode(obj)
        if not same_colons(body, written):
            return None
        empty = _vanishing(written, plan, empties)
        if empty:
            _prune(obj, plan, empty)
        _finish(obj, plan, walk)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return None if walk.unknown else obj


def remade(type: Type, value: JSON) -> JSON | None:
    """``read`` of a value that was made of decoded JSON: a patched object."""
    try:
        body = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return read(type, body)


def _vanishing(written: bytes, plan: _Plan, empties: tuple[bytes, ...]) -> set[bytes]:
    """Names of optional fields that seem to be empty somewhere: strings may look like that."""
    found: set[bytes] = set()
    looked = 0
    for empty in empties:
        at = written.find(empty)
        while at >= 0:
            looked += 1
            if looked > _MANY:
                return plan.vanishing
            start = written.rfind(b'"', max(0, at - _LONGEST_NAME), at - 1)
            found.add(written[start + 1 : at - 1] if start >= 0 else b"")
            at = written.find(empty, at + 1)
    return found & plan.vanishing


def _prepare(type: Type) -> _Prepared | None:
    used = _uses[type.name] = _uses.get(type.name, 0) + 1
    if used <= USES_BEFORE:
        return None
    plan = _plan(type)
    assert plan is not None
    found = msgspec.json.Decoder(plan.full), msgspec.json.Decoder(plan.loose), plan
    _decoders[type.name] = found
    return found


def _plan(type: Type) -> _Plan | None:
    """The plan of a type; None while it is being made, for types that recur."""
    if type.name in _plans:
        return _plans[type.name]
    _plans[type.name] = None
    plan = _Plan()
    full: JSON = {}
    loose: JSON = {}
    for name, step in structure.plan(type).items():
        code, keep_empty, _, field = step
        nested = _plan(type_named(field.ref)) if code[-1] == "m" else None
        settled = code[-1] in _TYPES
        if nested is not None:
            plan.children[name] = (nested, field.shape == "{")
            plan.vanishing |= nested.vanishing
            settled = not nested.steps and not nested.always
        may_vanish = not keep_empty and code != "m"
        if may_vanish and (code[-1] in _TYPES or code[-1] == "m"):  # others are converted first
            plan.optional[name] = None
            plan.vanishing.add(name.encode())
        if not settled or (may_vanish and field.shape == "{"):
            plan.steps.append((name, *_how(step, nested), keep_empty, field))
        full[name] = _annotation(field, nested and nested.full, not may_vanish)
        loose[name] = _annotation(field, nested and nested.loose, True)
        if name not in type.always:
            continue
        if settled and "r" in field.flags:
            full[name], loose[name] = Required[full[name]], Required[loose[name]]
        else:
            plan.always.append((name, type.always[name]))
    plan.full = _typed_dict(type.go_name, full, total=False)
    plan.loose = _typed_dict(type.go_name, loose, total=False)
    _plans[type.name] = plan
    return plan


def _annotation(field: Field, message: Any, may_be_empty: bool) -> Any:
    """What msgspec is told of a field."""
    found: Any = message or _TYPES.get(field.code[-1], Any)
    if found is Any:
        return Any
    if field.shape:
        found = (
            GenericAlias(list, found) if field.shape == "[" else GenericAlias(dict, (str, found))
        )
    if may_be_empty:
        return found
    if field.shape or field.code in {"s", "e"}:
        return Annotated[found, _NOT_EMPTY]
    if field.code == "x":
        return _POSITIVE["i"] | Annotated[str, _NOT_EMPTY]
    return _POSITIVE.get(field.code, found)


def _how(step: structure.Step, nested: _Plan | None) -> tuple[int, Any]:
    """How _finish deals with a field: by which code, and with what."""
    code, _, convert, field = step
    if code == "{q":
        return _QUANTITIES, convert
    if nested is None:
        as_it_is = field.shape == "{" and code[-1] in _TYPES
        return (_STRING_MAP, None) if as_it_is else (_CONVERT, convert)
    how = {"": _MESSAGE, "[": _MESSAGES, "{": _MESSAGE_MAP}[field.shape]
    if how == _MESSAGES and len(nested.steps) == 1 and not nested.always:
        inner, inner_how, inner_plan, *_ = nested.steps[0]
        if inner_how == _MESSAGE:
            return _THROUGH, (inner, inner_plan)
    return how, nested


def _prune(obj: JSON, plan: _Plan, names: set[bytes]) -> None:
    """Leave out what Go leaves out when it is empty; only ``names`` are."""
    gone: list[str] = []
    value: Any
    for name, value in obj.items():
        if not value:
            if name in plan.optional:
                gone.append(name)
        elif value.__class__ is dict or value.__class__ is list:
            child = plan.children.get(name)
            if child is None or names.isdisjoint(child[0].vanishing):
                continue
            nested, mapped = child
            if value.__class__ is dict:
                value = value.values() if mapped else (value,)  # noqa: PLW2901 - all are lists now
            for item in value:
                _prune(item, nested, names)
    for name in gone:
        del obj[name]


def _canonical(amounts: JSON) -> None:
    """Write quantities as they are stored. Raises QuantityError, also where blanks are in the way
    (which only the long way takes off).
    """
    parse = quantity.parse
    for name, amount in amounts.items():
        text = parse(amount if amount.__class__ is str else str(amount)).text
        if text != amount:
            amounts[name] = text


def _finish(obj: JSON, plan: _Plan, walk: Walk) -> None:
    """Convert and fill in what types cannot say. Raises StructureError."""
    for name, how, what, keep_empty, field in plan.steps:
        if name not in obj:
            continue
        value = obj[name]
        if how == _MESSAGE:
            _finish(value, what, walk)
        elif how == _MESSAGES:
            for item in value:
                _finish(item, what, walk)
        elif how == _THROUGH:
            inner, nested = what
            for item in value:
                if inner in item:
                    _finish(item[inner], nested, walk)
        elif value is None:
            del obj[name]
        elif how == _QUANTITIES and value.__class__ is dict and value:
            _canonical(value)
        elif how in {_CONVERT, _QUANTITIES}:
            value = what(value, field, walk)
            if value or keep_empty or field.code == "m":
                obj[name] = value
            else:
                del obj[name]
        elif not value and not keep_empty:
            del obj[name]
        elif how == _MESSAGE_MAP:
            for item in value.values():
                _finish(item, what, walk)
    for name, zero in plan.always:
        if name not in obj:
            obj[name] = fresh(zero)
