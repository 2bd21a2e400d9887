"""Upstream's test data: every kind in JSON, YAML and protobuf, each with every field set.

The data (testdata/HEAD of kubernetes/api) lies where $PODWIRE_TESTDATA says.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from podwire.api import codec, protobuf, protobuf_encode, schema, structure, yamldoc

FOLDER = os.environ.get("PODWIRE_TESTDATA", "")
TRIPLES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="PODWIRE_TESTDATA does not name a copy of kubernetes/api testdata/HEAD"
)


def struct_of(path: Path) -> schema.Type:
    """The type of a file's object, by its name: ``apps.v1.Deployment.json``."""
    group, version, kind = path.stem.rsplit(".", 2)
    found = schema.type_of_gvk(version if group == "core" else f"{group}/{version}", kind)
    assert found is not None, path.stem
    return found


def test_the_data_is_there() -> None:
    """Whoever names the folder wants it to be used."""
    assert len(TRIPLES) >= 193


@pytest.mark.parametrize("path", TRIPLES, ids=lambda path: path.stem)
def test_a_kind_is_the_same_in_each_encoding(path: Path) -> None:
    """JSON, YAML and protobuf decode to one object, which encodes to upstream's very bytes."""
    struct, body = struct_of(path), path.with_suffix(".pb").read_bytes()
    obj, unknown = structure.check(struct, codec.load_json(path.read_bytes()))
    assert not unknown
    assert structure.check(struct, yamldoc.load(path.with_suffix(".yaml").read_bytes()))[0] == obj
    api_version, kind, message = protobuf.unwrap(body)
    decoded = {**protobuf.decode(struct, message)}
    if api_version:
        decoded |= {"apiVersion": api_version, "kind": kind}
    assert structure.check(struct, decoded)[0] == obj
    stored = msgspec.json.decode(msgspec.json.encode(obj))
    assert protobuf_encode.wrap(api_version, kind, protobuf_encode.encode(struct, stored)) == body
