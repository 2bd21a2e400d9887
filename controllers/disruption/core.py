"""How many pods of a budget may be evicted (pure). Source: kubernetes pkg/controller/disruption.

The Eviction subresource spends what is computed here (apiserver/registry/eviction.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.times import NS, format_time, parse_time
from podwire.api.view import JSON, to_json
from podwire.api.views import LabelSelector, OwnerReference, Pod, PodDisruptionBudget
from podwire.client.effects import Effect, Emit, Patch, RequeueAfter
from podwire.controllers.common import conditions_json, scaled, status_patch

DELETION_TIMEOUT_S = 120.0
"""So long an evicted pod counts as leaving although nobody has deleted it (DeletionTimeout)."""
_CONTROLLERS: dict[tuple[str, str], Kind[Any]] = {
    ("", "ReplicationController"): kinds.REPLICATION_CONTROLLER,
    ("apps", "ReplicaSet"): kinds.REPLICA_SET,
    ("extensions", "ReplicaSet"): kinds.REPLICA_SET,
    ("apps", "StatefulSet"): kinds.STATEFUL_SET,
}
_REQUIRED = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


CONDITION = "DisruptionAllowed"
STALE_S = 120.0
"""So long a pod may be a DisruptionTarget that nobody deletes (stalePodDisruptionTimeout)."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What the controllers of a budget's pods want together (getExpectedScale)."""

    replicas: int = 0
    bare: bool = False
    """Whether a pod has no controller."""
    failure: str = ""
    """Why the number is not known."""


Lookup = Callable[[Kind[Any], str], Any]
"""The object of a kind and name in the pods' namespace, None if there is none."""


def known(reference: OwnerReference, get: Lookup) -> tuple[str, int] | None:
    """The controller that a pod's reference leads to, and what it wants: (uid, replicas).

    None if it is gone, or of another kind than these. A Deployment stands for its ReplicaSets.
    """
    group = reference.api_version.rpartition("/")[0]
    kind = _CONTROLLERS.get((group, reference.kind))
    found = get(kind, reference.name) if kind is not None else None
    if found is None or found.metadata.uid != reference.uid:
        return None
    owner = found.metadata.controller() if kind is kinds.REPLICA_SET else None
    if owner is not None and owner.kind == "Deployment":
        found = get(kinds.DEPLOYMENT, owner.name)
        if found is None or found.metadata.uid != owner.uid:
            return None
    return found.metadata.uid, found.spec.replicas


def by_scale(budget: PodDisruptionBudget) -> bool:
    """Whether the budget is a share of what controllers want, not a number of pods."""
    spec = budget.spec
    return spec.max_unavailable is not None or isinstance(spec.min_available, str)


def reconcile(
    budget: PodDisruptionBudget, pods: Sequence[Pod], scale: Scale, now_ns: int
) -> list[Effect]:
    """The budget's status and the Events about it; no disruptions while the scale is unknown."""
    effects: list[Effect] = []
    if not pods:
        effects.append(Emit(budget, "Normal", "NoPods", "No matching pods found"))
    if scale.failure:
        return [*effects, *_failed(budget, scale.failure, now_ns)]
    if scale.bare:
        effects.append(Emit(budget, "Warning", "UnmanagedPods", _unmanaged(budget.spec.selector)))
    leaving = _leaving(budget, pods, now_ns)
    healthy = sum(
        pod.ready and not pod.metadata.deletion_timestamp and pod.metadata.name not in leaving
        for pod in pods
    )
    expected, desired = _wanted(budget, len(pods), scale.replicas)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    wanted = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget.metadata.generation,
        "conditions": _conditions(budget, allowed, reason, "", now_ns),
    }
    kind = kinds.POD_DISRUPTION_BUDGET
    gone = {name: None for name in budget.status.disrupted_pods if name not in leaving}
    if gone:
        wanted["disruptedPods"] = gone
        effects += [_not_deleted(budget, pod) for pod in pods if pod.metadata.name in gone
                    and not pod.metadata.deletion_timestamp]  # fmt: skip
    effects += status_patch(kind, budget, to_json(budget.status), wanted, _REQUIRED)
    if leaving:
        oldest_ns = min(parse_time(since) for since in leaving.values())
        effects.append(RequeueAfter(DELETION_TIMEOUT_S - (now_ns - oldest_ns) / NS))
    return effects


def _failed(budget: PodDisruptionBudget, failure: str, now_ns: int) -> list[Effect]:
    """Nothing may be evicted while nobody knows of how many (failSafe)."""
    message = f"Failed to calculate the number of expected pods: {failure}"
    conditions = _conditions(budget, 0, "SyncFailed", failure, now_ns)
    old = to_json(budget.status)
    wanted = {"disruptionsAllowed": 0, "conditions": conditions}
    return [
        Emit(budget, "Warning", "CalculateExpectedPodCountFailed", message),
        *status_patch(kinds.POD_DISRUPTION_BUDGET, budget, old, wanted, ("disruptionsAllowed",)),
    ]


def _conditions(
    budget: PodDisruptionBudget, allowed: int, reason: str, message: str, now_ns: int
) -> list[JSON]:
    """All conditions, ours told anew; its time is that of its last change of status."""
    failed = reason == "SyncFailed"
    generation = budget.status.observed_generation if failed else budget.metadata.generation
    fresh: JSON = {
        "type": CONDITION,
        "status": "True" if allowed else "False",
        "reason": reason,
        "lastTransitionTime": format_time(now_ns),
    }
    if generation:
        fresh["observedGeneration"] = generation
    if message:
        fresh["message"] = message
    found = conditions_json(budget.status.conditions)
    for i, old in enumerate(found):
        if old["type"] == CONDITION:
            if old["status"] == fresh["status"] and "lastTransitionTime" in old:
                fresh["lastTransitionTime"] = old["lastTransitionTime"]
            found[i] = fresh
            return found
    return [*found, fresh]


def _unmanaged(selector: LabelSelector | None) -> str:
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {_go(selector)}) were found to be "
        "unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may "
        "result in undefined behavior. To account for these pods please set "
        '".spec.minAvailable" field of the PDB to an integer value.'
    )


def _go(selector: LabelSelector | None) -> str:
    """A selector as Go prints it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted(selector.match_labels.items()))
    rules = "".join(
        f"LabelSelectorRequirement{{Key:{rule.key},Operator:{rule.operator},"
        f"Values:[{' '.join(rule.values)}],}},"
        for rule in selector.match_expressions
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )


def _not_deleted(budget: PodDisruptionBudget, pod: Pod) -> Emit:
    namespace = budget.metadata.namespace  # twice, as upstream
    message = f"Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
    return Emit(pod, "Warning", "NotDeleted", message)


def targeted(pod: Pod) -> bool:
    """Whether somebody announced to disrupt the pod and has not deleted it yet."""
    condition = pod.condition("DisruptionTarget")
    return (
        condition is not None
        and condition.status == "True"
        and condition.reason != "TerminationByKubelet"
        and not pod.metadata.deletion_timestamp
        and pod.status.phase not in {"Failed", "Succeeded"}
    )


def relent(pod: Pod, now_ns: int) -> list[Effect]:
    """Take back an announced disruption that did not come (syncStalePodDisruption)."""
    condition = pod.condition("DisruptionTarget")
    if condition is None or not targeted(pod):
        return []
    since = condition.last_transition_time
    left_s = STALE_S - (now_ns - parse_time(since)) / NS if since else 0.0
    if left_s > 0:
        return [RequeueAfter(left_s)]
    meta = pod.metadata
    fresh = {
        "type": "DisruptionTarget",
        "status": "False",
        "reason": None,
        "message": None,
        "lastTransitionTime": format_time(now_ns),
    }
    patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [fresh]}}
    return [
        Patch(
            kinds.POD, meta.name, patch, meta.namespace, "status", strategic=True, missing_ok=True
        )
    ]


def _leaving(budget: PodDisruptionBudget, pods: Sequence[Pod], now_ns: int) -> dict[str, str]:
    """Evicted pods whose deletion has not shown yet."""
    there = {p.metadata.name for p in pods if not p.metadata.deletion_timestamp}
    return {
        name: since
        for name, since in budget.status.disrupted_pods.items()
        if name in there and since and now_ns - parse_time(since) < DELETION_TIMEOUT_S * NS
    }


def _wanted(budget: PodDisruptionBudget, count: int, scale: int) -> tuple[int, int]:
    """(expected, desired healthy): of all pods, or of what their controllers want."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        return scale, max(0, scale - scaled(spec.max_unavailable, scale, round_up=True))
    least = 0 if spec.min_available is None else spec.min_available
    if isinstance(least, int):
        return count, least
    return scale, scaled(least, scale, round_up=True)
