"""Endpoints are mirrored into the slices that kubernetes' own controller made in its own tests.

Source: reconcile in kubernetes pkg/controller/endpointslicemirroring (reconciler_test.go,
endpointslicemirroring_controller_test.go), recorded.
"""

from __future__ import annotations

import json

import msgspec
import pytest

from podwire.api.views import Endpoints, EndpointSlice, Service
from podwire.client.effects import Create, Delete, Emit, Patch
from podwire.controllers.endpointslicemirroring import core
from tests.unit.controllers.upstream import Case, cases, flat

KEPT = ("labels", "annotations")


def _plain(body: Case) -> str:
    """What a slice says, whatever the order of its lists."""
    meta = {name: body["metadata"].get(name) or {} for name in KEPT}
    family = body["addressType"]
    endpoints = sorted(json.dumps(item, sort_keys=True) for item in body.get("endpoints") or ())
    ports = sorted(json.dumps(_port(item), sort_keys=True) for item in body.get("ports") or ())
    return json.dumps([meta, family, endpoints, ports], sort_keys=True)


def _port(told: Case) -> Case:
    return {"protocol": "TCP", **{name: value for name, value in told.items() if value}}


def _decided(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(core, "MAX_ENDPOINTS", case["max"])
    endpoints = msgspec.convert(case["endpoints"], Endpoints)
    slices = [msgspec.convert(told, EndpointSlice) for told in case["slices"]]
    bodies = {told["metadata"]["name"]: told for told in case["slices"]}
    service = msgspec.convert({"metadata": case["endpoints"]["metadata"], "spec": {}}, Service)
    found: Case = {"verbs": [], "slices": [], "events": []}
    for effect in flat(core.reconcile(endpoints, service, slices)):
        if isinstance(effect, Create):
            found["verbs"].append("create")
            found["slices"].append(_plain(effect.body))
        elif isinstance(effect, Patch):
            found["verbs"].append("update")
            before, patch = bodies[effect.name], effect.patch
            meta = dict(before["metadata"])
            for name in KEPT:
                merged = {**meta.get(name, {}), **patch["metadata"].get(name, {})}
                meta[name] = {key: value for key, value in merged.items() if value is not None}
            found["slices"].append(_plain({**before, **patch, "metadata": meta}))
        elif isinstance(effect, Delete):
            found["verbs"].append("delete")
        elif isinstance(effect, Emit):
            found["events"].append(f"{effect.type} {effect.reason} {effect.message}")
    return {name: sorted(values) for name, values in found.items()}


def test_slices_are_made_as_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is created, updated and deleted, what the slices say, and what is complained of."""
    for case in cases("endpointslicemirroring"):
        wanted = {
            "verbs": sorted(action["verb"] for action in case["actions"]),
            "slices": sorted(_plain(a["slice"]) for a in case["actions"] if "slice" in a),
            "events": sorted(case["events"]),
        }
        assert _decided(case, monkeypatch) == wanted, case
