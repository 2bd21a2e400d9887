"""What a definition is refused for, field by field. Source: apiextensions/validation tables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from podwire.api import codec, kinds, objects
from podwire.api.crd.served import Definition, version_rank
from podwire.api.status import ApiError
from podwire.api.validation.warnings import warnings_of
from tests.samples_crd import definition

KIND = kinds.CUSTOM_RESOURCE_DEFINITION
SPEC = "spec.validation.openAPIV3Schema.properties[spec].properties"
IN_SPEC = "spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sample with a value set (or, for None, dropped) at a path."""
    body = definition()
    at: Any = body
    *parents, last = path.split("/")
    for key in parents:
        at = at[int(key)] if key.isdigit() else at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return body


def complaints(body: dict[str, Any]) -> list[str]:
    obj = codec.decode("", json.dumps(body).encode(), KIND).obj
    objects.default(KIND, obj)
    try:
        objects.check_create(KIND, obj)
    except ApiError as error:
        return [f"{cause.field}: {cause.message}" for cause in error.causes]
    return []


def cases() -> list[tuple[str, Any, str]]:
    """Path, value and complaint of each case in complaints.txt."""
    text = Path(__file__).with_name("complaints.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = []
    for change, complaint in zip(lines[::2], lines[1::2], strict=True):
        path, _, value = change.partition(" ")
        told = complaint.strip().replace("~", SPEC)
        found.append((path.replace("~/", IN_SPEC), json.loads(value), told))
    return found


@pytest.mark.parametrize(("path", "value", "complaint"), cases(), ids=lambda v: str(v)[-40:])
def test_a_definition_is_held_to_upstreams_rules(path: str, value: Any, complaint: str) -> None:
    """One thing wrong, told where it stands and in upstream's words."""
    told = complaints(changed(path, value))
    if path.endswith("storage"):
        told = [text.partition("Invalid value: ")[0] + text.rpartition("]: ")[2] for text in told]
    assert told[:1] == [complaint]


def test_the_sample_is_in_order() -> None:
    assert complaints(definition()) == []


def test_a_community_group_needs_approval() -> None:
    body = definition()
    body["metadata"]["name"], body["spec"]["group"] = "widgets.x.k8s.io", "x.k8s.io"
    (told,) = complaints(body)
    assert told.startswith("metadata.annotations[api-approved.kubernetes.io]: Required value: prot")
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    assert complaints(body) == []


def test_versions_are_preferred_as_kubernetes_prefers_them() -> None:
    wanted = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "foo1", "foo10"]
    assert sorted(sorted(wanted), key=version_rank) == wanted


def test_formats_that_nobody_checks_are_warned_of() -> None:
    """And sets of maps, which server-side apply cannot tell apart."""
    body = changed(IN_SPEC + "x", {"type": "string", "format": "colour"})
    obj = codec.decode("", json.dumps(body).encode(), KIND).obj
    assert warnings_of(KIND, obj, None) == ['unrecognized format "colour"']


REAL = os.environ.get("PODWIRE_CRDS", "")


@pytest.mark.skipif(not REAL, reason="PODWIRE_CRDS does not name a folder of real definitions")
def test_real_definitions_are_in_order_and_can_be_served() -> None:
    """Of Gateway API, Argo, cert-manager and others, wherever they lie below the folder."""
    found = 0
    for path in sorted(Path(REAL).rglob("*.y*ml")):
        for body in yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not body or body.get("kind") != "CustomResourceDefinition":
                continue
            told = complaints(body)
            assert not told, (path, told)
            obj = codec.decode("", msgspec.json.encode(body), KIND).obj
            objects.default(KIND, obj)
            obj["metadata"]["uid"] = "u"
            obj["status"] = {"acceptedNames": obj["spec"]["names"]}
            for kind in Definition(obj).kinds.values():
                custom = kind.custom
                assert custom is not None
                assert custom.check.run({}) is not None
                assert custom.plan.table["metadata"].table
                assert custom.root.properties
            found += 1
    assert found
