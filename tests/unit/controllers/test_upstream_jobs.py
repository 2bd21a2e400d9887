"""A Job's pass decides what kubernetes' own controller decided in its own tests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.views import Job, Pod
from podwire.client.effects import Create, Delete, Patch
from podwire.controllers.job import core
from podwire.controllers.job.backoff import Backoff
from podwire.controllers.job.pods import INDEX
from tests.unit.controllers.upstream import Case, cases, flat, told

DEFAULTS = {
    "parallelism": 1,
    "backoffLimit": 6,
    "completionMode": "NonIndexed",
    "podReplacementPolicy": "TerminatingOrFailed",
}
"""What the API server would have filled in."""


def _pass(case: Case) -> Case:
    body = case["job"]
    job = msgspec.convert({**body, "spec": DEFAULTS | body["spec"]}, Job)
    pods = [msgspec.convert(pod, Pod) for pod in case["pods"]]
    backoff = Backoff(case["failures"], case["last_ns"])
    effects = list(flat(core.reconcile(job, pods, backoff, case["now_ns"]).effects))
    status: dict[str, Any] = dict(body.get("status") or {})
    made: list[str] = []
    deleted = untracked = 0
    for effect in effects:
        if isinstance(effect, Create):
            made.append(effect.body["metadata"].get("annotations", {}).get(INDEX, "-1"))
        elif isinstance(effect, Delete):
            deleted += 1
        elif isinstance(effect, Patch) and effect.subresource == "status":
            status |= effect.patch["status"]
        elif isinstance(effect, Patch):
            untracked += 1
    return {
        "status": _status(status), "created": sorted(made), "deleted": deleted,
        "untracked": untracked,
    }  # fmt: skip


def _status(status: Case) -> Case:
    """When it began and ended is told by a clock of the test's own."""
    times = ("startTime", "completionTime")
    return {**told(status), **{name: bool(status.get(name)) for name in times}}


TESTS = sorted({case["test"] for case in cases("job")})


@pytest.mark.parametrize("test", TESTS)
def test_a_pass_decides_as_upstream(test: str) -> None:
    """Source: syncJob in kubernetes pkg/controller/job/job_controller_test.go, recorded: status,
    pods made (by index) and deleted, finalizers taken off.
    """
    for case in (c for c in cases("job") if c["test"] == test):
        expected = {name: case[name] for name in ("created", "deleted", "untracked")}
        assert _pass(case) == {**expected, "status": _status(case["status"])}, case["job"]
