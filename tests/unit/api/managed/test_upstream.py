"""Every kind with every field set: what is applied is owned, merged and pruned whole.

The kinds that podwire acts on, and all others when $PODWIRE_TESTDATA names upstream's data.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from podwire.api import codec, kinds
from podwire.api.managed import fields as sets
from podwire.api.managed.apply import apply
from podwire.api.managed.compare import compare
from podwire.api.managed.managers import APPLY, Manager, owned_by, sealed
from podwire.api.managed.plans import plan_of
from podwire.api.managed.typed import complaints, field_set, merge
from podwire.api.schema import type_of


def stored_kinds() -> list[kinds.Kind[Any]]:
    return [kind for kind in kinds.ALL if type_of(kind) is not None and "get" in kind.verbs]


def example(kind: kinds.Kind[Any], upstream: Any) -> Any:
    """An object with every field set, None when there is none."""
    found = upstream.get(f"{kind.api_version}/{kind.kind}")
    if found is not None:
        return found[0]
    folder = os.environ.get("PODWIRE_TESTDATA")
    path = Path(folder or "/nowhere", f"{kind.group or 'core'}.{kind.version}.{kind.kind}.json")
    return json.loads(path.read_text()) if folder and path.exists() else None


@pytest.mark.parametrize("kind", stored_kinds(), ids=lambda kind: f"{kind.resource}/{kind.version}")
def test_a_whole_object_is_owned_by_who_applies_it(kind, upstream):
    """Merging it with itself changes nothing, all its fields are owned, and applying nothing takes
    away everything but its identity.
    """
    body = example(kind, upstream)
    if body is None:
        pytest.skip("no object of this kind at hand")
    obj = codec.check(body, kind.api_version, kind.kind, "Ignore").obj
    obj["metadata"].pop("managedFields", None)
    step = plan_of(kind)
    assert complaints(step, obj) == []
    assert compare(step, obj, obj) == ({}, {})
    assert merge(step, obj, obj) == obj
    everything = field_set(step, obj)
    assert sets.parse(json.loads(sets.encode(everything))) == everything
    by, zero = Manager("m", APPLY, kind.api_version), type_of(kind).always
    first = apply(step, {}, obj, [], by, "1", {}, zero, force=False, new=True)
    assert first.obj == obj
    [entry] = first.entries
    assert sets.contains(everything, owned_by(entry))
    again = apply(step, obj, obj, sealed(first.entries), by, "2", {}, zero, force=False)
    assert again.obj is obj
    assert sealed(again.entries) == sealed(first.entries)
    little = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "x"}}
    last = apply(step, obj, little, sealed(first.entries), by, "3", {}, zero, force=False)
    assert last.entries == []
    left = codec.check(last.obj, kind.api_version, kind.kind, "Ignore").obj
    kept = {k: v for k, v in left.items() if k not in {"apiVersion", "kind", "metadata"}}
    assert kept == {k: v for k, v in zero.items() if k != "metadata"}
