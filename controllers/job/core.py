"""Job's decisions (pure). Source: kubernetes pkg/controller/job/job_controller.go.

A finished pod is counted exactly once although it may vanish at any moment: its finalizer keeps it
until its uid (or its index) stands in the status; then the finalizer goes; then the counter rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api import kinds, selectors
from podwire.api.times import NS, format_time
from podwire.api.views import Job, Pod
from podwire.client.effects import Effect, Emit, RequeueAfter
from podwire.controllers.common import claim, pod_active, since_epoch
from podwire.controllers.job import indexes, policy, tracking
from podwire.controllers.job.backoff import Backoff
from podwire.controllers.job.indexes import Intervals
from podwire.controllers.job.manage import delete_all, manage
from podwire.controllers.job.pods import (
    FINALIZER,
    failed,
    failures,
    index_of,
    indexed,
    terminating,
    tracked,
)
from podwire.controllers.job.status import Counters

CONTROLLER = "kubernetes.io/job-controller"
"""The managedBy of Jobs that this controller sees to; absence means the same."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass asks for, and the backoff record to remember."""

    effects: list[Effect]
    backoff: Backoff


@dataclass(slots=True)
class Pass:
    """One pass over one Job."""

    job: Job
    pods: list[Pod]
    now_ns: int
    status: Counters
    active: list[Pod]
    succeeded: int = 0
    failed: int = 0
    before: Intervals = ()
    """Completed indexes that the status tells."""
    completed: Intervals = ()
    failed_indexes: Intervals | None = None
    end: tuple[str, str, str] | None = None
    """(SuccessCriteriaMet or FailureTarget, reason, message) once the end is decided."""

    @property
    def completions(self) -> int:
        """Of an indexed Job."""
        return self.job.spec.completions or 0

    def valid_index(self, pod: Pod) -> bool:
        """Whether the pod may be counted: any pod, or one with an index that exists."""
        return not indexed(self.job) or 0 <= index_of(pod) < self.completions

    def fresh(self, uncounted: Sequence[str]) -> list[Pod]:
        """Pods that the status does not tell of yet."""
        return [
            pod
            for pod in self.pods
            if tracked(pod) and pod.metadata.uid not in uncounted and self.valid_index(pod)
        ]


def reconcile(
    job: Job,
    candidates: Sequence[Pod],
    backoff: Backoff,
    now_ns: int,
    *,
    refused: bool = False,
) -> Outcome:
    """One pass. ``candidates``: pods of this Job and orphans of its namespace.

    ``refused``: the previous pass could not create or delete pods; what is known is then written
    before that is tried again.
    """
    if job.finished is not None or job.spec.managed_by not in {None, CONTROLLER}:
        return Outcome([], Backoff())
    selector = selectors.compile(job.spec.selector)
    claimed = claim(job, kinds.JOB, kinds.POD, selector, candidates, finalizer=FINALIZER)
    status = Counters.of(job)
    step = Pass(job, claimed.items, now_ns, status, [p for p in claimed.items if pod_active(p)])
    new_succeeded = [
        p for p in step.fresh(status.uncounted_succeeded) if p.status.phase == "Succeeded"
    ]
    new_failed = [p for p in step.fresh(status.uncounted_failed) if failed(p, job)]
    counted = [p for p in new_failed if policy.matched(job.spec.pod_failure_policy, p).counts]
    step.succeeded = status.succeeded + len(new_succeeded) + len(status.uncounted_succeeded)
    step.failed = status.failed + len(counted) + len(status.uncounted_failed)
    if not status.start_time and not job.spec.suspend:
        status.start_time = format_time(now_ns)
    record = backoff.after(new_succeeded, new_failed)
    step.end = _decided(step) or _failed(step)
    _indexes(step)
    observed = len(step.active), sum(p.ready for p in step.active), sum(map(terminating, step.pods))
    status.active, status.ready, status.terminating = observed
    work, events = _work(step, record)
    effects: list[Effect] = [*claimed.effects]
    if step.end is not None:
        effects += [*work, *events, *tracking.track(step)]
    else:
        if refused:
            status.active, status.ready, status.terminating = observed
        first, last = tracking.counting(step)
        effects += [*first, *last, *work] if refused else [*first, *work, *last]
        effects += events
    wait_s = _deadline_s(step)
    if step.end is None and wait_s is not None:
        effects.append(RequeueAfter(wait_s))
    return Outcome(effects, record)


# ---------------------------------------------------------------- the end


def _decided(step: Pass) -> tuple[str, str, str] | None:
    """What an earlier pass decided, or the failure policy does now."""
    for type_ in ("SuccessCriteriaMet", "FailureTarget"):
        found = step.job.condition(type_)
        if found is not None:
            return type_, found.reason, found.message
    for pod in step.pods:
        if step.job.spec.pod_failure_policy is not None and failed(pod, step.job):
            rule = policy.matched(step.job.spec.pod_failure_policy, pod)
            if rule.action == "FailJob":
                return "FailureTarget", "PodFailurePolicy", rule.message
    return None


def _failed(step: Pass) -> tuple[str, str, str] | None:
    """Too many failures, or too late."""
    spec = step.job.spec
    if step.failed > spec.backoff_limit or _restarted_too_often(step):
        message = "Job has reached the specified backoff limit"
        return "FailureTarget", "BackoffLimitExceeded", message
    left_s = _deadline_s(step)
    if left_s is not None and left_s <= 0:
        message = "Job was active longer than specified deadline"
        return "FailureTarget", "DeadlineExceeded", message
    return None


def _restarted_too_often(step: Pass) -> bool:
    """With restartPolicy OnFailure the containers' restarts are what counts."""
    spec = step.job.spec
    if spec.template.spec.get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        status.restart_count
        for pod in step.pods
        if pod.status.phase in {"Running", "Pending"}
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    return restarts >= max(1, spec.backoff_limit)


def _deadline_s(step: Pass) -> float | None:
    """Seconds left of activeDeadlineSeconds; None when the Job has no clock running."""
    spec, since = step.job.spec, step.status.start_time
    if spec.active_deadline_seconds is None or not since or spec.suspend:
        return None
    return spec.active_deadline_seconds - (step.now_ns - since_epoch(since)) / NS


def _indexes(step: Pass) -> None:
    """Which indexes have succeeded or failed, and what that decides."""
    job, spec = step.job, step.job.spec
    if not indexed(job):
        return
    step.before = indexes.parse(step.status.completed_indexes, step.completions)
    mine = [p for p in step.pods if tracked(p) and 0 <= index_of(p) < step.completions]
    done = [index_of(p) for p in mine if p.status.phase == "Succeeded"]
    step.completed = indexes.adding(step.before, done)
    step.succeeded = indexes.total(step.completed)
    if spec.backoff_limit_per_index is not None:
        known = indexes.parse(step.status.failed_indexes or "", step.completions)
        lost = [index_of(p) for p in mine if _index_failed(job, p)]
        step.failed_indexes = indexes.adding(known, lost)
        step.end = step.end or _too_many_failed(step, indexes.total(step.failed_indexes))
    if step.end is None:
        message = policy.success(spec.success_policy, step.completions, step.completed)
        if message:
            step.end = "SuccessCriteriaMet", "SuccessPolicy", message


def _index_failed(job: Job, pod: Pod) -> bool:
    if not failed(pod, job):
        return False
    rule = policy.matched(job.spec.pod_failure_policy, pod)
    if rule.action == "FailIndex":
        return True
    return rule.counts and failures(pod) >= (job.spec.backoff_limit_per_index or 0)


def _too_many_failed(step: Pass, count: int) -> tuple[str, str, str] | None:
    most = step.job.spec.max_failed_indexes
    if most is not None and count > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return "FailureTarget", "MaxFailedIndexesExceeded", message
    if count and count + step.succeeded >= step.completions:
        return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    return None


# ---------------------------------------------------------------- the work


def _work(step: Pass, backoff: Backoff) -> tuple[list[Effect], list[Effect]]:
    """Pods to create or delete, and what to tell; ``step.status`` follows."""
    job, spec, status = step.job, step.job.spec, step.status
    if step.end is not None:
        return delete_all(job, step.active, status), []
    work: list[Effect] = []
    if not job.metadata.deletion_timestamp:
        work = manage(step, backoff)
    if spec.completions is None:
        complete = step.succeeded > 0 and status.active == 0
    else:
        complete = step.succeeded >= spec.completions and status.active == 0
    if complete:
        message = "Reached expected number of succeeded pods"
        step.end = "SuccessCriteriaMet", "CompletionsReached", message
        return work, []
    if job.metadata.deletion_timestamp:
        return work, []
    if spec.suspend:
        if status.put("Suspended", "True", "JobSuspended", "Job suspended", step.now_ns):
            status.start_time = ""
            return work, [Emit(job, "Normal", "Suspended", "Job suspended")]
    elif status.put("Suspended", "False", "JobResumed", "Job resumed", step.now_ns):
        status.start_time = format_time(step.now_ns)
        return work, [Emit(job, "Normal", "Resumed", "Job resumed")]
    return work, []
