"""When CronJobs are due, and what becomes of their Jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import cron
from podwire.api.times import NS, format_time, parse_time
from podwire.api.views import CronJob, Job
from podwire.client.effects import Create, Delete, Effect, Emit, Patch, RequeueAfter
from podwire.controllers.cronjob import core
from podwire.controllers.cronjob.core import SCHEDULED_AT


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        # From robfig/cron v3's spec_test.go (TestNext), seconds left out.
        ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("20-35/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:20:00Z"),
        ("0 0 9 Apr-Oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("0 0 */5 Oct Mon", "2012-07-09T23:35:00Z", "2012-10-01T00:00:00Z"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
        ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
        ("0 0 30 Feb ?", "2012-07-09T23:35:00Z", None),
        ("0 0 1,15 * Mon", "2012-07-09T00:00:00Z", "2012-07-15T00:00:00Z"),
        ("0 0 * * 0", "2012-07-09T00:00:00Z", "2012-07-15T00:00:00Z"),
        ("@every 90s", "2012-07-09T14:45:00Z", "2012-07-09T14:46:30Z"),
        ("@hourly", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
    ],
)
def test_a_schedule_tells_its_next_moment(schedule: str, after: str, due: str | None) -> None:
    """Always later than the one asked about."""
    found = cron.parse(schedule).next_ns(parse_time(after))
    assert found == (None if due is None else parse_time(due))


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("30 2 * * *", "2012-03-11T00:00:00-05:00", "2012-03-12T02:30:00-04:00"),
        ("0 3 * * *", "2012-03-11T00:00:00-05:00", "2012-03-11T03:00:00-04:00"),
        ("0 1 * * *", "2012-11-04T00:00:00-04:00", "2012-11-04T01:00:00-04:00"),
        ("0 1 * * *", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        ("0 1 * * *", "2012-11-04T01:00:00-05:00", "2012-11-05T01:00:00-05:00"),
        ("0 0 * * *", "2012-11-04T00:00:00-04:00", "2012-11-05T00:00:00-05:00"),
    ],
)
def test_clock_times_follow_the_zone_through_summer_time(
    schedule: str, after: str, due: str
) -> None:
    """What the change leaves out is skipped, what it repeats comes twice (robfig/cron v3)."""
    zone = ZoneInfo("America/New_York")
    assert cron.parse(schedule).next_ns(parse_time(after), zone) == parse_time(due)
    named = cron.parse(f"CRON_TZ=America/New_York {schedule}")
    assert named.next_ns(parse_time(after)) == parse_time(due)


CREATED = "2026-01-01T00:00:30Z"


def cron_job(status: dict[str, Any] | None = None, **spec: Any) -> CronJob:
    meta = {"name": "tick", "namespace": "default", "uid": "c", "creationTimestamp": CREATED}
    full = {"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"completions": 1}}, **spec}
    return msgspec.convert({"metadata": meta, "spec": full, "status": status or {}}, CronJob)


def job(at: str, end: str = "", **facts: Any) -> Job:
    """The Job that was made for a moment."""
    minutes = parse_time(at) // (60 * NS)
    name = facts.get("name", f"tick-{minutes}")
    notes = {} if "name" in facts else {SCHEDULED_AT: at}
    conditions = [{"type": end, "status": "True"}] if end else []
    status = {"startTime": at, "conditions": conditions, "completionTime": facts.get("done", "")}
    meta = {"name": name, "namespace": "default", "uid": name, "annotations": notes}
    return msgspec.convert({"metadata": meta, "status": status}, Job)


def active(*jobs: Job) -> list[dict[str, str]]:
    return [{"name": j.metadata.name, "uid": j.metadata.uid} for j in jobs]


def run(item: CronJob, at: str, *jobs: Job) -> list[Effect]:
    return core.reconcile(item, jobs, parse_time(at))


def made(effects: list[Effect]) -> list[str]:
    return [e.body["metadata"]["name"] for e in effects if isinstance(e, Create)]


def reasons(effects: list[Effect]) -> list[str]:
    return [e.reason for e in effects if isinstance(e, Emit)]


def test_nothing_is_made_before_the_first_moment():
    """It comes back a tenth of a second after it."""
    effects = run(cron_job(), "2026-01-01T00:04:00Z")
    assert effects == [RequeueAfter(360.1)]


def test_a_job_is_named_by_its_minute_and_told_its_moment_in_its_zone():
    """And it is the CronJob's."""
    item = cron_job(timeZone="Asia/Tokyo")
    body = next(e.body for e in run(item, "2026-01-01T00:10:00Z") if isinstance(e, Create))
    assert body["metadata"]["name"] == f"tick-{29453760 + 10}"
    assert body["metadata"]["annotations"][SCHEDULED_AT] == "2026-01-01T09:10:00+09:00"
    assert body["metadata"]["ownerReferences"][0]["uid"] == "c"
    assert body["spec"] == {"completions": 1}


def test_a_job_that_was_made_is_listed_once_it_shows_up():
    """Even when the controller died right after making it; its moment is the last one."""
    new = job("2026-01-01T00:10:00Z")
    effects = run(cron_job(), "2026-01-01T00:10:05Z", new)
    patch = next(e for e in effects if isinstance(e, Patch)).patch["status"]
    assert [entry["name"] for entry in patch["active"]] == [new.metadata.name]
    assert patch["lastScheduleTime"] == "2026-01-01T00:10:00Z"
    assert not made(effects)
    assert not reasons(effects)


def test_a_strangers_job_is_wondered_at():
    """``kubectl create job --from`` makes such Jobs."""
    assert reasons(run(cron_job(), "2026-01-01T00:01:00Z", job(CREATED, name="mine"))) == [
        "UnexpectedJob"
    ]


@pytest.mark.parametrize(
    ("policy", "created", "deleted", "told"),
    [
        ("Allow", 1, 0, []),
        ("Forbid", 0, 0, ["JobAlreadyActive"]),
        ("Replace", 1, 1, []),
    ],
)
def test_a_job_that_still_runs_meets_the_concurrency_policy(
    policy: str, created: int, deleted: int, told: list[str]
) -> None:
    """Both run, the new one waits, or the old one goes."""
    old = job("2026-01-01T00:10:00Z")
    status = {"active": active(old), "lastScheduleTime": "2026-01-01T00:10:00Z"}
    effects = run(cron_job(status, concurrencyPolicy=policy), "2026-01-01T00:20:00Z", old)
    assert len(made(effects)) == created
    assert len([e for e in effects if isinstance(e, Delete)]) == deleted
    assert reasons(effects) == told


@pytest.mark.parametrize(
    ("deadline_s", "late_s", "created", "told"),
    [(None, 300, 1, []), (300, 200, 1, []), (60, 100, 0, [])],
)
def test_a_missed_moment_is_made_up_for_within_the_deadline(
    deadline_s: int | None, late_s: int, created: int, told: list[str]
) -> None:
    """startingDeadlineSeconds."""
    at = format_time(parse_time("2026-01-01T00:10:00Z") + late_s * NS)
    spec: dict[str, Any] = {} if deadline_s is None else {"startingDeadlineSeconds": deadline_s}
    effects = run(cron_job(**spec), at)
    assert (len(made(effects)), reasons(effects)) == (created, told)


def test_of_many_missed_moments_the_last_is_made_up_for_with_a_warning():
    """More than 100 of them."""
    effects = run(cron_job(), "2026-01-02T00:05:00Z")
    assert made(effects) == [f"tick-{29453760 + 1440}"]
    assert reasons(effects) == ["TooManyMissedTimes"]


def test_the_youngest_finished_jobs_are_kept():
    """successfulJobsHistoryLimit and failedJobsHistoryLimit count apart."""
    good = [job(f"2026-01-01T00:{m}0:00Z", "Complete") for m in range(1, 5)]
    bad = [job(f"2026-01-01T01:{m}0:00Z", "Failed") for m in range(1, 3)]
    item = cron_job(
        {"lastScheduleTime": "2026-01-01T02:00:00Z"},
        successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1,
    )  # fmt: skip
    gone = [e.name for e in run(item, "2026-01-01T02:01:00Z", *good, *bad) if isinstance(e, Delete)]
    assert gone == [good[0].metadata.name, bad[0].metadata.name]


def test_a_finished_job_leaves_the_list():
    """With its event; lastSuccessfulTime follows."""
    end = job("2026-01-01T00:10:00Z", "Complete", done="2026-01-01T00:11:00Z")
    gone = job("2026-01-01T00:00:00Z")
    item = cron_job({"active": active(gone, end), "lastScheduleTime": "2026-01-01T00:10:00Z"})
    effects = run(item, "2026-01-01T00:12:00Z", end)
    assert reasons(effects) == ["SawCompletedJob", "MissingJob"]
    patch = next(e for e in effects if isinstance(e, Patch)).patch["status"]
    assert patch == {"active": None, "lastSuccessfulTime": "2026-01-01T00:11:00Z"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"suspend": True}, []),
        ({"timeZone": "Mars/Olympus"}, ["UnknownTimeZone"]),
        ({"schedule": "not a schedule"}, ["UnparseableSchedule"]),
        ({"schedule": "0 0 31 2 *"}, ["InvalidSchedule"]),
    ],
)
def test_what_cannot_be_followed_makes_nothing(spec: dict[str, Any], told: list[str]) -> None:
    """And says why, where it is an error."""
    effects = run(cron_job(**spec), "2026-01-01T05:00:00Z")
    assert (made(effects), reasons(effects)) == ([], told)


@given(
    st.lists(st.integers(0, 59), min_size=1, max_size=3),
    st.lists(st.integers(0, 23), min_size=1, max_size=2),
    st.sampled_from(["*", "1-7", "*/9", "13"]),
    st.sampled_from(["*", "1", "sat,sun"]),
    st.integers(0, 10_000),
)
def test_moments_agree_with_a_walk_over_every_minute(
    minutes: list[int], hours: list[int], days: str, weekdays: str, start: int
) -> None:
    """A schedule's next moment is the first minute that fits, tried one by one."""
    fields = [",".join(map(str, minutes)), ",".join(map(str, hours)), days, "*", weekdays]
    schedule = cron.parse(" ".join(fields))
    after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    moment = after + timedelta(minutes=1)
    joined = "*" in {days, weekdays}
    while True:
        by_date = moment.day in schedule.days
        by_weekday = moment.isoweekday() % 7 in schedule.weekdays
        fits = (by_date and by_weekday) if joined else (by_date or by_weekday)
        if fits and moment.hour in hours and moment.minute in minutes:
            break
        moment += timedelta(minutes=1)
    assert schedule.next_ns(int(after.timestamp()) * NS) == int(moment.timestamp()) * NS
