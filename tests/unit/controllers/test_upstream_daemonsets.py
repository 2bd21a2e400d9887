"""A DaemonSet's pass decides what kubernetes' own controller decided in its own tests.

Source: updateDaemonSet, updateDaemonSetStatus and NodeShouldRunDaemonPod in kubernetes
pkg/controller/daemon (daemon_controller_test.go, update_test.go), recorded.
"""

from __future__ import annotations

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.views import ControllerRevision, DaemonSet, Node, Pod
from podwire.client.effects import Create, Delete, Emit, Patch
from podwire.client.placement import target_node
from podwire.controllers.common import template_json
from podwire.controllers.daemonset import core
from podwire.controllers.daemonset.backoff import FailedPods
from podwire.controllers.daemonset.nodes import daemon_spec, should_run
from podwire.controllers.history import HASH, revision_data
from tests.unit.controllers.upstream import Case, cases, flat

NOW = 1_767_300_000 * NS
LABELS = {"app": "agent"}
OWNER = {
    "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "d", "controller": True,
}  # fmt: skip
NUMBERS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberMisscheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
)


def _set(told: Case) -> DaemonSet:
    kept = ("minReadySeconds", "updateStrategy")
    spec: Case = {name: told[name] for name in kept if name in told}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [], **told.get("spec", {})}}
    spec |= {"selector": {"matchLabels": LABELS}, "template": template}
    meta = {"name": "agent", "namespace": "default", "uid": "d"}
    return msgspec.convert({"metadata": meta, "spec": spec}, DaemonSet)


def _node(told: Case) -> Node:
    meta = {"name": told["name"], "labels": told.get("labels", {})}
    return msgspec.convert({"metadata": meta, "spec": {"taints": told.get("taints", [])}}, Node)


def _pod(number: int, told: Case) -> Pod:
    labels = {**LABELS, HASH: "now" if told.get("updated") else "old"}
    meta = {
        "name": f"agent-{number}", "namespace": "default", "labels": labels,
        "ownerReferences": [OWNER],
    }  # fmt: skip
    if "age_s" in told:
        meta["creationTimestamp"] = format_time(NOW - int(told["age_s"]) * NS)
    if told.get("deleted"):
        meta["deletionTimestamp"] = format_time(NOW)
    field = {"key": "metadata.name", "operator": "In", "values": [told.get("node", "")]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    spec = {"affinity": affinity} if told.get("unbound") else {"nodeName": told.get("node", "")}
    status: Case = {"phase": told.get("phase", "")}
    if told.get("ready"):
        ready: Case = {"type": "Ready", "status": "True"}
        if "ready_s" in told:
            ready["lastTransitionTime"] = format_time(NOW - int(told["ready_s"]) * NS)
        status["conditions"] = [ready]
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Pod)


def _revision(ds: DaemonSet) -> ControllerRevision:
    meta = {"name": "agent-now", "labels": {HASH: "now"}, "ownerReferences": [OWNER]}
    data = revision_data(template_json(ds.spec.template))
    return msgspec.convert({"metadata": meta, "data": data, "revision": 1}, ControllerRevision)


def _decided(case: Case) -> Case:
    """What the first pass does; for an update that thins out nodes first, what the second adds:
    upstream's fakes carry out deletions at once, so that both are one.
    """
    ds, failed = _set(case["ds"]), FailedPods()
    pods = [_pod(number, told) for number, told in enumerate(case["pods"])]
    nodes = [_node(told) for told in case["nodes"]]
    for name in case.get("held", ()):
        failed.replaced(ds, name, NOW)
    first, left = _pass(ds, pods, nodes, failed)
    if (
        case["kind"] == "update"
        and first["deleted"]
        and len(first["created"]) < len(case["created"])
    ):
        second, _ = _pass(ds, left, nodes, failed)
        first["created"] = sorted(first["created"] + second["created"])
    return first


def _pass(
    ds: DaemonSet, pods: list[Pod], nodes: list[Node], failed: FailedPods
) -> tuple[Case, list[Pod]]:
    by_name = {pod.metadata.name: pod for pod in pods}
    found: Case = {"created": [], "deleted": [], "events": []}
    status: Case = {}
    for effect in flat(core.reconcile(ds, pods, nodes, [_revision(ds)], NOW, failed)):
        if isinstance(effect, Create):
            pod = msgspec.convert(effect.body, Pod)
            found["created"].append(target_node(pod.spec))
        elif isinstance(effect, Delete):
            pod = by_name.pop(effect.name)
            new = pod.metadata.labels[HASH] == "now"
            found["deleted"].append([target_node(pod.spec), new])
        elif isinstance(effect, Emit):
            found["events"].append(effect.reason)
        elif isinstance(effect, Patch) and effect.subresource == "status":
            status = effect.patch["status"]
    found = {name: sorted(values) for name, values in found.items()}
    told = {**found, "status": [status.get(name, 0) for name in NUMBERS]}
    return told, list(by_name.values())


def _counts(decided: Case) -> Case:
    """Which of several nodes an update takes is a matter of Go's order of maps."""
    new = sum(is_new for _, is_new in decided["deleted"])
    return {
        "created": len(decided["created"]),
        "deleted": (new, len(decided["deleted"]) - new),
        "events": decided["events"],
    }


TESTS = sorted({case["test"] for case in cases("daemonset")})


@pytest.mark.parametrize("test", TESTS)
def test_a_pass_decides_as_upstream(test: str) -> None:
    """On which nodes pods are made and deleted; the numbers of the status; where pods belong."""
    for case in (c for c in cases("daemonset") if c["test"] == test):
        if case["kind"] == "node":
            assert (
                list(should_run(daemon_spec(_set(case["ds"])), _node(case["node"]))) == case["want"]
            ), case
            continue
        decided = _decided(case)
        if case["kind"] == "status":
            assert decided["status"] == case["status"], case
        elif "Updates" in test:
            assert _counts(decided) == _counts(case), case
        else:
            assert {n: decided[n] for n in ("created", "deleted", "events")} == {
                n: case[n] for n in ("created", "deleted", "events")
            }, case


def test_a_node_where_pods_fail_is_left_alone_longer_each_time() -> None:
    """A second, doubling to 15 minutes; forgotten half an hour after the last failure."""
    ds, failed, now_ns, delays = _set({}), FailedPods(), NOW, []
    for _ in range(12):
        failed.replaced(ds, "node-0", now_ns)
        delays.append(failed.held_s(ds, "node-0", now_ns))
        now_ns += int(delays[-1]) * NS
        assert not failed.held_s(ds, "node-0", now_ns)
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    now_ns += 1801 * NS
    failed.replaced(ds, "node-0", now_ns)
    assert failed.held_s(ds, "node-0", now_ns) == 1
