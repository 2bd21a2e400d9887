"""A Deployment's status and conditions (pure).

Source: kubernetes pkg/controller/deployment/{progress,sync}.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.times import NS
from podwire.api.view import JSON, to_json
from podwire.api.views import Deployment, ReplicaSet
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.common import (
    condition_json,
    conditions_json,
    set_condition,
    since_epoch,
    status_patch,
)
from podwire.controllers.deployment.sizes import max_unavailable, total

PROGRESSING = "Progressing"
AVAILABLE_REASON = "NewReplicaSetAvailable"
TIMED_OUT_REASON = "ProgressDeadlineExceeded"
NO_DEADLINE_S = 2**31 - 1


def has_deadline(deployment: Deployment) -> bool:
    """Whether progressDeadlineSeconds is set (MaxInt32 means it is not)."""
    return deployment.spec.progress_deadline_seconds != NO_DEADLINE_S


def progressing(status: str, reason: str, message: str, now_ns: int) -> JSON:
    """A Progressing condition."""
    return condition_json(PROGRESSING, status, reason, message, now_ns, updated=True)


def find(conditions: Sequence[JSON], type: str) -> JSON | None:
    """The condition of a type."""
    return next((c for c in conditions if c["type"] == type), None)


def counters(deployment: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> JSON:
    """The numbers of the status."""
    available = sum(item.status.available_replicas for item in sets)
    return {
        "observedGeneration": deployment.metadata.generation,
        "replicas": sum(item.status.replicas for item in sets),
        "updatedReplicas": new.status.replicas if new else 0,
        "readyReplicas": sum(item.status.ready_replicas for item in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(sets) - available),
        "terminatingReplicas": sum(item.status.terminating_replicas for item in sets),
        "collisionCount": deployment.status.collision_count,
    }


def complete(deployment: Deployment, numbers: JSON) -> bool:
    """Whether everything wanted is updated, present and available."""
    wanted = deployment.spec.replicas
    return bool(
        numbers.get("updatedReplicas", 0) == wanted
        and numbers.get("replicas", 0) == wanted
        and numbers.get("availableReplicas", 0) == wanted
        and numbers.get("observedGeneration", 0) >= deployment.metadata.generation
    )


def _advances(old: JSON, new: JSON) -> bool:
    def count(of: JSON, name: str) -> int:
        return int(of.get(name, 0))

    old_left = count(old, "replicas") - count(old, "updatedReplicas")
    new_left = count(new, "replicas") - count(new, "updatedReplicas")
    grows = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return new_left < old_left or any(count(new, n) > count(old, n) for n in grows)


def _timed_out(deployment: Deployment, condition: JSON | None, now_ns: int) -> bool:
    if condition is None or condition.get("reason") == AVAILABLE_REASON:
        return False
    if condition.get("reason") == TIMED_OUT_REASON:
        return True
    since_ns = since_epoch(condition.get("lastUpdateTime", ""))
    return since_ns + deployment.spec.progress_deadline_seconds * NS < now_ns


def rollout_conditions(
    deployment: Deployment,
    numbers: JSON,
    conditions: list[JSON],
    new: ReplicaSet | None,
    now_ns: int,
) -> None:
    """Move condition Progressing along (syncRolloutStatus)."""
    current = find(conditions, PROGRESSING)
    if not has_deadline(deployment):
        conditions[:] = [c for c in conditions if c["type"] != PROGRESSING]
        return
    done = (
        numbers["replicas"] == numbers["updatedReplicas"]
        and current is not None
        and current.get("reason") == AVAILABLE_REASON
    )
    if done:
        return
    name = deployment.metadata.name
    subject = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{name}"'
    if complete(deployment, numbers):
        message = f"{subject} has successfully progressed."
        set_condition(conditions, progressing("True", AVAILABLE_REASON, message, now_ns))
    elif _advances(to_json(deployment.status), numbers):
        fresh = progressing("True", "ReplicaSetUpdated", f"{subject} is progressing.", now_ns)
        if current is not None:
            if current["status"] == "True":
                fresh["lastTransitionTime"] = current["lastTransitionTime"]
            conditions.remove(current)
        conditions.append(fresh)
    elif _timed_out(deployment, current, now_ns):
        message = f"{subject} has timed out progressing."
        set_condition(conditions, progressing("False", TIMED_OUT_REASON, message, now_ns))


def status_effects(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    conditions: list[JSON],
    now_ns: int,
    *,
    rollout: bool,
) -> list[Effect]:
    """The status patch; ``rollout`` False (paused, scaling) leaves Progressing alone."""
    numbers = counters(deployment, sets, new)
    enough = numbers["availableReplicas"] >= deployment.spec.replicas - max_unavailable(deployment)
    status, reason, verb = (
        ("True", "MinimumReplicasAvailable", "has")
        if enough
        else ("False", "MinimumReplicasUnavailable", "does not have")
    )
    message = f"Deployment {verb} minimum availability."
    available = condition_json("Available", status, reason, message, now_ns, updated=True)
    set_condition(conditions, available)
    if rollout:
        rollout_conditions(deployment, numbers, conditions, new, now_ns)
        _replica_failure(sets, new, conditions)
    old = to_json(deployment.status)
    wanted = {**numbers, "conditions": conditions}
    patch = status_patch(kinds.DEPLOYMENT, deployment, old, wanted, ("terminatingReplicas",))
    if rollout:  # upstream waits for the pass after the patch, which finds nothing to tell
        patch += _requeue_stuck(deployment, numbers, conditions, now_ns)
    return patch


def _replica_failure(
    sets: Sequence[ReplicaSet], new: ReplicaSet | None, conditions: list[JSON]
) -> None:
    """Move the first ReplicaFailure of the ReplicaSets (the new one's first) up."""
    ordered = [*([new] if new else []), *sets]
    found = [c for s in ordered for c in conditions_json(s.status.conditions)]
    failure = find(found, "ReplicaFailure")
    if failure is not None:
        set_condition(conditions, failure)
    else:
        conditions[:] = [c for c in conditions if c["type"] != "ReplicaFailure"]


def _requeue_stuck(
    deployment: Deployment, numbers: JSON, conditions: list[JSON], now_ns: int
) -> list[Effect]:
    """Come back just after the progress deadline."""
    current = find(conditions, PROGRESSING)
    if current is None or not has_deadline(deployment) or complete(deployment, numbers):
        return []
    if current.get("reason") == TIMED_OUT_REASON:
        return []
    due_ns = since_epoch(current.get("lastUpdateTime", "")) + (
        deployment.spec.progress_deadline_seconds * NS
    )
    return [RequeueAfter(max(0.0, (due_ns - now_ns) / NS) + 1.0)]
