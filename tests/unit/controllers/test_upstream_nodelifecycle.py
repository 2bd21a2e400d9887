"""Zones, silent nodes and taints are judged as kubernetes' own controller judged in its tests.

Source: kubernetes pkg/controller/nodelifecycle/node_lifecycle_controller_test.go, recorded.
"""

from __future__ import annotations

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.views import Node
from podwire.client.effects import Patch
from podwire.client.placement import NO_SCHEDULE
from podwire.controllers.config import ControllersConfig
from podwire.controllers.nodelifecycle import core
from podwire.controllers.nodelifecycle.monitor import Monitor
from podwire.controllers.nodelifecycle.zones import Zones, zone_key
from tests.unit.controllers.upstream import Case, cases

NOW = 1_767_300_000 * NS


def _of(kind: str) -> list[Case]:
    found = [case for case in cases("nodelifecycle") if case["kind"] == kind]
    assert found
    return found


def _tests(kind: str) -> list[str]:
    return sorted({case["test"] for case in _of(kind)})


def _zone(told: str) -> Node:
    region, _, zone = told.partition("::")
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return msgspec.convert({"metadata": {"name": "n", "labels": labels if told else {}}}, Node)


@pytest.mark.parametrize("test", _tests("disruption"))
def test_zones_are_disrupted_and_slowed_down_as_upstream(test: str) -> None:
    """handleDisruption, pass after pass: the state of each zone, and the rate it is given."""
    for case in (c for c in _of("disruption") if c["test"] == test):
        config = ControllersConfig(
            node_eviction_rate=case["rate"],
            secondary_node_eviction_rate=case["secondary"],
            large_cluster_size_threshold=case["large"],
            unhealthy_zone_threshold=case["threshold"],
        )
        zones = Zones(config)
        rates: dict[str, float] = {}
        for number, step in enumerate(case["steps"]):
            keys = {told: zone_key(_zone(told)) for told in step["statuses"]}
            for told in keys:
                zones.of(_zone(told))
            zones.judge({keys[t]: s for t, s in step["statuses"].items()}, NOW + number * NS)
            assert {told: zones.state(key).value for told, key in keys.items()} == step["after"]
            rates |= step["rates"]
            found = {told: zones.by_key[key].limiter.rate for told, key in keys.items()}
            assert found == {told: rates[told] for told in keys}, (case, number)


def _node(case: Case) -> Node:
    conditions = []
    for told in case["conditions"]:
        one = {name: told[name] for name in ("type", "status", "reason", "message") if name in told}
        if told.get("heard_s") is not None:
            one["lastHeartbeatTime"] = format_time(NOW - told["heard_s"] * NS)
        conditions.append(one)
    created = format_time(NOW - case.get("created_s", 0) * NS)
    meta = {"name": "n", "uid": "n", "creationTimestamp": created}
    spec = {"unschedulable": case.get("unschedulable", False), "taints": case.get("had", [])}
    body = {"metadata": meta, "spec": spec, "status": {"conditions": conditions}}
    return msgspec.convert(body, Node)


@pytest.mark.parametrize("test", _tests("health"))
def test_a_silent_node_is_known_no_more(test: str) -> None:
    """tryUpdateNodeHealth: after which silence, and what its conditions become."""
    for case in (c for c in _of("health") if c["test"] == test):
        heard_ns, node = NOW - case["now_s"] * NS, _node(case)
        config = ControllersConfig(
            node_monitor_grace_period_s=case["grace"], node_startup_grace_period_s=case["startup"]
        )
        monitor = Monitor(config, heard_ns)
        monitor.added(node, heard_ns)
        monitor.step({"n": node}, NOW)
        assert ("n" in monitor.late) == case["written"], case
        if case["written"]:
            (patch,) = (e for e in core.mark_unknown(node, NOW) if isinstance(e, Patch))
            assert _after(node, patch) == {_facts(told, NOW) for told in case["after"]}, case


def _facts(told: Case, now_ns: int) -> tuple[str, ...]:
    heard = told.get("lastHeartbeatTime", "")
    if told.get("heard_s") is not None:
        heard = format_time(now_ns - told["heard_s"] * NS)
    names = ("type", "status", "reason", "message")
    return (*(told.get(name) or "" for name in names), heard)


def _after(node: Node, patch: Patch) -> set[tuple[str, ...]]:
    """The conditions that a patch leaves, merged by their types."""
    found = {c.type: msgspec.to_builtins(c) for c in node.status.conditions}
    for fresh in patch.patch["status"]["conditions"]:
        found[fresh["type"]] = {**found.get(fresh["type"], {}), **fresh}
    return {_facts(condition, 0) for condition in found.values()}


@pytest.mark.parametrize("case", [*_of("taints"), {
    "conditions": [], "had": [{"key": core.NOT_READY, "effect": NO_SCHEDULE}], "taints": [],
}])  # fmt: skip
def test_conditions_become_taints(case: Case) -> None:
    """doNoScheduleTaintingPass; a node that has not told anything yet is not tainted for it."""
    wanted = core.wanted_taints(_node(case), no_execute="", now_ns=NOW)
    assert [{"key": t.key, "effect": t.effect} for t in wanted] == case["taints"]
