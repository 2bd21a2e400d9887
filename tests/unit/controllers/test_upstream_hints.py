"""Hints of endpoints are those of kubernetes' own tests.

Source: kubernetes staging endpointslice (topologycache_test.go, trafficdist_test.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Node, Service
from podwire.controllers.endpointslice.desired import hints
from podwire.controllers.endpointslice.topology import ZONE, Topology, shares
from tests.unit.controllers.upstream import Case, cases


@dataclass
class Draft:
    """A slice as the controller works on it."""

    stored: EndpointSlice | None
    endpoints: dict[str, JSON]
    changed: bool


def rows(test: str) -> list[Any]:
    """One of upstream's tables."""
    found = [case for case in cases("topology") if case["test"] == test]
    return [pytest.param(case, id=case["name"]) for case in found]


def _node(told: Case) -> Node:
    zone = {ZONE: told["zone"]} if told.get("zone") else {}
    cpu = {"cpu": told["cpu"]} if told.get("cpu") else {}
    ready = {"type": "Ready", "status": told["ready"]}
    meta = {"name": "n", "labels": {**told.get("labels", {}), **zone}}
    status = {"allocatable": cpu, "conditions": [ready]}
    return msgspec.convert({"metadata": meta, "status": status}, Node)


@pytest.mark.parametrize("case", rows("TestSetNodes"))
def test_zones_share_the_cpus_of_ready_nodes(case: Case) -> None:
    """Unless one does not tell its zone or its CPUs, or there is but one zone."""
    nodes = [_node(told) for told in case["nodes"]]
    wanted = {zone: float(ratio) for zone, ratio in case.get("expectedRatios", {}).items()}
    assert shares(nodes) == pytest.approx(wanted)


def _drafts(case: Case) -> list[Draft]:
    info = case["sliceInfo"]
    made = []
    for group in ("ToCreate", "ToUpdate", "Unchanged"):
        for body in info.get(group, ()):
            stored = None if group == "ToCreate" else msgspec.convert({}, EndpointSlice)
            endpoints = {str(n): one for n, one in enumerate(body["endpoints"])}
            made.append(Draft(stored, endpoints, group != "Unchanged"))
    return made


def _zones(endpoints: list[JSON]) -> list[list[str]]:
    """Zones of each endpoint's hints, in any order: who is moved is a matter of taste."""
    return sorted(
        [zone["name"] for zone in one.get("hints", {}).get("forZones", ())] for one in endpoints
    )


@pytest.mark.parametrize("case", rows("TestAddHints"))
def test_endpoints_are_shared_out_as_upstream_does(case: Case) -> None:
    """Which slices change, how many endpoints each zone gets, and the event."""
    info, drafts, topology = case["sliceInfo"], _drafts(case), Topology()
    ratios = {zone: float(ratio) for zone, ratio in case.get("cpuRatiosByZone", {}).items()}
    ratios = dict(sorted(ratios.items()))
    event = topology.hint(info["ServiceKey"], info["AddressType"], drafts, ratios)
    told = [{"EventType": e[0], "Reason": e[1], "Message": e[2]} for e in [event] if e is not None]
    words = case["expectedEvents"]
    for word, have in zip(words, told, strict=True):
        assert have["Message"].startswith(word["Message"])
        assert {**have, "Message": ""} == {**word, "Message": ""}
    assert topology.given.get(info["ServiceKey"]) == case.get("expectedEndpointsByAddrType")
    written = {
        "expectedSlicesToCreate": [d for d in drafts if d.stored is None],
        "expectedSlicesToUpdate": [d for d in drafts if d.stored is not None and d.changed],
    }
    for name, ours in written.items():
        theirs = case.get(name, [])
        hints = [_zones(list(d.endpoints.values())) for d in ours]
        assert hints == [_zones(body["endpoints"]) for body in theirs], name


@pytest.mark.parametrize("case", rows("trafficdist.TestReconcileHints"))
def test_a_traffic_distribution_names_zones_and_nodes(case: Case) -> None:
    """By spec.trafficDistribution; every endpoint that is ready, and no other."""
    spec = {"trafficDistribution": case.get("trafficDistribution", "")}
    service = msgspec.convert({"metadata": {"name": "svc"}, "spec": spec}, Service)
    for name in ("wantSlicesToCreate", "wantSlicesToUpdate", "wantSlicesUnchanged"):
        for body in case.get(name, ()):
            for endpoint in body["endpoints"]:
                plain = {key: value for key, value in endpoint.items() if key != "hints"}
                plain["conditions"] = {"ready": False, **plain["conditions"]}
                assert hints(service, plain) == endpoint.get("hints", {}), endpoint
