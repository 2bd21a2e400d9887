"""All that is checked of a custom object, in upstream's order: metadata, values, scale, embedded
resources, lists that are sets or maps, and then the rules in CEL.

Source: apiextensions-apiserver pkg/registry/customresource (strategy.go, status_strategy.go,
validator.go) and pkg/apiserver/schema/{objectmeta,listtype}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import names
from podwire.api.crd.coercion import read_metadata
from podwire.api.crd.nodes import EMBEDDED, Node
from podwire.api.crd.values import NOTHING
from podwire.api.kinds import Kind
from podwire.api.status import Cause
from podwire.api.structure import StructureError
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

if TYPE_CHECKING:
    from podwire.api.crd.served import Custom

_BLOCKING = frozenset((
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
    "FieldValueTypeInvalid",
))  # fmt: skip
"""Errors that leave rules unchecked: these could not rely on types."""
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)
MAX_REPLICAS = 2**31 - 1


def complaints(
    kind: Kind[Any], custom: Custom, new: JSON, old: JSON | None, subresource: str
) -> list[Cause]:
    """Everything wrong with an object, as the successor of ``old``."""
    errors = Errors()
    for name, wanted in (("kind", kind.kind), ("apiVersion", kind.api_version)):
        if new.get(name) != wanted:
            errors.invalid(name, new.get(name), f"must be {wanted}")
    if errors.causes:
        return errors.causes
    meta.metadata(errors, kind, new["metadata"], old is not None)
    if old is not None:
        meta.metadata_update(errors, new["metadata"], old["metadata"])
    schema = custom.schema
    if schema is not None:
        errors.causes += _values(custom, new, old, subresource)
    if subresource != "status":
        _spec_replicas(errors, custom.scale, new)
    _status_replicas(errors, custom.scale, new)
    if schema is None:
        return errors.causes
    if subresource != "status" and custom.root.embeds:
        embedded(errors, schema, new, "")
    if custom.root.unique and (old is None or not _doubles(custom.root, old)):
        errors.causes += _doubles(custom.root, new)
    if custom.rules is not None:
        if any(cause.reason in _BLOCKING for cause in errors.causes):
            errors.causes.append(
                Cause("FieldValueInvalid", f"Invalid value: null: {_UNCHECKED}", "<nil>")
            )
        else:
            custom.rules.validate(new, old, errors, [])  # what is forgiven is not told
    return errors.causes


def _values(custom: Custom, new: JSON, old: JSON | None, subresource: str) -> list[Cause]:
    check = custom.check
    if subresource != "status":
        return check.run(new, "", old if old is not None else NOTHING).causes()
    part = check.part("status")
    if part is None or "status" not in new:
        return []
    before = old.get("status", NOTHING) if old is not None else NOTHING
    return part.run(new["status"], "", before).causes("status")


# ------------------------------------------------------------------ scale


def at(obj: JSON, path: str) -> Any:
    """The value at ``.spec.replicas``, None when there is none or what leads there is no map."""
    value: Any = obj
    for name in path.removeprefix(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _replicas(errors: Errors, path: str, obj: JSON) -> None:
    value = at(obj, path)
    if value is None:
        return
    if value.__class__ is not int:
        words = {str: "string", float: "float64", bool: "bool", dict: "map[string]interface {}"}
        given = words.get(value.__class__, "[]interface {}")
        shown = path.removeprefix(".")
        why = f".{shown} accessor error: {value} is of the type {given}, expected int64"
        errors.invalid(path, 0, why)
    elif value < 0:
        errors.invalid(path, value, "should be a non-negative integer")
    elif value > MAX_REPLICAS:
        errors.invalid(path, value, f"should be less than or equal to {MAX_REPLICAS}")


def _spec_replicas(errors: Errors, scale: JSON | None, obj: JSON) -> None:
    if scale is not None:
        _replicas(errors, scale["specReplicasPath"], obj)


def _status_replicas(errors: Errors, scale: JSON | None, obj: JSON) -> None:
    if scale is None:
        return
    _replicas(errors, scale["statusReplicasPath"], obj)
    path = scale.get("labelSelectorPath")
    value = at(obj, path) if path else None
    if path and value is not None and not isinstance(value, str):
        why = f"{path} accessor error: {value} is of the wrong type, expected string"
        errors.invalid(path, "", why)


# ------------------------------------------------------------------ embedded resources


def embedded(errors: Errors, schema: JSON, value: Any, path: str) -> None:
    """Hold resources within an object to what every resource needs."""
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for i, item in enumerate(value):
                embedded(errors, items, item, f"{path}[{i}]")
        return
    if not isinstance(value, dict):
        return
    if schema.get(EMBEDDED):
        _resource(errors, value, path)
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    for name, item in value.items():
        inner = properties.get(name, additional)
        if isinstance(inner, dict):
            where = f"{path}.{name}" if name in properties else f"{path}[{name}]"
            embedded(errors, inner, item, where.removeprefix("."))


def _resource(errors: Errors, value: JSON, path: str) -> None:
    for name in ("apiVersion", "kind"):
        if name not in value:
            errors.required(f"{path}.{name}", "must not be empty")
    version, kind = value.get("apiVersion"), value.get("kind")
    if version is not None:
        if not isinstance(version, str):
            errors.invalid(f"{path}.apiVersion", version, "must be a string")
        elif not version:
            errors.invalid(f"{path}.apiVersion", version, "must not be empty")
        elif version.count("/") > 1:
            why = f"unexpected GroupVersion string: {version}"
            errors.invalid(f"{path}.apiVersion", version, why)
    if kind is not None:
        if not isinstance(kind, str):
            errors.invalid(f"{path}.kind", kind, "must be a string")
        elif not kind:
            errors.invalid(f"{path}.kind", kind, "must not be empty")
        elif wrong := names.dns1035_label(kind.lower()):
            why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            errors.invalid(f"{path}.kind", kind, why)
    if "metadata" in value:
        _metadata(errors, value["metadata"], f"{path}.metadata")


def _metadata(errors: Errors, value: Any, path: str) -> None:
    try:
        metadata, _ = read_metadata(value)
    except StructureError as error:
        errors.invalid(path, value, str(error))
        return
    if name := metadata.get("name"):
        errors.complaints(f"{path}.name", name, names.path_segment(name))
    meta.check_labels(errors, f"{path}.labels", metadata.get("labels"))
    meta.check_annotations(errors, f"{path}.annotations", metadata.get("annotations"))


# ------------------------------------------------------------------ sets and maps


def _doubles(root: Node, obj: JSON) -> list[Cause]:
    errors = Errors()
    _unique(errors, root, obj, "")
    return errors.causes


def _unique(errors: Errors, node: Node, value: Any, path: str) -> None:
    if value.__class__ is list:
        if node.list_type == "set":
            for i in _repeated([_identity(item) for item in value]):
                errors.duplicate(f"{path}[{i}]", value[i])
        elif node.list_type == "map":
            _unique_keys(errors, node.keys, value, path)
        items = node.items
        if items is not None and items.unique:
            for i, item in enumerate(value):
                _unique(errors, items, item, f"{path}[{i}]")
    elif value.__class__ is dict:
        properties, additional = node.properties, node.additional
        for name, item in value.items():
            inner = properties.get(name)
            if inner is not None:
                if inner.unique:
                    _unique(errors, inner, item, f"{path}.{name}".removeprefix("."))
            elif additional is not None and additional.unique:
                _unique(errors, additional, item, f"{path}[{name}]")


def _unique_keys(errors: Errors, names: list[str], items: list[Any], path: str) -> None:
    for i, item in enumerate(items):
        if item is not None and not isinstance(item, dict):
            why = "must be an object for an array of list-type map"
            errors.invalid(f"{path}[{i}]", item, why)
            return
    keys = [
        {key: item[key] for key in names if key in item} for item in (item or {} for item in items)
    ]
    for i in _repeated([_identity(key) for key in keys]):
        errors.duplicate(f"{path}[{i}]", keys[i])


def _identity(value: Any) -> str:
    """A text that equal values share: 1 is neither true nor "1" nor 1.0."""
    if isinstance(value, dict):
        inner = ",".join(f"{key!r}:{_identity(value[key])}" for key in sorted(value))
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_identity, value))}]"
    return f"{value.__class__.__name__} {value!r}"


def _repeated(identities: list[str]) -> list[int]:
    """Where something stands for the second time."""
    seen: dict[str, int] = {}
    found = []
    for i, identity in enumerate(identities):
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] == 2:
            found.append(i)
    return found


# ------------------------------------------------------------------ warnings

_STANDARD = ("orphan", "foregroundDeletion", "kubernetes")


def finalizer_warnings(new: JSON, old: JSON | None) -> list[str]:
    """Finalizers that a write adds and whose names may be others' too."""
    before = (old["metadata"].get("finalizers") or ()) if old is not None else ()
    told = []
    for name in sorted(set(new["metadata"].get("finalizers") or ()) - set(before)):
        where = f'metadata.finalizers: "{name}": '
        told += [where + why for why in names.label_key(name)]
        if "/" not in name and name not in _STANDARD:
            how = " including a path (/)" if "." in name else ""
            told.append(
                f"{where}prefer a domain-qualified finalizer name{how} to avoid accidental "
                "conflicts with other finalizer writers"
            )
    return told
