"""How many pods may be evicted is what kubernetes' own controller found in its own tests.

Source: kubernetes pkg/controller/disruption/disruption_test.go.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.times import NS, format_time
from podwire.api.views import Deployment, Pod, PodDisruptionBudget
from podwire.client.effects import Emit, Patch, RequeueAfter
from podwire.controllers.disruption import core
from tests.unit.controllers.cluster import Cluster, play, workload
from tests.unit.controllers.upstream import Case, cases

NOW = 1_767_300_000 * NS


def _pod(told: Case) -> Pod:
    meta = {"name": told["name"], "namespace": "default", "ownerReferences": told["owners"]}
    if told["terminating"]:
        meta["deletionTimestamp"] = format_time(NOW)
    ready = {"type": "Ready", "status": "True" if told["ready"] else "False"}
    return msgspec.convert({"metadata": meta, "status": {"conditions": [ready]}}, Pod)


def _scale(case: Case, pods: list[Pod]) -> core.Scale:
    """As the shell adds it up, of kinds that the caches know."""

    def get(kind: Kind[Any], name: str) -> Any:
        for told in case["controllers"]:
            if (told["kind"], told["name"]) == (kind.kind, name):
                meta = {"name": name, "uid": told["uid"], "ownerReferences": told["owners"]}
                body = {"metadata": meta, "spec": {"replicas": told["replicas"]}}
                return msgspec.convert(body, Deployment)
        return None

    found, bare = {}, False
    for pod in pods:
        reference = pod.metadata.controller()
        if reference is None:
            bare = True
            continue
        controller = core.known(reference, get)
        if controller is None:
            return core.Scale(failure=case["condition"]["message"])
        found[controller[0]] = controller[1]
    return core.Scale(sum(found.values()), bare)


def _sync(case: Case) -> Case:
    gone = {name: format_time(NOW - ago * NS) for name, ago in case["disrupted_s"].items()}
    meta = {"name": "foobar", "namespace": "default"}
    body = {"metadata": meta, "spec": case["spec"], "status": {"disruptedPods": gone}}
    budget = msgspec.convert(body, PodDisruptionBudget)
    pods = [_pod(told) for told in case["pods"]]
    scale = _scale(case, pods) if core.by_scale(budget) else core.Scale()
    effects = core.reconcile(budget, pods, scale, NOW)
    (patch,) = (effect for effect in effects if isinstance(effect, Patch))
    status = patch.patch["status"]
    left = {**gone, **status.get("disruptedPods", {})}
    (condition,) = status["conditions"]
    return {
        "status": {name: status.get(name) or 0 for name in case["status"]},
        "disrupted": sorted(name for name, since in left.items() if since),
        "condition": {k: v for k, v in condition.items() if k in {"status", "reason", "message"}},
    }


@pytest.mark.parametrize("test", sorted({case["test"] for case in cases("disruption")}))
def test_a_budget_allows_what_upstream_does(test: str) -> None:
    """Healthy, wanted and expected pods, evictions on their way, and the condition."""
    for case in (c for c in cases("disruption") if c["test"] == test):
        before = {"disruptionsAllowed": 0} if case["condition"].get("message") else {}
        expected = {name: case[name] for name in ("disrupted", "condition")}
        found = _sync(case)
        assert {name: found[name] for name in expected} == expected, case
        assert found["status"] == {**case["status"], **before}, case


def _events(**told: Any) -> list[str]:
    budget = msgspec.convert(
        {"metadata": {"name": "foobar", "namespace": "default"},
         "spec": {"minAvailable": "28%", "selector": {"matchLabels": {"foo": "bar"}}},
         "status": told.get("status", {})},
        PodDisruptionBudget,
    )  # fmt: skip
    effects = core.reconcile(budget, told.get("pods", []), told.get("scale", core.Scale()), NOW)
    return [effect.reason for effect in effects if isinstance(effect, Emit)]


def test_a_budget_tells_what_keeps_it_from_counting():
    """No pods, pods without a controller, controllers nobody knows, evicted pods that stay."""
    one = _pod({"name": "p", "owners": [], "terminating": False, "ready": True})
    late = {"disruptedPods": {"p": format_time(NOW - 180 * NS)}}
    assert _events() == ["NoPods"]
    assert _events(pods=[one], scale=core.Scale(bare=True)) == ["UnmanagedPods"]
    assert _events(pods=[one], scale=core.Scale(failure="x")) == ["CalculateExpectedPodCountFailed"]
    assert _events(pods=[one], status=late) == ["NotDeleted"]


@pytest.mark.parametrize(
    ("status", "ago_s", "terminating", "outcome"),
    [  # TestStalePodDisruption
        ("True", 121, False, "False"),
        ("True", 119, False, "in 1 s"),
        ("True", 121, True, ""),
        ("", 121, True, ""),
        ("False", 121, True, ""),
    ],
)
def test_a_disruption_that_does_not_come_is_taken_back(status, ago_s, terminating, outcome):
    """Two minutes after it was announced."""
    meta = {"name": "p", "namespace": "default"}
    if terminating:
        meta["deletionTimestamp"] = format_time(NOW)
    since = format_time(NOW - ago_s * NS)
    told = {"type": "DisruptionTarget", "status": status, "lastTransitionTime": since}
    body = {"metadata": meta, "status": {"conditions": [told] if status else []}}
    found = ""
    for effect in core.relent(msgspec.convert(body, Pod), NOW):
        if isinstance(effect, RequeueAfter):
            found = f"in {effect.delay_s:g} s"
        elif isinstance(effect, Patch):
            found = effect.patch["status"]["conditions"][0]["status"]
    assert found == outcome


def test_a_share_of_pods_that_no_scale_is_told_of_allows_nothing():
    """A budget of a Job's pods fails safe until it gives a number; a Deployment's counts."""

    async def story(c: Cluster) -> None:
        c.node("n1")
        for name, kind in (("web", kinds.DEPLOYMENT), ("sum", kinds.JOB)):
            body = workload(name, 2) if kind is kinds.DEPLOYMENT else _job(name)
            c.api.put(kind, body)
            spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}
            meta = {"name": name, "namespace": "default"}
            c.api.put(kinds.POD_DISRUPTION_BUDGET, {"metadata": meta, "spec": spec})
        await c.env.clock.sleep(30)
        web = c.api.get(kinds.POD_DISRUPTION_BUDGET, "default/web")["status"]
        assert (web["disruptionsAllowed"], web["expectedPods"]) == (1, 2)
        (condition,) = c.api.get(kinds.POD_DISRUPTION_BUDGET, "default/sum")["status"]["conditions"]
        assert condition["reason"] == "SyncFailed"
        assert condition["message"] == "jobs.batch does not implement the scale subresource"

    play(story)


def _job(name: str) -> Case:
    made = workload(name, 1)
    spec = {"selector": made["spec"]["selector"], "template": made["spec"]["template"]}
    return {**made, "spec": {**spec, "parallelism": 1, "completions": 1, "backoffLimit": 6}}
