"""Protobuf answers: what Go holds by value is written, what it holds by pointer only when set."""

from __future__ import annotations

from typing import Any

import pytest

from podwire.api import protobuf, protobuf_encode, schema, structure


def test_upstreams_objects_encode_to_upstreams_bytes(upstream) -> None:
    """Order of fields and map keys, zeros included."""
    for name, (expected, body) in upstream.items():
        api_version, _, kind = name.rpartition("/")
        struct = schema.type_of_gvk(api_version, kind)
        assert struct is not None
        obj = {"apiVersion": api_version, "kind": kind, **expected}
        assert protobuf_encode.wrap(
            api_version, kind, protobuf_encode.encode(struct, obj)
        ) == body, name  # fmt: skip


def test_an_empty_object_carries_the_zeros_of_its_values() -> None:
    """A Lease without anything: metadata and spec by value; inside spec only pointers."""
    lease = schema.type_of_gvk("coordination.k8s.io/v1", "Lease")
    assert lease is not None
    message = protobuf_encode.encode(lease, {})
    decoded = protobuf.decode(lease, message)
    assert decoded["spec"] == {}
    assert decoded["metadata"]["name"] == ""
    assert structure.check(lease, decoded)[0] == {"metadata": {}, "spec": {}}


def test_a_json_schema_of_a_custom_resource_survives() -> None:
    """Its unions: a schema or a bool, a schema or a list of them, a list of strings; floats."""
    struct = schema.type_named("apiextensions.v1.JSONSchemaProps")
    body = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "a": {"items": {"type": "string"}, "maximum": 1.5, "default": {"x": [1, None]}},
            "b": {"items": [{"type": "integer"}], "additionalProperties": {"type": "string"}},
        },
        "dependencies": {"a": ["b"], "b": {"required": ["a"]}},
        "enum": ["x", 2],
    }
    obj, unknown = structure.check(struct, body)
    assert (obj, unknown) == (body, [])
    decoded = protobuf.decode(struct, protobuf_encode.encode(struct, obj))
    assert structure.check(struct, decoded)[0] == body


@pytest.mark.parametrize("step", ["not", "allOf", "properties", "items"])
def test_a_schema_that_nests_too_deep_is_a_bad_request(step: str) -> None:
    """Only the schemas of custom resources recurse; they are bounded, in JSON and in protobuf."""
    node: dict[str, Any] = {}
    for _ in range(400):
        shapes: dict[str, Any] = {"allOf": [node], "properties": {"x": node}}
        node = {step: shapes.get(step, node)}
    struct = schema.type_named("apiextensions.v1.JSONSchemaProps")
    with pytest.raises(structure.StructureError, match="objects nest deeper than 120 levels"):
        structure.check(struct, node)
    data = b""
    for _ in range(400):
        data = protobuf_encode.record(28, data)  # not
    with pytest.raises(protobuf.ProtobufError):
        protobuf.decode(struct, data)


def test_a_watch_frame_is_a_length_and_an_event() -> None:
    """Four bytes, big endian; the object inside is in its envelope."""
    frame = protobuf_encode.watch_event("ADDED", b"inner")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:] == b"\x0a\x05ADDED\x12\x07\x0a\x05inner"
