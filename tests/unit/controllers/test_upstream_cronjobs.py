"""A CronJob's pass decides what kubernetes' own controller decided in its own tests.

Source: syncCronJob, cleanupFinishedJobs and mostRecentScheduleTime in kubernetes
pkg/controller/cronjob (cronjob_controllerv2_test.go, utils_test.go), recorded.
"""

from __future__ import annotations

from datetime import UTC

import msgspec
import pytest

from podwire.api import cron
from podwire.api.cron import CronError
from podwire.api.times import NS, parse_time
from podwire.api.views import CronJob, Job
from podwire.client.effects import Create, Delete, Emit, Patch, RequeueAfter
from podwire.controllers.cronjob import core
from podwire.controllers.cronjob.schedule import MANY_MISSED, Clockwork
from tests.unit.controllers.upstream import Case, cases, flat

MANY = 2
"""manyMissed."""


def _words(event: str) -> str:
    """Type and reason; of a bad schedule the parser's own words are left aside."""
    return " ".join(event.split(" ")[:2]) if "parseable" in event or "zone" in event else event


def _pass(case: Case) -> Case:
    cj = msgspec.convert({"spec": {}, **case["cronJob"]}, CronJob)
    jobs = [msgspec.convert(told, Job) for told in case["jobs"]]
    now_ns = parse_time(case["now"]) if "now" in case else parse_time("2026-01-01T00:00:00Z")
    found: Case = {"created": [], "deleted": [], "events": [], "requeue_s": None}
    status = dict(case["cronJob"].get("status", {}))
    for effect in flat(core.reconcile(cj, jobs, now_ns)):
        if isinstance(effect, Emit):
            found["events"].append(f"{effect.type} {effect.reason} {effect.message}")
        elif isinstance(effect, Create):
            meta = effect.body["metadata"]
            at = meta["annotations"][core.SCHEDULED_AT]
            found["created"].append({"name": meta["name"], "at": at})
            found["events"].append(f"Normal SuccessfulCreate Created job {meta['name']}")
        elif isinstance(effect, Delete):
            found["deleted"].append(effect.name)
            found["events"].append(f"Normal SuccessfulDelete Deleted job {effect.name}")
        elif isinstance(effect, RequeueAfter):
            found["requeue_s"] = effect.delay_s
        elif isinstance(effect, Patch):
            status |= effect.patch["status"]
    found["after"] = _status(status)
    return found


def _status(told: Case) -> Case:
    """A status with the names of active Jobs."""
    named = {**told, "active": [entry["name"] for entry in told.get("active") or ()]}
    return {name: value for name, value in named.items() if value}


def _expected(case: Case) -> Case:
    """What upstream decided; here a Job that was just made enters the status once it is seen."""
    made = [job["name"] for job in case["created"]]
    after = _status(case["after"])
    if made:
        after["active"] = [name for name in after.get("active", []) if name not in made]
        before = case["cronJob"].get("status", {}).get("lastScheduleTime")
        after["lastScheduleTime"] = before
        after = {name: value for name, value in after.items() if value}
    wanted = {name: case[name] for name in ("created", "deleted", "events", "requeue_s")}
    return {**wanted, "after": after}


TESTS = sorted({case["test"] for case in cases("cronjob") if case["kind"] == "sync"})


@pytest.mark.parametrize("test", TESTS)
def test_a_pass_decides_as_upstream(test: str) -> None:
    """Jobs made and deleted, what is told, the status, and when to look again."""
    for case in (c for c in cases("cronjob") if (c["test"], c["kind"]) == (test, "sync")):
        decided, wanted = _pass(case), _expected(case)
        for side in (decided, wanted):
            side["events"] = sorted(_words(event) for event in side["events"])
        assert decided == wanted, case


def test_finished_jobs_are_kept_up_to_a_number_as_upstream() -> None:
    """The oldest go first."""
    for case in (c for c in cases("cronjob") if c["kind"] == "cleanup"):
        assert sorted(_pass(case)["deleted"]) == sorted(case["deleted"]), case


def test_the_moment_that_is_due_is_upstreams() -> None:
    """The latest one up to now, and whether there were many; or why there is none."""
    for case in (c for c in cases("cronjob") if c["kind"] == "recent"):
        zone = cron.time_zone(case["zone"]) if "zone" in case else UTC
        now_ns = parse_time(case["now"])
        since_ns = parse_time(case.get("last") or case["created"])
        if "deadline" in case:
            since_ns = max(since_ns, now_ns - case["deadline"] * NS)
        clockwork = Clockwork(cron.parse(case["schedule"]), zone)
        if "err" in case:
            with pytest.raises(CronError, match=case["err"]):
                clockwork.missed(since_ns, now_ns)
            continue
        moment_ns, count = clockwork.missed(since_ns, now_ns)
        assert moment_ns == (parse_time(case["recent"]) if case.get("recent") else 0), case
        assert (count > MANY_MISSED) == (case["missed"] == MANY), case
