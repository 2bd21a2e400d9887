"""Counting finished pods and telling the end of a Job (pure).

Source: trackJobStatusAndRemoveFinalizers of kubernetes pkg/controller/job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.times import format_time
from podwire.api.views import Pod
from podwire.client.effects import Effect, Emit, Together
from podwire.controllers.job import indexes, policy
from podwire.controllers.job.manage import awaiting
from podwire.controllers.job.pods import failed, index_of, indexed, tracked, untrack

if TYPE_CHECKING:
    from podwire.controllers.job.core import Pass

MAX_UNCOUNTED = 500
"""So many uids a status holds at most."""


def track(step: Pass) -> list[Effect]:
    """Count, and tell the end."""
    first, last = counting(step)
    return [*first, *last]


def counting(step: Pass) -> tuple[list[Effect], list[Effect]]:
    """(status with what is about to be counted, finalizers away), (status with the counters)."""
    status = step.status
    waiting = {pod.metadata.uid: None for pod in step.pods if tracked(pod)}
    status.count(waiting)
    removable, reached_limit = _take_in(step)
    if indexed(step.job):
        status.succeeded = indexes.total(step.completed)
        status.completed_indexes = indexes.text(step.completed)
        failed_indexes = step.failed_indexes
        status.failed_indexes = None if failed_indexes is None else indexes.text(failed_indexes)
    if step.end is not None:
        type_, reason, message = step.end
        if step.job.condition(type_) is None:
            status.put(type_, "True", reason, message, step.now_ns)
    first: list[Effect] = []
    if removable:
        first += status.patch(step.job)
        first.append(Together(tuple(untrack(pod) for pod in removable)))
        for pod in removable:
            del waiting[pod.metadata.uid]
        status.count(waiting)
    ended = not reached_limit and _enact(step)
    return first, [*status.patch(step.job), *(_tell(step) if ended else ())]


def _take_in(step: Pass) -> tuple[list[Pod], bool]:
    """Put finished pods into the status; which pods may go, and whether there are more."""
    removable: list[Pod] = []
    kept = awaiting(step)
    succeeded: dict[int, None] = {}
    pods = sorted(step.pods, key=index_of) if indexed(step.job) else step.pods
    for pod in pods:
        if not tracked(pod) or not _may_go(step, pod, kept):
            continue
        removable.append(pod)
        _note(step, pod, succeeded)
        if len(succeeded) + step.status.uncounted >= MAX_UNCOUNTED:
            return removable, True
    return removable, False


def _may_go(step: Pass, pod: Pod, kept: dict[int, Pod]) -> bool:
    job = step.job
    over = bool(job.metadata.deletion_timestamp) or step.end is not None
    if over or pod.status.phase == "Succeeded":
        return True
    return failed(pod, job) and kept.get(index_of(pod)) is not pod


def _note(step: Pass, pod: Pod, succeeded: dict[int, None]) -> None:
    """One finished pod: its index or its uid goes into the status, once."""
    status, uid = step.status, pod.metadata.uid
    if pod.status.phase == "Succeeded" and uid not in status.uncounted_failed:
        if indexed(step.job):
            if step.valid_index(pod) and not indexes.has(step.before, index_of(pod)):
                succeeded[index_of(pod)] = None
        elif uid not in status.uncounted_succeeded:
            status.uncounted_succeeded.append(uid)
        return
    lost = step.end is not None and step.end[0] == "FailureTarget"
    if not (failed(pod, step.job) or lost):
        return
    if uid in status.uncounted_failed or not step.valid_index(pod):
        return
    if policy.matched(step.job.spec.pod_failure_policy, pod).counts:
        status.uncounted_failed.append(uid)


def _enact(step: Pass) -> bool:
    """Complete or Failed, once everything is counted and gone."""
    status = step.status
    if step.end is None or status.uncounted or status.terminating:
        return False
    type_, reason, message = step.end
    final = "Complete" if type_ == "SuccessCriteriaMet" else "Failed"
    status.put(final, "True", reason, message, step.now_ns)
    if final == "Complete":
        status.completion_time = format_time(step.now_ns)
    return True


def _tell(step: Pass) -> list[Effect]:
    job = step.job
    assert step.end is not None
    type_, reason, message = step.end
    if type_ != "SuccessCriteriaMet":
        return [Emit(job, "Warning", reason, message)]
    told: list[Effect] = []
    completions = job.spec.completions
    if completions is not None and step.status.succeeded > completions:
        excess = "Too many succeeded pods running after completion count reached"
        told.append(Emit(job, "Warning", "TooManySucceededPods", excess))
    return [*told, Emit(job, "Normal", "Completed", "Job completed")]
