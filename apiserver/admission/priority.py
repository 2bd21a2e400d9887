"""Priority: a class name becomes a number; of default classes there is one at most.

Source: upstream plugin/pkg/admission/priority.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.review import Review

CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
"""Priority classes that every cluster has, even before it has objects for them."""

_CLASS = kinds.named("scheduling.k8s.io/v1", "PriorityClass")
_PREEMPT = "PreemptLowerPriority"


def admit(review: Review) -> None:
    """Set priority and preemptionPolicy of a new pod. Raises ApiError Forbidden."""
    if review.subresource or review.operation == "DELETE":
        return
    if review.kind is _CLASS:
        _one_default(review)
    elif review.kind is kinds.POD and review.operation == "CREATE":
        _pod(review)


def _one_default(review: Review) -> None:
    if not review.obj.get("globalDefault"):
        return
    for entry in review.server.caches.of(_CLASS).entries():
        if entry.name != review.name and entry.json().get("globalDefault"):
            why = f"PriorityClass {entry.name} is already marked as default."
            raise calls.forbidden(_CLASS, review.name, f"{why} Only one default can exist")


def _pod(review: Review) -> None:
    spec = review.obj.setdefault("spec", {})
    name = spec.get("priorityClassName") or ""
    name, priority, policy = _class_of(review, name) if name else _default(review)
    if name and not spec.get("priorityClassName"):
        spec["priorityClassName"] = name
    given = spec.get("priority")
    if given is not None and given != priority:
        why = (
            f"the integer value of priority ({given}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
        raise calls.forbidden(kinds.POD, review.name, why)
    spec["priority"] = priority
    if spec.setdefault("preemptionPolicy", policy) != policy:
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be "
            f"provided in pod spec; priority admission controller computed {policy} from the "
            "given PriorityClass name"
        )
        raise calls.forbidden(kinds.POD, review.name, why)


def _class_of(review: Review, name: str) -> tuple[str, int, str]:
    entry = review.server.caches.of(_CLASS).get("", name)
    if entry is not None:
        return _read(entry.json())
    if name in CLASSES:
        return name, CLASSES[name], _PREEMPT
    raise calls.forbidden(kinds.POD, review.name, f"no PriorityClass with name {name} was found")


def _default(review: Review) -> tuple[str, int, str]:
    """The class that is everybody's: of several (it can happen) the lowest."""
    found = [
        _read(body)
        for entry in review.server.caches.of(_CLASS).entries()
        if (body := entry.json()).get("globalDefault")
    ]
    return min(found, key=lambda one: one[1]) if found else ("", 0, _PREEMPT)


def _read(body: dict[str, Any]) -> tuple[str, int, str]:
    policy = body.get("preemptionPolicy") or _PREEMPT
    return body["metadata"]["name"], body.get("value", 0), policy
