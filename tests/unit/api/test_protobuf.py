"""Protobuf bodies: upstream's objects decode exactly, anything else is refused politely."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import codec, kinds, protobuf, schema
from podwire.api.codec import PROTOBUF_TYPE
from podwire.api.status import ApiError


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    def text(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    meta = text(1, api_version.encode()) + text(2, kind.encode())
    return protobuf.MAGIC + text(1, meta) + text(2, raw)


def test_every_kind_decodes_to_exactly_its_json(upstream) -> None:
    """The same object in both encodings, every field set: no field number is wrong or missing."""
    assert len(upstream) == 30
    for name, (expected, body) in upstream.items():
        api_version, _, kind = name.rpartition("/")
        decoded = codec.decode_as(PROTOBUF_TYPE, body, api_version, kind, codec.STRICT)
        assert decoded.obj == {"apiVersion": api_version, "kind": kind, **expected}, name
        assert not decoded.warnings


def test_json_of_every_kind_passes_the_structural_check_unchanged(upstream) -> None:
    """What upstream prints, upstream reads: so do we."""
    for name, (expected, _) in upstream.items():
        api_version, _, kind = name.rpartition("/")
        decoded = codec.check(expected, api_version, kind, codec.STRICT)
        assert decoded.obj == {"apiVersion": api_version, "kind": kind, **expected}, name


def test_a_zero_that_go_would_omit_is_dropped_and_a_pointer_to_zero_is_kept() -> None:
    """generation is an int64, replicas a *int32: both arrive as an explicit 0."""
    meta, spec = b"\x0a\x02\x38\x00", b"\x12\x02\x08\x00"
    body = envelope("apps/v1", "Deployment", meta + spec)
    obj = codec.decode(PROTOBUF_TYPE, body, kinds.DEPLOYMENT).obj
    assert obj["metadata"] == {}
    assert obj["spec"]["replicas"] == 0


def test_negative_numbers_and_packed_lists_are_understood() -> None:
    """-1 is a ten byte varint; supplementalGroups may come packed."""
    pod = schema.type_named("core.v1.PodSpec")
    minus_one = b"\xff" * 9 + b"\x01"
    assert protobuf.decode(pod, b"\x20" + minus_one) == {"terminationGracePeriodSeconds": -1}
    context = schema.type_named("core.v1.PodSecurityContext")
    assert protobuf.decode(context, b"\x22\x03\x01\xac\x02") == {"supplementalGroups": [1, 300]}
    assert protobuf.decode(context, b"\x20\x01\x20\x02") == {"supplementalGroups": [1, 2]}


def test_a_newer_clients_fields_are_skipped() -> None:
    """Field 1000 means nothing to us."""
    assert protobuf.decode(schema.type_named("core.v1.PodIP"), b"\xc2\x3e\x01x\x0a\x01y") == {
        "ip": "y"
    }


@pytest.mark.parametrize(
    "raw",
    [b"\x0a", b"\x0a\xff", b"\x0a\x05ab", b"\x0b", b"\x00\x01", b"\xff" * 11, b"\x08\x01",
     b"\x0a\x01\xff"],
)  # fmt: skip
def test_damaged_messages_are_bad_requests(raw: bytes) -> None:
    """Truncated, overlong, wrongly typed: 400, never another error."""
    body = envelope("v1", "Pod", raw)
    with pytest.raises(ApiError) as caught:
        codec.decode(PROTOBUF_TYPE, body, kinds.POD)
    assert caught.value.code == 400


@given(st.binary(max_size=200), st.sampled_from(kinds.ALL))
def test_arbitrary_bytes_decode_or_are_bad_requests(raw: bytes, kind: kinds.Kind[Any]) -> None:
    """Bare, and as the payload of a correct envelope."""
    for body in (raw, envelope(kind.api_version, kind.kind, raw[:100])):
        with contextlib.suppress(ApiError):
            codec.decode(PROTOBUF_TYPE, body, kind)


@given(data=st.data())
def test_damaged_objects_decode_or_are_bad_requests(data, upstream) -> None:
    """Upstream's objects with bytes changed and cut: closer to the mark than pure noise."""
    name = data.draw(st.sampled_from(sorted(upstream)))
    body = bytearray(upstream[name][1])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    api_version, _, kind = name.rpartition("/")
    for damaged in (bytes(body), bytes(body[:cut])):
        with contextlib.suppress(ApiError):
            codec.decode_as(PROTOBUF_TYPE, damaged, api_version, kind)
