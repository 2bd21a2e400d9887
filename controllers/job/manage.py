"""How many pods a Job has and wants (pure). Source: manageJob of kubernetes pkg/controller/job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.views import Job, Pod
from podwire.client.effects import Announce, Create, Delete, Effect, RequeueAfter, Together
from podwire.controllers.common import BURST_REPLICAS, pod_words
from podwire.controllers.job import indexes
from podwire.controllers.job.backoff import Backoff, finished_ns, index_remaining_s
from podwire.controllers.job.pods import (
    all_failures,
    body,
    failed,
    index_of,
    indexed,
    surplus,
    terminating,
    tracked,
    untrack,
)
from podwire.controllers.job.status import Counters

if TYPE_CHECKING:
    from podwire.controllers.job.core import Pass

BATCH_S = 1.0
"""Passes that pods cause are not closer together (SyncJobBatchPeriod)."""


def delete_all(job: Job, pods: Sequence[Pod], status: Counters) -> list[Effect]:
    """Delete pods and keep their finalizers: they are still to be counted."""
    status.active -= len(pods)
    status.ready = (status.ready or 0) - sum(pod.ready for pod in pods)
    status.terminating = (status.terminating or 0) + len(pods)
    words = pod_words(job, "delete")
    return [Together(tuple(_delete(pod, words) for pod in pods))] if pods else []


def _delete(pod: Pod, words: Announce) -> Delete:
    meta = pod.metadata
    return Delete(kinds.POD, meta.name, meta.namespace, meta.uid, announce=words)


def _dismiss(job: Job, pods: Sequence[Pod], status: Counters) -> list[Effect]:
    """Delete pods that will never be counted."""
    released = tuple(untrack(pod) for pod in pods if tracked(pod))
    gone = delete_all(job, pods, status)
    return [Together(released), *gone] if released else gone


def manage(step: Pass, backoff: Backoff) -> list[Effect]:
    """Delete what is too much, or create what is missing once the backoff has passed."""
    job, spec, status = step.job, step.job.spec, step.status
    count = len(step.active)
    if spec.suspend:
        return _dismiss(job, surplus(job, step.active, count, step.now_ns), status)
    if spec.completions is None:
        wanted = count if step.succeeded else spec.parallelism
    else:
        wanted = max(0, min(spec.completions - step.succeeded, spec.parallelism))
    spare = surplus(job, step.active, max(0, count - wanted), step.now_ns)[:BURST_REPLICAS]
    if spare:
        return _dismiss(job, spare, status)
    leaving = (status.terminating or 0) if spec.pod_replacement_policy == "Failed" else 0
    missing = min(wanted - leaving - count, BURST_REPLICAS)
    if missing <= 0:
        return []
    if spec.backoff_limit_per_index is None:
        wait_s = backoff.remaining_s(step.now_ns)
        if wait_s > 0:
            return [RequeueAfter(max(wait_s, BATCH_S))]
    return _create(step, missing)


def _create(step: Pass, missing: int) -> list[Effect]:
    job = step.job
    words = pod_words(job, "create")
    namespace = job.metadata.namespace
    if not indexed(job):
        one = Create(kinds.POD, body(job, None, None), namespace, announce=words)
        creates = (one,) * missing
    else:
        replaced = awaiting(step)
        free = indexes.first_free(_taken(step), missing, step.completions)
        waits = [index_remaining_s(replaced.get(index), step.now_ns) for index in free]
        due = [index for index, wait_s in zip(free, waits, strict=True) if wait_s <= 0]
        if free and not due:
            return [RequeueAfter(max(min(waits), BATCH_S))]
        creates = tuple(
            Create(kinds.POD, body(job, index, replaced.get(index)), namespace, announce=words)
            for index in due
        )
    if not creates:
        return []
    step.status.active += len(creates)
    return [Together(creates, slow_start=True)]


def _taken(step: Pass) -> indexes.Intervals:
    """Indexes that need no pod: they run, have succeeded or failed, or still go away."""
    busy = list(step.active)
    if step.job.spec.pod_replacement_policy == "Failed":
        busy += [pod for pod in step.pods if terminating(pod)]
    taken = indexes.adding(step.completed, [index_of(p) for p in busy if index_of(p) >= 0])
    return indexes.join((*taken, *(step.failed_indexes or ())))


def awaiting(step: Pass) -> dict[int, Pod]:
    """Per index the failed pod that is kept until its successor has taken over its count."""
    found: dict[int, Pod] = {}
    if step.job.spec.backoff_limit_per_index is None:
        return found
    running = [index_of(pod) for pod in step.active]
    for pod in step.pods:
        index = index_of(pod)
        if not (tracked(pod) and step.valid_index(pod) and failed(pod, step.job)):
            continue
        over = indexes.has(step.completed, index) or indexes.has(step.failed_indexes or (), index)
        if over or index in running:
            continue
        kept = found.get(index)
        if kept is None or (
            all_failures(kept) <= all_failures(pod) and finished_ns(pod) >= finished_ns(kept)
        ):
            found[index] = pod
    return found
