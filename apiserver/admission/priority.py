"""Priority: a class name becomes a number. Only the two built-in classes are modelled.

Source: upstream plugin/pkg/admission/priority.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.review import Review

CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
"""Priority classes every cluster has."""


def admit(review: Review) -> None:
    """Set spec.priority and preemptionPolicy of a new pod. Raises ApiError Forbidden."""
    if review.kind is not kinds.POD or review.operation != "CREATE" or review.subresource:
        return
    spec = review.obj.setdefault("spec", {})
    name = spec.get("priorityClassName") or ""
    priority = CLASSES.get(name) if name else 0
    if priority is None:
        why = f"no PriorityClass with name {name} was found"
        raise calls.forbidden(kinds.POD, review.name, why)
    given = spec.get("priority")
    if given is not None and given != priority:
        why = (
            f"the integer value of priority ({given}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
        raise calls.forbidden(kinds.POD, review.name, why)
    spec["priority"] = priority
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
