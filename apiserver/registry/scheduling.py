"""What the server itself writes into new pods for the scheduler.

Source: upstream pkg/registry/core/pod/strategy.go (mutatePodAffinity,
mutateTopologySpreadConstraints, applySchedulingGatedCondition).
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.api.view import JSON

GATED = "Scheduling is blocked due to non-empty scheduling gates"


def prepare(pod: JSON) -> None:
    """Write label keys into selectors; say that a pod with scheduling gates is held back."""
    spec = pod.get("spec") or {}
    labels = pod["metadata"].get("labels") or {}
    for term in _affinity_terms(spec.get("affinity") or {}):
        _merge(term, "matchLabelKeys", "In", labels)
        _merge(term, "mismatchLabelKeys", "NotIn", labels)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _merge(constraint, "matchLabelKeys", "In", labels)
    if spec.get("schedulingGates"):
        pod.setdefault("status", {})["conditions"] = [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": GATED,
            "lastTransitionTime": pod["metadata"]["creationTimestamp"],
        }]  # fmt: skip


def _affinity_terms(affinity: JSON) -> Iterator[JSON]:
    for name in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(name) or {}
        yield from terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for wish in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield wish.get("podAffinityTerm") or {}


def _merge(term: JSON, field: str, operator: str, labels: JSON) -> None:
    """The pod's values of these label keys; a term without a selector matches nothing anyway."""
    selector = term.get("labelSelector")
    keys = [key for key in term.get(field) or () if key in labels]
    if not keys or selector is None:
        return
    own = [{"key": key, "operator": operator, "values": [labels[key]]} for key in keys]
    term["labelSelector"] = {
        **selector, "matchExpressions": [*selector.get("matchExpressions", ()), *own],
    }  # fmt: skip
