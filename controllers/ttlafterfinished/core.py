"""When a finished Job goes (pure). Source: kubernetes pkg/controller/ttlafterfinished."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import NS
from podwire.api.views import Job
from podwire.client.effects import Delete, Effect, RequeueAfter
from podwire.controllers.common import since_epoch


def reconcile(job: Job, now_ns: int) -> list[Effect]:
    """Delete the Job and its pods once ttlSecondsAfterFinished is over, or come back then."""
    end, meta = job.finished, job.metadata
    ttl_s = job.spec.ttl_seconds_after_finished
    if ttl_s is None or end is None or not end.last_transition_time or meta.deletion_timestamp:
        return []
    left_ns = since_epoch(end.last_transition_time) + ttl_s * NS - now_ns
    if left_ns > 0:
        return [RequeueAfter(left_ns / NS)]
    return [
        Delete(kinds.JOB, meta.name, meta.namespace, uid=meta.uid, propagation_policy="Foreground")
    ]
