"""ReplicaSet's decisions (pure). Source: kubernetes pkg/controller/replicaset."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds, selectors
from podwire.api.status import ApiError
from podwire.api.view import JSON, to_json
from podwire.api.views import Pod, ReplicaSet
from podwire.client.effects import Announce, Create, Delete, Effect, RequeueAfter, Together
from podwire.controllers.common import (
    BURST_REPLICAS,
    claim,
    condition_json,
    conditions_json,
    next_available_s,
    pod_active,
    pod_available,
    pod_from_template,
    set_condition,
    status_patch,
    template_json,
)
from podwire.controllers.replicaset.ranking import to_delete

CREATED = ("SuccessfulCreate", "Created pod: {name}")
NOT_CREATED = ("FailedCreate", "Error creating: {error}")
DELETED = ("SuccessfulDelete", "Deleted pod: {name}")
NOT_DELETED = ("FailedDelete", "Error deleting: {error}")


def reconcile(
    rs: ReplicaSet,
    candidates: Sequence[Pod],
    related: Sequence[Pod],
    now_ns: int,
    failure: tuple[str, ApiError] | None = None,
) -> list[Effect]:
    """One pass. ``candidates``: pods owned by this ReplicaSet and orphans of its namespace.

    ``failure``: (reason, error) of the previous pass' refused request; it becomes condition
    ReplicaFailure.
    """
    selector = selectors.compile(rs.spec.selector)
    alive = [pod for pod in candidates if pod_active(pod)]
    claimed = claim(rs, kinds.REPLICA_SET, kinds.POD, selector, alive)
    pods: list[Pod] = claimed.items
    effects = [*claimed.effects, *_status(rs, pods, now_ns, failure)]
    if not rs.metadata.deletion_timestamp:
        effects += _scale(rs, pods, related, now_ns)
    wait_s = next_available_s(pods, rs.spec.min_ready_seconds, now_ns)
    if wait_s is not None:
        effects.append(RequeueAfter(wait_s))
    return effects


def _scale(
    rs: ReplicaSet, pods: Sequence[Pod], related: Sequence[Pod], now_ns: int
) -> list[Effect]:
    missing = rs.spec.replicas - len(pods)
    namespace = rs.metadata.namespace
    if missing > 0:
        body = pod_from_template(template_json(rs.spec.template), rs, kinds.REPLICA_SET)
        words = Announce(rs, CREATED, NOT_CREATED)
        create = Create(kinds.POD, body, namespace, announce=words)
        return [Together((create,) * min(missing, BURST_REPLICAS), slow_start=True)]
    if missing < 0:
        words = Announce(rs, DELETED, NOT_DELETED)
        count = min(-missing, BURST_REPLICAS)
        return [
            Together(
                tuple(
                    Delete(
                        kinds.POD, pod.metadata.name, namespace, pod.metadata.uid, announce=words
                    )
                    for pod in to_delete(pods, related, count, now_ns)
                )
            )
        ]
    return []


def _status(
    rs: ReplicaSet, pods: Sequence[Pod], now_ns: int, failure: tuple[str, ApiError] | None
) -> list[Effect]:
    labels = rs.spec.template.metadata.labels.items()
    ready = [pod for pod in pods if pod.ready]
    min_ready_s = rs.spec.min_ready_seconds
    conditions = conditions_json(rs.status.conditions)
    if failure is None:
        conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
    elif not any(c["type"] == "ReplicaFailure" for c in conditions):
        reason, error = failure
        set_condition(
            conditions, condition_json("ReplicaFailure", "True", reason, error.message, now_ns)
        )
    wanted: JSON = {
        "replicas": len(pods),
        "fullyLabeledReplicas": sum(labels <= pod.metadata.labels.items() for pod in pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(pod_available(pod, min_ready_s, now_ns) for pod in ready),
        "observedGeneration": rs.metadata.generation,
        "conditions": conditions,
    }
    return status_patch(kinds.REPLICA_SET, rs, to_json(rs.status), wanted, ("replicas",))
