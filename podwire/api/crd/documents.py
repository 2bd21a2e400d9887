"""OpenAPI definitions of custom kinds.

Source: apiextensions-apiserver pkg/controller/openapi/builder and openapi/v2.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from podwire.api.crd.nodes import EMBEDDED, INT_OR_STRING, PRESERVE
from podwire.api.kinds import Kind
from podwire.api.view import JSON

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_VERSION: JSON = {
    "type": "string",
    "description": "APIVersion defines the versioned schema of this representation of an object. "
    "Servers should convert recognized schemas to the latest internal value, and may reject "
    "unrecognized values. More info: https://git.k8s.io/community/contributors/devel/"
    "sig-architecture/api-conventions.md#resources",
}
_KIND: JSON = {
    "type": "string",
    "description": "Kind is a string value representing the REST resource this object represents. "
    "Servers may infer this from the endpoint the client submits requests to. Cannot be updated. "
    "In CamelCase. More info: https://git.k8s.io/community/contributors/devel/"
    "sig-architecture/api-conventions.md#types-kinds",
}
_METADATA = (
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/"
    "sig-architecture/api-conventions.md#metadata"
)
_LIST_METADATA = (
    "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/"
    "sig-architecture/api-conventions.md#types-kinds"
)
_V2_KEEPS = (
    "description", "type", "format", "title", "default", "pattern", "required", "enum", "nullable",
)  # fmt: skip
"""What swagger definitions are left with, beside what nests and x-kubernetes marks."""


def name_of(kind: Kind[Any]) -> str:
    """The name of a kind's definition: ``com.example.v1.Widget``."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def digest(kind: Kind[Any]) -> str:
    """A hash of what a kind's definitions are made of."""
    custom = kind.custom
    assert custom is not None, f"{kind} is custom"
    made = (
        kind.plural, kind.kind, kind.list_kind, kind.namespaced, custom.schema,
        list(kind.parts), custom.selectable,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(made)).hexdigest()


def definitions(kind: Kind[Any], ref: str, *, v2: bool = False) -> dict[str, JSON]:
    """The definitions of a kind and of its list; ``ref`` is how references begin."""
    custom = kind.custom
    assert custom is not None, f"{kind} is custom"
    name = name_of(kind)
    schema = custom.schema
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    if schema is None or (v2 and schema.get(PRESERVE)):
        found: JSON = {"type": "object"}
    else:
        found = _v2(schema) if v2 else _v3(schema)
        _add_embedded(found, ref)
        metadata = {"$ref": f"{ref}{_META}.ObjectMeta", "description": _METADATA}
        found["properties"] = {
            **(found.get("properties") or {}),
            "apiVersion": _VERSION, "kind": _KIND, "metadata": metadata,
        }  # fmt: skip
    found["x-kubernetes-group-version-kind"] = [gvk]
    if custom.selectable:
        found["x-kubernetes-selectable-fields"] = [{"fieldPath": p} for p in custom.selectable]
    more = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/"
    items = {
        "type": "array",
        "description": f"List of {kind.plural}. {more}api-conventions.md",
        "items": {"$ref": ref + name},
    }
    listed: JSON = {
        "description": f"{kind.list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": _VERSION,
            "items": items,
            "kind": _KIND,
            "metadata": {"$ref": f"{ref}{_META}.ListMeta", "description": _LIST_METADATA},
        },
        "x-kubernetes-group-version-kind": [{**gvk, "kind": kind.list_kind}],
    }
    return {name: found, f"{name.removesuffix(kind.kind)}{kind.list_kind}": listed}


def _v3(schema: Any) -> Any:
    """A copy; who is an integer or a string says so as a choice, as upstream unfolds it."""
    if isinstance(schema, list):
        return [_v3(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: value if name in {"default", "enum", "example"} else _v3(value)
        for name, value in schema.items()
    }
    if schema.get(INT_OR_STRING) and not schema.get("anyOf"):
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return found


def _v2(schema: JSON) -> JSON:
    """As swagger can say it: kubectl stumbles over the rest."""
    found = {name: schema[name] for name in _V2_KEEPS if name in schema}
    found |= {name: value for name, value in schema.items() if name.startswith("x-kubernetes-")}
    nullable, preserve = found.pop("nullable", False), schema.get(PRESERVE)
    if nullable or (preserve and schema.get("type") == "object"):
        found.pop("type", None)
    if not nullable and not preserve:
        properties = schema.get("properties") or {}
        if properties:
            found["properties"] = {name: _v2(inner) for name, inner in properties.items()}
        if isinstance(schema.get("items"), dict):
            found["items"] = _v2(schema["items"])
    elif schema.get("type") == "array":
        found.pop("type", None)
    additional = schema.get("additionalProperties")
    if additional is not None:
        found["additionalProperties"] = (
            _v2(additional) if isinstance(additional, dict) else additional
        )
    optional = [n for n, inner in (schema.get("properties") or {}).items() if inner.get("nullable")]
    if optional and "required" in found:
        found["required"] = [name for name in found["required"] if name not in optional]
    if not found.get("required", True):
        del found["required"]
    return found


def _add_embedded(schema: Any, ref: str) -> None:
    """Give resources within the object what every resource has, in place."""
    if not isinstance(schema, dict):
        return
    for inner in (schema.get("properties") or {}).values():
        _add_embedded(inner, ref)
    for name in ("items", "additionalProperties"):
        _add_embedded(schema.get(name), ref)
    if schema.get(EMBEDDED):
        metadata = {"$ref": f"{ref}{_META}.ObjectMeta", "description": _METADATA}
        schema["properties"] = {
            **(schema.get("properties") or {}),
            "apiVersion": _VERSION, "kind": _KIND, "metadata": metadata,
        }  # fmt: skip
        required = schema.get("required") or []
        schema["required"] = [
            *required, *(name for name in ("kind", "apiVersion") if name not in required),
        ]  # fmt: skip
