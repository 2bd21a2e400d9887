"""Whether a schema is structural: every value it speaks of has a place and a type.

Source: apiextensions-apiserver pkg/apiserver/schema (validation.go, complete.go, convert.go).
"""

from __future__ import annotations

from typing import Any

from podwire.api.crd import formats
from podwire.api.crd.nodes import EMBEDDED, INT_OR_STRING, PRESERVE
from podwire.api.status import Cause
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_ROOT, _ITEM, _FIELD = range(3)
_WHERE = ("at the root", "for specified array items", "for specified object fields")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = {
    "id": "id", "$schema": "schema", "$ref": "$ref", "patternProperties": "patternProperties",
    "dependencies": "dependencies", "additionalItems": "additionalItems",
    "definitions": "definitions",
}  # fmt: skip
_GENERIC = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (PRESERVE, "must be false to be structural"),
    (EMBEDDED, "must be false to be structural"),
    (INT_OR_STRING, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
"""What a schema below a junctor must not have."""
_JUNCTORS = ("allOf", "anyOf", "oneOf")


def unsupported(schema: JSON) -> str:
    """Why a schema can be no structural one at all, ''when it can."""
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        for name, shown in _UNSUPPORTED.items():
            if node.get(name) not in (None, "", {}):
                return f"OpenAPIV3Schema '{shown}' is not supported"
        if isinstance(node.get("items"), list):
            return "OpenAPIV3Schema 'items' must be a schema, but is an array"
        if node.get(PRESERVE) is False:
            return f"internal error: '{PRESERVE}' must be true or undefined"
        waiting += (node.get("properties") or {}).values()
        waiting += [node.get(name) for name in ("items", "additionalProperties", "not")]
        waiting += [inner for name in _JUNCTORS for inner in node.get(name) or ()]
    return ""


def complaints(schema: JSON, path: str) -> list[Cause]:
    """What keeps a schema from being structural, sorted."""
    errors = Errors()
    _invariants(errors, schema, _ROOT, path)
    _complete(errors, schema, schema, path, path)
    return sorted(errors.causes, key=lambda cause: f"{cause.field}: {cause.message}")


def _invariants(errors: Errors, s: JSON, level: int, path: str) -> None:
    type_, items = s.get("type", ""), s.get("items")
    additional, properties = s.get("additionalProperties"), s.get("properties") or {}
    if type_ == "array" and items is None:
        errors.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        _invariants(errors, items, _ITEM, f"{path}.items")
    for name, inner in properties.items():
        _invariants(errors, inner, _FIELD, f"{path}.properties[{name}]")
    if additional is not None and level == _ROOT:
        errors.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(additional, dict):
        _invariants(errors, additional, _FIELD, f"{path}.additionalProperties")
    if s.get(INT_OR_STRING):
        for name in (PRESERVE, EMBEDDED):
            if s.get(name):
                errors.invalid(f"{path}.{name}", True, f"must be false if {INT_OR_STRING} is true")
    _values(errors, s, path, _free_any_of(s), _free_all_of(s))
    _typed(errors, s, level, path)
    if level == _ROOT or s.get(EMBEDDED):
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                where = f"{path}.properties[{name}].type"
                errors.invalid(where, properties[name].get("type", ""), "must be string")
    if "metadata" in properties:
        _metadata(errors, s, level, f"{path}.properties[metadata]")
    if s.get(EMBEDDED) and not s.get(PRESERVE) and not properties:
        why = f"must not be empty if {EMBEDDED} is true without {PRESERVE}"
        errors.required(f"{path}.properties", why)


def _typed(errors: Errors, s: JSON, level: int, path: str) -> None:
    type_ = s.get("type", "")
    if s.get(EMBEDDED) and type_ != "object":
        why = f"must be object if {EMBEDDED} is true"
        if type_:
            errors.invalid(f"{path}.type", type_, why)
        else:
            errors.required(f"{path}.type", why)
    elif not type_ and not s.get(INT_OR_STRING) and not s.get(PRESERVE):
        errors.required(f"{path}.type", f"must not be empty {_WHERE[level]}")
    if s.get(EMBEDDED) and s.get("additionalProperties") is not None:
        why = f"must not be used if {EMBEDDED} is set"
        errors.forbidden(f"{path}.additionalProperties", why)
    if level == _ROOT and type_ and type_ != "object":
        errors.invalid(f"{path}.type", type_, "must be object at the root")


def _metadata(errors: Errors, s: JSON, level: int, path: str) -> None:
    metadata = s["properties"]["metadata"]
    if (level == _ROOT or s.get(EMBEDDED)) and metadata.get("type") != "object":
        errors.invalid(f"{path}.type", metadata.get("type", ""), "must be object")
    if level != _ROOT:
        return
    rest = {k: v for k, v in metadata.items() if k not in {"type", "default"} and v not in ({}, [])}
    if set(rest.get("properties") or ()) <= {"name", "generateName"}:
        rest.pop("properties", None)
    if rest:
        why = (
            "must not specify anything other than name and generateName, but metadata is "
            "implicitly specified"
        )
        errors.forbidden(path, why)


def _free_any_of(s: JSON) -> bool:
    return s.get("anyOf") == _INT_OR_STRING


def _free_all_of(s: JSON) -> bool:
    all_of = s.get("allOf") or []
    return bool(all_of) and all_of[0].get("anyOf") == _INT_OR_STRING


def _values(errors: Errors, s: JSON, path: str, skip_any: bool, skip_first: bool) -> None:
    if not skip_any:
        for i, inner in enumerate(s.get("anyOf") or ()):
            _nested(errors, inner, f"{path}.anyOf[{i}]")
    for i, inner in enumerate(s.get("allOf") or ()):
        _nested(errors, inner, f"{path}.allOf[{i}]", skip_any=skip_first and i == 0)
    for i, inner in enumerate(s.get("oneOf") or ()):
        _nested(errors, inner, f"{path}.oneOf[{i}]")
    if isinstance(s.get("not"), dict):
        _nested(errors, s["not"], f"{path}.not")
    pattern = s.get("pattern")
    if pattern and (wrong := formats.pattern_error(pattern)):
        why = f"must be a valid regular expression, but isn't: {wrong}"
        errors.invalid(f"{path}.pattern", pattern, why)


def _nested(errors: Errors, s: JSON, path: str, *, skip_any: bool = False) -> None:
    _values(errors, s, path, skip_any, False)
    if isinstance(s.get("items"), dict):
        _nested(errors, s["items"], f"{path}.items")
    for name, inner in (s.get("properties") or {}).items():
        _nested(errors, inner, f"{path}.properties[{name}]")
    for name, why in _GENERIC:
        value = s.get(name)
        if name in {"additionalProperties", "default"}:
            wrong = value is not None and value is not False
        else:
            wrong = bool(value)
        if wrong:
            errors.forbidden(f"{path}.{name}", why)
    if "metadata" in (s.get("properties") or {}):
        where = f"{path}.properties[metadata]"
        errors.forbidden(where, "must not be specified in a nested context")


def _complete(errors: Errors, v: JSON, s: JSON, s_path: str, v_path: str) -> None:
    """Whatever a junctor speaks of has a place in the structure."""
    parts = [(f"{v_path}.not", v["not"])] if isinstance(v.get("not"), dict) else []
    for name in _JUNCTORS:
        parts += [(f"{v_path}.{name}[{i}]", x) for i, x in enumerate(v.get(name) or ())]
    for where, inner in parts:
        _complete_nested(errors, inner, s, s_path, where)


def _complete_nested(errors: Errors, v: JSON, s: JSON, s_path: str, v_path: str) -> None:
    _complete(errors, v, s, s_path, v_path)
    if isinstance(v.get("items"), dict):
        if isinstance(s.get("items"), dict):
            where = (f"{s_path}.items", f"{v_path}.items")
            _complete_nested(errors, v["items"], s["items"], *where)
        else:
            errors.required(f"{s_path}.items", f"because it is defined in {v_path}.items")
    known = s.get("properties") or {}
    for name, inner in (v.get("properties") or {}).items():
        there, here = f"{s_path}.properties[{name}]", f"{v_path}.properties[{name}]"
        if name in known:
            _complete_nested(errors, inner, known[name], there, here)
        else:
            errors.required(there, f"because it is defined in {here}")
