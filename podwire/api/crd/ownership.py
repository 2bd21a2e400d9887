"""How the fields of a custom object are owned, compiled from its schema.

Source: kube-openapi pkg/schemaconv (openapi.go), which reads what apiextensions-apiserver makes of
a structural schema.
"""

from __future__ import annotations

from typing import Any

from podwire.api.crd.nodes import EMBEDDED, INT_OR_STRING, PRESERVE
from podwire.api.managed.plans import (
    FREE,
    KEYED,
    LEAF,
    MAP,
    SET,
    STRUCT,
    Step,
    add_meta,
    with_keys,
)
from podwire.api.view import JSON

_CODES = {"string": "s", "integer": "l", "number": "f", "boolean": "b"}


def plan(schema: JSON) -> Step:
    """The plan of a whole object."""
    found = _object(schema)
    if found.shape != STRUCT:  # atomic, or nothing is known of it
        found = Step(STRUCT)
        found.other = Step(FREE)
    add_meta(found)
    return found


def _step(schema: JSON) -> Step:
    if schema.get(INT_OR_STRING):
        return Step(LEAF, "x")
    type_ = schema.get("type", "")
    if type_ == "array":
        return _list(schema)
    if type_ == "object" or schema.get("properties") or schema.get("additionalProperties"):
        return _object(schema)
    return Step(LEAF, _CODES[type_]) if type_ in _CODES else Step(FREE)


def _object(schema: JSON) -> Step:
    if schema.get("x-kubernetes-map-type") == "atomic":
        return Step(LEAF, "m")
    properties = schema.get("properties")
    additional: Any = schema.get("additionalProperties")
    if schema.get(PRESERVE):
        additional = True
    if not properties and not schema.get(EMBEDDED):
        if isinstance(additional, dict):
            found = Step(MAP)
            found.item = _step(additional)
            return found
        return Step(FREE)
    found = Step(STRUCT)
    for name, inner in (properties or {}).items():
        step = _step(inner)
        step.key = f"f:{name}"
        found.table[name] = step
        if step.shape == LEAF:
            found.leaves[name] = step.key
    if additional:
        found.other = _step(additional) if isinstance(additional, dict) else Step(FREE)
    if schema.get(EMBEDDED):
        add_meta(found)
    return found


def _list(schema: JSON) -> Step:
    kind, items = schema.get("x-kubernetes-list-type"), schema.get("items")
    if kind == "set":
        found = Step(SET, "[")
        found.item = Step(LEAF)
        return found
    if kind != "map" or not isinstance(items, dict):
        return Step(LEAF, "[")
    found = Step(KEYED, "[m")
    found.item = _step(items)
    known = items.get("properties") or {}
    keys = schema.get("x-kubernetes-list-map-keys") or []
    defaults = {name: known[name]["default"] for name in keys if "default" in known.get(name, {})}
    return with_keys(found, keys, defaults)
