"""What a definition's schema must not say, and what its parts demand of each other.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation/validation.go
(ValidateCustomResourceDefinitionOpenAPISchema, specStandardValidatorV3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from podwire.api.crd import formats
from podwire.api.crd.nodes import EMBEDDED, META, PRESERVE
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LIST, _KEYS, _MAP = (
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
)  # fmt: skip
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_UNSUPPORTED = (
    "id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref",
)  # fmt: skip
_MAPS = ("patternProperties", "definitions")
JUNCTORS = ("allOf", "oneOf", "anyOf")


class _At(NamedTuple):
    """Where in a schema one stands."""

    in_meta: bool = False
    no_default: str | None = None
    """Why there may be no default here; None when there may."""


def check(errors: Errors, schema: JSON, path: str) -> None:
    """Everything wrong with a schema that is no matter of its structure."""
    _check(errors, schema, path, _At(), is_root=True)


def _check(errors: Errors, s: Any, path: str, at: _At, *, is_root: bool = False) -> None:
    if not isinstance(s, dict):
        return
    _standard(errors, s, path, at)
    if s.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.forbidden(f"{path}.uniqueItems", why)
    additional = s.get("additionalProperties")
    if additional is not None:
        if s.get("properties") and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            errors.forbidden(f"{path}.additionalProperties", why)
        below = at
        if at.in_meta:
            why = "inside additionalProperties applying to object metadata"
            below = at._replace(no_default=why)
        _check(errors, additional, f"{path}.additionalProperties", below)
    for name, inner in (s.get("properties") or {}).items():
        below = at
        if (is_root or s.get(EMBEDDED)) and name in META:
            below = at._replace(in_meta=True)
            if is_root:
                below = below._replace(no_default=f"in top-level {name}")
        _check(errors, inner, f"{path}.properties[{name}]", below)
    _check(errors, s.get("not"), f"{path}.not", at)
    for junctor in JUNCTORS:
        for i, inner in enumerate(s.get(junctor) or ()):
            _check(errors, inner, f"{path}.{junctor}[{i}]", at)
    _check(errors, s.get("items"), f"{path}.items", at)
    if s.get(PRESERVE) is False:
        errors.invalid(f"{path}.{PRESERVE}", False, "must be true or undefined")
    _map_type(errors, s, path)
    _list_type(errors, s, path)
    if s.get(_LIST) == "map":
        _list_map(errors, s, path)
    _keys(errors, s, path)
    for i, rule in enumerate(s.get("x-kubernetes-validations") or ()):
        _rule(errors, rule, f"{path}.x-kubernetes-validations[{i}]")


def _standard(errors: Errors, s: JSON, path: str, at: _At) -> None:
    type_ = s.get("type", "")
    if type_ and type_ not in _TYPES:
        errors.unsupported(f"{path}.type", type_, _TYPES)
    if s.get("default") is not None and at.no_default is not None:
        errors.forbidden(f"{path}.default", f"must not be set {at.no_default}".rstrip())
    for name in _UNSUPPORTED:
        if s.get(name) not in (None, "", {}):
            errors.forbidden(f"{path}.{name}", f"{name} is not supported")
    if type_ == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        errors.forbidden(f"{path}.type", why)
    if isinstance(s.get("items"), list):
        errors.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if at.in_meta and s.get(EMBEDDED):
        errors.forbidden(f"{path}.{EMBEDDED}", "must not be used inside of resource meta")


def _map_type(errors: Errors, s: JSON, path: str) -> None:
    found, type_ = s.get(_MAP), s.get("type", "")
    if found is None:
        return
    if type_ != "object":
        why = f"must be object if {_MAP} is specified"
        if type_:
            errors.invalid(f"{path}.type", type_, why)
        else:
            errors.required(f"{path}.type", why)
    errors.one_of(f"{path}.{_MAP}", found, ("atomic", "granular"))


def _list_type(errors: Errors, s: JSON, path: str) -> None:
    found, type_, items = s.get(_LIST), s.get("type", ""), s.get("items")
    if found is None:
        if s.get(_KEYS):
            errors.required(f"{path}.{_LIST}", f"must be map if {_KEYS} is non-empty")
        return
    if type_ != "array":
        why = f"must be array if {_LIST} is specified"
        if type_:
            errors.invalid(f"{path}.type", type_, why)
        else:
            errors.required(f"{path}.type", why)
    elif found == "set" and isinstance(items, dict):
        why = f"must be atomic as item of a list with {_LIST}=set"
        if items.get("type") == "array" and items.get(_LIST) not in {None, "atomic"}:
            errors.invalid(f"{path}.items.{_LIST}", items.get(_LIST), why)
        elif items.get("type") == "object" and items.get(_MAP) != "atomic":
            errors.invalid(f"{path}.items.{_MAP}", items.get(_LIST), why)
    errors.one_of(f"{path}.{_LIST}", found, ("atomic", "set", "map"))
    if s.get(_KEYS) and found != "map":
        errors.invalid(f"{path}.{_LIST}", found, f"must be map if {_KEYS} is non-empty")


def _list_map(errors: Errors, s: JSON, path: str) -> None:
    keys, items = s.get(_KEYS) or [], s.get("items")
    if not keys:
        errors.required(f"{path}.{_KEYS}", f"must not be empty if {_LIST} is map")
    if items is None:
        errors.required(f"{path}.items", f"must have a schema if {_LIST} is map")
    elif not isinstance(items, dict):
        why = f"must only have a single schema if {_LIST} is map"
        errors.invalid(f"{path}.items", items, why)
    elif items.get("type") != "object":
        why = f"must be object if parent array's {_LIST} is map"
        errors.invalid(f"{path}.items.type", items.get("type", ""), why)
    else:
        known, seen = items.get("properties") or {}, []
        for key in keys:
            if key not in known:
                why = "entries must all be names of item properties"
                errors.invalid(f"{path}.{_KEYS}", keys, why)
            elif known[key].get("type") in {"array", "object"}:
                why = f"must be a scalar type if parent array's {_LIST} is map"
                errors.invalid(f"{path}.items.properties[{key}].type", "object", why)
            if key in seen:
                errors.invalid(f"{path}.{_KEYS}", keys, "must not contain duplicate entries")
            seen.append(key)


def _keys(errors: Errors, s: JSON, path: str) -> None:
    """Items that are told apart by keys have them; no item is null."""
    found, items = s.get(_LIST), s.get("items")
    if found not in {"set", "map"} or not isinstance(items, dict):
        return
    if items.get("nullable"):
        errors.forbidden(f"{path}.items.nullable", f"cannot be nullable when {_LIST} is {found}")
    if found == "set":
        return
    known, required = items.get("properties") or {}, items.get("required") or ()
    for key in s.get(_KEYS) or ():
        if key not in known:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in required and known[key].get("default") is None:
            why = (
                f"this property is in {_KEYS}, so it must have a default or be a required property"
            )
            errors.required(f"{where}.default", why)
        if known[key].get("nullable"):
            why = f"this property is in {_KEYS}, so it cannot be nullable"
            errors.forbidden(f"{where}.nullable", why)


def _rule(errors: Errors, rule: JSON, path: str) -> None:
    """The form of a rule in CEL; what it says is another's business."""
    text, message = rule.get("rule", ""), rule.get("message", "")
    if not text.strip():
        errors.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        errors.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif _broken(message.strip()):
        errors.invalid(f"{path}.message", message, "must not contain line breaks")
    elif _broken(text.strip()) and not message.strip():
        why = "message must be specified if rule contains line breaks"
        errors.required(f"{path}.message", why)
    expression, where = rule.get("messageExpression", ""), rule.get("fieldPath", "")
    if expression and not expression.strip():
        why = "messageExpression must be non-empty if specified"
        errors.required(f"{path}.messageExpression", why)
    if rule.get("reason") is not None:
        errors.one_of(f"{path}.reason", rule["reason"], _REASONS)
    if where and not where.strip():
        errors.invalid(f"{path}.fieldPath", where, "must be non-empty if specified")
    if _broken(where):
        errors.invalid(f"{path}.fieldPath", where, "must not contain line breaks")


def _broken(text: str) -> bool:
    return "\n" in text or "\r" in text


# ------------------------------------------------------------------ warnings


def places(schema: Any) -> Iterator[JSON]:
    """Every schema within a schema, itself first."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name in ("items", "not", "additionalProperties"):
        yield from places(schema.get(name))
    for name in JUNCTORS:
        for inner in schema.get(name) or ():
            yield from places(inner)
    for inner in (schema.get("properties") or {}).values():
        yield from places(inner)


def advice(schema: JSON) -> list[str]:
    """What one is warned of who writes such a schema."""
    told: list[str] = []
    sets: dict[str, None] = {}
    for place in places(schema):
        format_, type_ = place.get("format"), place.get("type", "")
        if format_ and not formats.counts(format_, type_):
            told.append(f'unrecognized format "{format_}"')
        items = place.get("items")
        if place.get(_LIST) == "set" and isinstance(items, dict):
            kind = items.get("type")
            if kind in {"object", "array"}:
                sets[kind] = None
    told += [
        f'{_LIST}: set for items of type "{kind}" is not supported by server-side apply or CEL '
        "validation rules"
        for kind in sorted(sets)
    ]
    return told
