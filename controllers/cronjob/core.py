"""CronJob's decisions (pure). Source: kubernetes pkg/controller/cronjob.

A Job made here is known by its name and its annotation, so the status that lists it is written
once the Job has shown up, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from podwire.api import cron, kinds
from podwire.api.cron import CronError
from podwire.api.times import NS, format_time
from podwire.api.view import JSON, to_json
from podwire.api.views import CronJob, Job
from podwire.client.effects import Announce, Create, Delete, Effect, Emit, Patch, RequeueAfter
from podwire.controllers.common import owner_json, since_epoch
from podwire.controllers.cronjob.schedule import MANY_MISSED, Clockwork

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Pass:
    """One pass over one CronJob; collects effects in order."""

    cj: CronJob
    now_ns: int
    active: list[JSON]
    last_ns: int
    last_successful: str
    effects: list[Effect] = field(default_factory=list)

    def tell(self, type_: str, reason: str, message: str) -> None:
        self.effects.append(Emit(self.cj, type_, reason, message))

    def drop(self, uid: str) -> None:
        self.active = [entry for entry in self.active if entry.get("uid") != uid]

    def delete(self, name: str, uid: str) -> None:
        """Delete a Job with its pods; it is no longer active."""
        done = ("SuccessfulDelete", "Deleted job {name}")
        words = Announce(self.cj, done, ("FailedDelete", "Deleted job: {error}"))
        self.effects.append(
            Delete(
                kinds.JOB, name, self.cj.metadata.namespace, uid=uid,
                propagation_policy="Background", announce=words,
            )
        )  # fmt: skip
        self.drop(uid)


def reconcile(cj: CronJob, jobs: Sequence[Job], now_ns: int) -> list[Effect]:
    """One pass. ``jobs``: those that the CronJob controls."""
    status = cj.status
    active = [to_json(entry) for entry in status.active]
    last_ns = since_epoch(status.last_schedule_time)
    step = _Pass(cj, now_ns, active, last_ns, status.last_successful_time)
    _clean_up(step, jobs)
    _look_at(step, jobs)
    work: list[Effect] = []
    if not cj.metadata.deletion_timestamp and not cj.spec.suspend:
        clockwork = _clockwork(step)
        if clockwork is not None:
            work = _due(step, clockwork)
    return [*step.effects, *_status(step), *work]


# ---------------------------------------------------------------- its Jobs


def _clean_up(step: _Pass, jobs: Sequence[Job]) -> None:
    """Keep as many finished Jobs as the limits say, the youngest ones."""
    spec = step.cj.spec
    for type_, limit in (
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ):
        if limit is None:
            continue
        ended = [job for job in jobs if job.finished is not None and job.finished.type == type_]
        ended.sort(key=_age)
        for job in ended[: max(0, len(ended) - limit)]:
            if not job.metadata.deletion_timestamp:
                step.delete(job.metadata.name, job.metadata.uid)


def _age(job: Job) -> tuple[bool, str, str]:
    since = job.status.start_time
    return not since, since, job.metadata.name


def _look_at(step: _Pass, jobs: Sequence[Job]) -> None:
    """What has become of the Jobs; which of them run."""
    known = [entry.get("uid") for entry in step.active]
    for job in jobs:
        meta, end = job.metadata, job.finished
        found = meta.uid in known
        ours_ns = _scheduled_ns(step.cj, job)
        if not found and ours_ns > step.last_ns:
            step.last_ns = ours_ns
            found = True
            if end is None:
                step.active.append(_reference(job))
        if end is None:
            if not found:
                what = "Saw a job that the controller did not create or forgot"
                step.tell("Warning", "UnexpectedJob", f"{what}: {meta.name}")
            continue
        if found:
            step.drop(meta.uid)
            what = f"Saw completed job: {meta.name}, condition: {end.type}"
            step.tell("Normal", "SawCompletedJob", what)
        completed = job.status.completion_time
        if end.type == "Complete" and completed > step.last_successful:
            step.last_successful = completed
    there = [job.metadata.uid for job in jobs]
    for entry in list(step.active):
        if entry.get("uid") not in there:
            step.tell("Normal", "MissingJob", f"Active job went missing: {entry.get('name')}")
            step.drop(entry.get("uid", ""))


def _scheduled_ns(cj: CronJob, job: Job) -> int:
    """The moment for which this controller made the Job; 0 when somebody else did."""
    text = job.metadata.annotations.get(SCHEDULED_AT, "")
    try:
        moment_ns = since_epoch(text)
    except ValueError:
        return 0
    return moment_ns if job.metadata.name == _job_name(cj, moment_ns) else 0


def _job_name(cj: CronJob, moment_ns: int) -> str:
    return f"{cj.metadata.name}-{moment_ns // (60 * NS)}"


def _reference(job: Job) -> JSON:
    meta = job.metadata
    return {
        "kind": kinds.JOB.kind,
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "apiVersion": kinds.JOB.api_version,
        "resourceVersion": meta.resource_version,
    }


# ---------------------------------------------------------------- its clock


def _clockwork(step: _Pass) -> Clockwork | None:
    """The schedule; None (and told why) when it cannot be followed."""
    spec = step.cj.spec
    zone: tzinfo = UTC
    if spec.time_zone is not None:
        try:
            zone = cron.time_zone(spec.time_zone)
        except CronError as error:
            what = f'invalid timeZone: "{spec.time_zone}": {error}'
            step.tell("Warning", "UnknownTimeZone", what)
            return None
    if "TZ" in spec.schedule:
        page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
        what = f'CRON_TZ or TZ used in schedule "{spec.schedule}" is not officially supported'
        step.tell("Warning", "UnsupportedSchedule", f"{what}, see {page} for more details")
    try:
        schedule = cron.parse(spec.schedule)
        if schedule.zone:
            cron.time_zone(schedule.zone)
    except CronError as error:
        what = f'unparseable schedule: "{spec.schedule}" : {error}'
        step.tell("Warning", "UnparseableSchedule", what)
        return None
    return Clockwork(schedule, zone)


def _due(step: _Pass, clockwork: Clockwork) -> list[Effect]:
    """The Job that is due, and when to come back."""
    cj, now_ns = step.cj, step.now_ns
    created_ns = since_epoch(cj.metadata.creation_timestamp)
    since_ns = last_ns = step.last_ns or created_ns
    deadline_s = cj.spec.starting_deadline_seconds
    if deadline_s is not None:
        since_ns = max(since_ns, now_ns - deadline_s * NS)
    try:
        moment_ns, missed = clockwork.missed(since_ns, now_ns)
    except CronError as error:
        what = f"invalid schedule: {cj.spec.schedule} : {error}"
        step.tell("Warning", "InvalidSchedule", what)
        return []
    again = RequeueAfter(clockwork.wait_s(last_ns, now_ns))
    if not moment_ns:
        return [again]
    if missed > MANY_MISSED:
        what = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds"
        step.tell("Warning", "TooManyMissedTimes", f"{what} or check clock skew")
    if deadline_s is not None and moment_ns + deadline_s * NS < now_ns:
        what = f"Missed scheduled time to start a job: {_rfc1123(moment_ns)}"
        step.tell("Warning", "MissSchedule", what)
        return [again]
    name = _job_name(cj, moment_ns)
    if moment_ns == step.last_ns or any(entry.get("name") == name for entry in step.active):
        return [again]
    if cj.spec.concurrency_policy == "Forbid" and step.active:
        what = "Not starting job because prior execution is running"
        step.tell("Normal", "JobAlreadyActive", f"{what} and concurrency policy is Forbid")
        return [again]
    if cj.spec.concurrency_policy == "Replace":
        for entry in list(step.active):
            step.delete(entry.get("name", ""), entry.get("uid", ""))
    done = ("SuccessfulCreate", "Created job {name}")
    words = Announce(cj, done, ("FailedCreate", "Error creating job: {error}"))
    body = _body(cj, name, moment_ns, clockwork.zone)
    create = Create(kinds.JOB, body, cj.metadata.namespace, exists_ok=True, announce=words)
    return [create, RequeueAfter(clockwork.wait_s(moment_ns, now_ns))]


def _body(cj: CronJob, name: str, moment_ns: int, zone: tzinfo) -> JSON:
    template = cj.spec.job_template
    moment = (_EPOCH + timedelta(seconds=moment_ns // NS)).astimezone(zone)
    text = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    meta: JSON = {
        "name": name,
        "annotations": {**template.metadata.annotations, SCHEDULED_AT: text},
        "ownerReferences": [owner_json(cj, kinds.CRON_JOB)],
    }
    if template.metadata.labels:
        meta["labels"] = dict(template.metadata.labels)
    return {"metadata": meta, "spec": template.spec}


def _rfc1123(ns: int) -> str:
    """``Thu, 01 Jan 2026 00:00:00 UTC``."""
    moment = _EPOCH + timedelta(seconds=ns // NS)
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC")


# ---------------------------------------------------------------- status


def _status(step: _Pass) -> list[Patch]:
    cj, meta = step.cj, step.cj.metadata
    before = cj.status
    changed: JSON = {}
    if [to_json(entry) for entry in before.active] != step.active:
        changed["active"] = step.active or None
    if step.last_ns != since_epoch(before.last_schedule_time):
        changed["lastScheduleTime"] = format_time(step.last_ns)
    if step.last_successful != before.last_successful_time:
        changed["lastSuccessfulTime"] = step.last_successful
    if not changed:
        return []
    patch = {"metadata": {"uid": meta.uid}, "status": changed}
    return [Patch(kinds.CRON_JOB, meta.name, patch, meta.namespace, "status", missing_ok=True)]
