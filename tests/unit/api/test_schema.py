"""The table of types: complete for the kinds served, and the views agree with it."""

import types
import typing
from typing import Any

import msgspec
import pytest

from podwire.api import kinds, schema
from podwire.api.view import View

KUBERNETES = [kind for kind in kinds.ALL if kind not in (kinds.TRACE, *kinds.COMPUTED)]


@pytest.mark.parametrize("kind", KUBERNETES, ids=lambda kind: kind.kind)
def test_every_kind_has_its_type_and_its_schema(kind: kinds.Kind[Any]) -> None:
    """For the decoder, and for kubectl apply."""
    found = schema.type_of(kind)
    assert found is not None
    assert {"apiVersion", "kind", "metadata"} <= found.fields.keys()
    described = schema.openapi_schemas()[schema.openapi_name(kind) or ""]
    assert described["properties"].keys() == found.fields.keys()
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    assert gvk in described["x-kubernetes-group-version-kind"]


def test_no_type_is_missing_and_no_reference_dangles() -> None:
    """Every message field refers to a type in the table, every $ref to a schema."""
    for name in schema.type_names():
        for field in schema.type_named(name).own:
            if field.code.endswith("m"):
                assert schema.type_named(field.ref)
    schemas = schema.openapi_schemas()
    text = msgspec.json.encode(schemas).decode()
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert referred <= schemas.keys()


def test_field_numbers_are_unique_within_a_type() -> None:
    """Zero means that protobuf does not carry the field."""
    for name in schema.type_names():
        numbers = [field.number for field in schema.type_named(name).own if field.number]
        assert len(numbers) == len(set(numbers)), name


def test_merge_keys_are_known_where_patches_need_them() -> None:
    """A few that everybody relies on."""
    spec = schema.type_named("core.v1.PodSpec").fields
    assert spec["containers"].merge_key == "name"
    assert spec["volumes"].patch_strategy == "merge,retainKeys"
    assert spec["tolerations"].patch_strategy == ""
    assert schema.type_named("core.v1.ServiceSpec").fields["ports"].merge_key == "port"


def test_inlined_types_are_flattened_for_json() -> None:
    """A volume's source and a probe's handler have no field of their own."""
    assert "emptyDir" in schema.type_named("core.v1.Volume").fields
    assert "httpGet" in schema.type_named("core.v1.Probe").fields
    assert [f.number for f in schema.type_named("core.v1.Volume").own if not f.name] == [2]


def _views(annotation: Any) -> list[type[View]]:
    """The view classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, View):
        return [annotation]
    if typing.get_origin(annotation) in {list, dict, types.UnionType, typing.Union}:
        return [v for argument in typing.get_args(annotation) for v in _views(argument)]
    return []


def _uses(view: type[View], struct: schema.Type) -> list[tuple[type[View], schema.Type]]:
    """A view and all views below it, each with the type that it stands for."""
    found = [(view, struct)]
    for field in msgspec.structs.fields(view):
        known = struct.fields.get(field.encode_name)
        if known is not None and known.code.endswith("m"):
            below = schema.type_named(known.ref)
            found += [use for inner in _views(field.type) for use in _uses(inner, below)]
    return found


def test_every_field_of_a_view_exists() -> None:
    """A misspelt field would silently stay empty.

    Some views stand for several types (conditions, workload status): one of those must have it.
    """
    known: dict[type[View], set[str]] = {}
    for kind in KUBERNETES:
        struct = schema.type_of(kind)
        assert struct is not None
        for view, stands_for in _uses(kind.view, struct):
            known.setdefault(view, set()).update(stands_for.fields)
    unknown = [
        f"{view.__name__}.{field.encode_name}"
        for view, names in known.items()
        for field in msgspec.structs.fields(view)
        if field.encode_name not in names
    ]
    assert unknown == []
    assert len(known) > 60
