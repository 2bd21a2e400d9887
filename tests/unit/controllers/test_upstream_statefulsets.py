"""A StatefulSet's pass decides what kubernetes' own controller decided in its own tests.

Source: updateStatefulSet in kubernetes pkg/controller/statefulset (stateful_set_control_test.go,
stateful_set_test.go), recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.views import ControllerRevision, Pod, StatefulSet
from podwire.client.effects import Create, Delete, Patch
from podwire.controllers.common import template_json
from podwire.controllers.history import HASH, revision_data
from podwire.controllers.statefulset import core
from tests.unit.controllers.upstream import Case, cases, flat

NOW = 1_767_300_000 * NS
LABELS = {"app": "web"}
OWNER = {
    "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": True,
}  # fmt: skip


def _set(case: Case) -> StatefulSet:
    told = ("replicas", "minReadySeconds", "podManagementPolicy", "updateStrategy")
    spec = {name: case[name] for name in told if name in case}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": []}}
    spec |= {"selector": {"matchLabels": LABELS}, "template": template}
    spec["ordinals"] = {"start": case.get("start", 0)}
    status = {"currentReplicas": case.get("currentReplicas", 0), "currentRevision": "current"}
    meta = {"name": "web", "namespace": "default", "uid": "s"}
    if case.get("deleted"):
        meta["deletionTimestamp"] = format_time(NOW)
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, StatefulSet)


def _pod(told: Case) -> Pod:
    name = f"web-{told['n']}"
    labels = {**LABELS, HASH: told["revision"]}
    meta = {"name": name, "namespace": "default", "labels": labels, "ownerReferences": [OWNER]}
    if told.get("terminating"):
        meta["deletionTimestamp"] = format_time(NOW)
    status: Case = {"phase": told["phase"]}
    if "ready_s" in told:
        since = format_time(NOW - told["ready_s"] * NS)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        status["conditions"] = [ready]
    return msgspec.convert({"metadata": meta, "status": status}, Pod)


def _revisions(sts: StatefulSet, one: bool) -> list[ControllerRevision]:
    data = revision_data(template_json(sts.spec.template))
    old = revision_data({"metadata": {"labels": LABELS}, "spec": {"hostname": "old"}})
    found = [("update", data, 2)] if one else [("current", old, 1), ("update", data, 2)]
    return [
        msgspec.convert(
            {
                "metadata": {"name": name, "labels": {HASH: name}, "ownerReferences": [OWNER]},
                "data": data,
                "revision": number,
            },
            ControllerRevision,
        )
        for name, data, number in found
    ]


def _pass(case: Case) -> Case:
    sts = _set(case)
    pods = [_pod(told) for told in case["pods"]]
    effects = list(flat(core.reconcile(sts, pods, _revisions(sts, case["one"]), NOW)))
    created, deleted, status = [], [], {}
    for effect in effects:
        if isinstance(effect, Create):
            meta = effect.body["metadata"]
            created.append([int(meta["name"].split("-")[1]), meta["labels"][HASH]])
        elif isinstance(effect, Delete):
            deleted.append(int(effect.name.split("-")[1]))
        elif isinstance(effect, Patch) and effect.subresource == "status":
            status = effect.patch["status"]
    told = {name: status.get(name, _unsaid(sts, name)) or 0 for name in case["status"]}
    return {"created": sorted(created), "deleted_pods": sorted(deleted), "status": told}


def _unsaid(sts: StatefulSet, name: str) -> Any:
    """What a status that does not name a field leaves."""
    if name == "currentRevision":
        return sts.status.current_revision
    return sts.status.current_replicas if name == "currentReplicas" else 0


TESTS = sorted({case["test"] for case in cases("statefulset")})


@pytest.mark.parametrize("test", TESTS)
def test_a_pass_decides_as_upstream(test: str) -> None:
    """Pods made, with which revision, and deleted; and the numbers of the status."""
    for case in (c for c in cases("statefulset") if c["test"] == test):
        expected = {name: case[name] for name in ("created", "deleted_pods", "status")}
        assert _pass(case) == expected, case
