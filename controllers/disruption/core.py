"""How many pods of a budget may be evicted (pure). Source: kubernetes pkg/controller/disruption.

The Eviction subresource spends what is computed here (apiserver/registry/eviction.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.times import NS, format_time, parse_time
from podwire.api.view import JSON, to_json
from podwire.api.views import Pod, PodDisruptionBudget
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.common import (
    conditions_json,
    scaled,
    set_condition,
    status_patch,
)

DELETION_TIMEOUT_S = 120.0
"""So long an evicted pod counts as leaving although nobody has deleted it (DeletionTimeout)."""
_REQUIRED = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


def reconcile(
    budget: PodDisruptionBudget, pods: Sequence[Pod], scale: int, now_ns: int
) -> list[Effect]:
    """The budget's status. ``scale``: replicas wanted by the controllers of the pods."""
    leaving = _leaving(budget, pods, now_ns)
    healthy = sum(
        pod.ready and not pod.metadata.deletion_timestamp and pod.metadata.name not in leaving
        for pod in pods
    )
    expected, desired = _wanted(budget, len(pods), scale)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    conditions = conditions_json(budget.status.conditions)
    condition: JSON = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "observedGeneration": budget.metadata.generation,
        "lastTransitionTime": format_time(now_ns),
    }
    set_condition(conditions, condition)
    wanted = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget.metadata.generation,
        "conditions": conditions,
    }
    kind = kinds.POD_DISRUPTION_BUDGET
    gone = {name: None for name in budget.status.disrupted_pods if name not in leaving}
    if gone:
        wanted["disruptedPods"] = gone
    effects = status_patch(kind, budget, to_json(budget.status), wanted, _REQUIRED)
    if leaving:
        oldest_ns = min(parse_time(since) for since in leaving.values())
        effects.append(RequeueAfter(DELETION_TIMEOUT_S - (now_ns - oldest_ns) / NS))
    return effects


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
