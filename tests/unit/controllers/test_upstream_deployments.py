"""Sizes, conditions and histories of Deployments are those of kubernetes' own tests.

Source: kubernetes pkg/controller/deployment (sync_test.go, rolling_test.go, progress_test.go,
util/deployment_util_test.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from podwire.api.times import NS
from podwire.api.view import to_json
from podwire.api.views import Deployment, ReplicaSet
from podwire.client.effects import Delete
from podwire.controllers.common import conditions_json
from podwire.controllers.deployment import core, progress, sizes
from podwire.controllers.deployment.revisions import DESIRED, MAXIMUM
from tests.unit.controllers.upstream import Case, cases

LATER = 1_767_300_000 * NS
NO_DEADLINE = 2**31 - 1


def of(test: str) -> Iterator[Case]:
    """The rows of one of upstream's tests."""
    found = [case for case in cases("deployment") if case["test"] == test]
    assert found
    yield from found


def deployment(body: Case) -> Deployment:
    spec = {"replicas": 1, "progressDeadlineSeconds": NO_DEADLINE, **body["spec"]}
    return msgspec.convert({**body, "spec": {**spec, "selector": {}}}, Deployment)


def rolling(count: int, surge: Any = 0, unavailable: Any = 0, **status: Any) -> Deployment:
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": limits}
    return deployment({"spec": {"replicas": count, "strategy": strategy}, "status": status})


def replicaset(body: Case, **annotations: str) -> ReplicaSet:
    meta = body["metadata"]
    notes = {**meta.get("annotations", {}), **annotations}
    meta = {**meta, "annotations": notes, "uid": meta["name"]}
    spec = {**body["spec"], "template": {}}
    return msgspec.convert({**body, "metadata": meta, "spec": spec}, ReplicaSet)


def sized(name: str, count: int, available: int = 0) -> ReplicaSet:
    body = {"metadata": {"name": name}, "spec": {"replicas": count}}
    return replicaset({**body, "status": {"availableReplicas": available}})


def test_a_change_of_size_is_shared_by_all_replicasets():
    """In proportion while a rollout goes on, whoever took the annotations away (TestScale)."""
    for case in of("TestScale"):
        before = deployment(case["oldDeployment"])
        most = before.spec.replicas + sizes.max_surge(before)

        def noted(body: Case, case: Case = case, was: Deployment = before, m: int = most) -> Any:
            told = case.get("desiredReplicasAnnotations", {}).get(body["metadata"]["name"])
            wanted = was.spec.replicas if told is None else told
            surge = m - was.spec.replicas
            notes = {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}
            return replicaset(body, **notes)

        new = noted(case["newRS"]) if case.get("newRS") else None
        old = [noted(body) for body in case["oldRSs"]]
        found = sizes.scale(deployment(case["deployment"]), new, old)
        expected = list(zip(old, case["expectedOld"], strict=True))
        if new is not None and case.get("expectedNew"):
            expected.append((new, case["expectedNew"]))
        for item, body in expected:
            size = found.get(item.metadata.name, item.spec.replicas)
            assert size == body["spec"]["replicas"], (case["name"], item.metadata.name)


def test_one_share_of_a_change_of_size():
    """A ReplicaSet that nobody knows the size of before keeps its own."""
    for case in of("TestGetReplicaSetFraction"):
        count, notes = case["rsReplicas"], case.get("rsAnnotations", {})
        item = replicaset({"metadata": {"name": "x"}, "spec": {"replicas": count}}, **notes)
        status = {"replicas": case["deploymentStatusReplicas"]}
        whole = rolling(case["deploymentReplicas"], case["deploymentMaxSurge"], 1, **status)
        expected = case["expectedFraction"]
        far = 10**6 if expected >= 0 else -(10**6)
        assert sizes.share(whole, item, far, 0) == expected, case["name"]


def test_the_new_replicaset_grows_within_max_surge():
    """And never beyond what is wanted."""
    for case in of("TestDeploymentController_reconcileNewReplicaSet"):
        new, old = sized("new", case["newReplicas"]), sized("old", case["oldReplicas"])
        whole = rolling(case["deploymentReplicas"], case["maxSurge"])
        expected = case["expectedNewReplicas"] if case["scaleExpected"] else None
        assert sizes.roll_new(whole, [new, old], new).get("new") == expected, case
    for case in of("TestNewRSNewReplicas"):
        whole = rolling(case["depReplicas"], case["maxSurge"], 1)
        if case["strategyType"] == "Recreate":
            strategy = {"type": "Recreate"}
            whole = deployment({"spec": {"replicas": case["depReplicas"], "strategy": strategy}})
        new = sized("new", case["newRSReplicas"])
        assert sizes.new_size(whole, [new], case["newRSReplicas"]) == case["expected"], case


def test_old_replicasets_shrink_as_far_as_max_unavailable_lets_them():
    """What is not available goes first."""
    for case in of("TestDeploymentController_reconcileOldReplicaSets"):
        new = sized("new", case["newReplicas"], case["readyPodsFromNewRS"])
        old = sized("old", case["oldReplicas"], case["readyPodsFromOldRS"])
        whole = rolling(case["deploymentReplicas"], 0, case["maxUnavailable"])
        expected = case["expectedOldReplicas"] if case["scaleExpected"] else None
        assert sizes.roll_old(whole, [old], new).get("old") == expected, case


def test_shares_become_numbers_of_pods():
    """maxSurge is rounded up, maxUnavailable down, and never are both 0."""
    for case in of("TestResolveFenceposts"):
        whole = rolling(case["desired"], case.get("maxSurge", 0), case.get("maxUnavailable", 0))
        assert sizes.fenceposts(whole) == (case["expectSurge"], case["expectUnavailable"]), case
    for case in of("TestMaxUnavailable"):
        assert sizes.max_unavailable(deployment(case["deployment"])) == case["expected"], case


def test_a_rollout_says_how_it_goes():
    """Progressing: complete, on its way, or timed out."""
    for case in of("TestDeploymentComplete"):
        whole = deployment(case["d"])
        assert progress.complete(whole, to_json(whole.status)) == case["expected"], case["name"]
    for case in of("TestSyncRolloutStatus"):
        whole = deployment(case["d"])
        new = replicaset(case["newRS"]) if case.get("newRS") else None
        every = [replicaset(body) for body in case.get("allRSs", ())]
        every += [new] if new is not None else []
        conditions = conditions_json(whole.status.conditions)
        numbers = progress.counters(whole, every, new)
        progress.rollout_conditions(whole, numbers, conditions, new, LATER)
        found = progress.find(conditions, progress.PROGRESSING)
        expected = (case["conditionStatus"], case["conditionReason"])
        told = (found["status"], found["reason"]) if found is not None else ("", "")
        assert told == expected, case["name"]


def test_the_oldest_empty_replicasets_go_beyond_the_history_limit():
    """By revision; those that still have pods, or are being deleted, stay."""
    names = "TestDeploymentController_cleanupDeployment"
    for case in (*of(names), *of(f"{names}Order")):
        old = [replicaset(body) for body in case["oldRSs"]]
        spec = {"replicas": 1, "revisionHistoryLimit": case["revisionHistoryLimit"], "paused": True}
        body = {"metadata": {"name": "foo", "uid": "d"}, "spec": {**spec, "template": {}}}
        step = core.Pass(deployment(body), old, {}, LATER)
        step.old = old
        step.clean_up()
        gone = sorted(effect.name for effect in step.effects if isinstance(effect, Delete))
        if "expectedDeletions" in case:
            assert len(gone) == case["expectedDeletions"], case
        else:
            assert gone == sorted(case["expectedDeletedRSs"]), case
