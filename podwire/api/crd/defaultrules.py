"""Whether the defaults of a schema are values that it takes.

Source: apiextensions-apiserver pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

from typing import Any

from podwire.api.crd.coercion import coerced
from podwire.api.crd.nodes import EMBEDDED, META, Node
from podwire.api.crd.objects import embedded
from podwire.api.crd.values import Check, same
from podwire.api.structure import StructureError
from podwire.api.validation.field import Errors
from podwire.api.view import JSON


def check(errors: Errors, schema: JSON, path: str) -> None:
    """Hold every default of a schema to the schema of its place."""
    _walk(errors, schema, path, in_meta=False, is_root=True)


def _walk(errors: Errors, s: JSON, path: str, *, in_meta: bool, is_root: bool = False) -> None:
    if s.get(EMBEDDED):
        in_meta = False
    if s.get("default") is not None:
        _default(errors, s, f"{path}.default", in_meta=in_meta)
    if isinstance(s.get("items"), dict):
        _walk(errors, s["items"], f"{path}.items", in_meta=in_meta)
    for name, inner in (s.get("properties") or {}).items():
        below = in_meta or ((is_root or bool(s.get(EMBEDDED))) and name in META)
        _walk(errors, inner, f"{path}.properties[{name}]", in_meta=below)


def _default(errors: Errors, s: JSON, path: str, *, in_meta: bool) -> None:
    value = s["default"]
    if not in_meta:
        try:
            pruned = _pruned(s, value)
        except StructureError as error:
            errors.invalid(path, value, str(error))
            return
        if not same(pruned, value):
            errors.invalid(path, value, "must not have unknown fields")
        found = Errors()
        embedded(found, s, value, path)
        if found.causes:
            errors.causes += found.causes
            return
    errors.causes += Check(s).run(value).causes(path)


def _pruned(s: JSON, value: Any) -> Any:
    """The value without what its schema does not know; nulls count as values here."""
    whole = Node({"type": "object", "properties": {"": {**s, "default": None, "nullable": True}}})
    return coerced({"": value}, whole)[0].get("")
