"""Priority: a class name becomes a number.

Source: upstream plugin/pkg/admission/priority.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ObjectMeta, PriorityClass
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin, always
from podwire.apiserver.admission.review import Review

SYSTEM = {
    name: PriorityClass(metadata=ObjectMeta(name=name), value=value)
    for name, value in (
        ("system-node-critical", 2_000_001_000),
        ("system-cluster-critical", 2_000_000_000),
    )
}
"""Priority classes every cluster has, also before their objects are made."""

_UNNAMED = PriorityClass()
_GIVEN = ("priority", "preemptionPolicy")
_WORDS = ("the integer value of priority", "the string value of PreemptionPolicy")


def admit(review: Review) -> None:
    """Set priority and preemptionPolicy of pods. Raises ApiError Forbidden."""
    if review.kind is not kinds.POD:
        return
    spec = review.obj.setdefault("spec", {})
    if review.old is None:
        _resolve(review, spec)
    else:
        old = review.old.get("spec") or {}
        spec.update((name, old[name]) for name in _GIVEN if name in old and name not in spec)


def validate(review: Review) -> None:
    """Keep PriorityClasses to one global default. Raises ApiError Forbidden."""
    if review.kind is kinds.PRIORITY_CLASS and review.obj.get("globalDefault"):
        default = _default(review)
        if default is not None and default.metadata.name != review.obj["metadata"].get("name"):
            why = (
                f"PriorityClass {default.metadata.name} is already marked as default. "
                "Only one default can exist"
            )
            raise calls.forbidden(kinds.PRIORITY_CLASS, review.name, why)


def _resolve(review: Review, spec: JSON) -> None:
    name = spec.get("priorityClassName") or ""
    found = _named(review, name) if name else _default(review) or _UNNAMED
    if found is None:
        why = f"no PriorityClass with name {name} was found"
        raise calls.forbidden(kinds.POD, review.name, why)
    if found.metadata.name:
        spec["priorityClassName"] = found.metadata.name
    computed = (found.value, found.preemption_policy)
    for field, value, word in zip(_GIVEN, computed, _WORDS, strict=True):
        given = spec.get(field)
        if given is not None and given != value:
            why = (
                f"{word} ({given}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise calls.forbidden(kinds.POD, review.name, why)
        spec[field] = value


def _named(review: Review, name: str) -> PriorityClass | None:
    entry = review.server.caches.of(kinds.PRIORITY_CLASS).get("", name)
    return entry.view if entry is not None else SYSTEM.get(name)


def _default(review: Review) -> PriorityClass | None:
    """The class of pods that name none; of several, made at once, the one of the least value."""
    entries = review.server.caches.of(kinds.PRIORITY_CLASS).entries()
    if not entries:
        return None
    marked = [entry.view for entry in entries if entry.view.global_default]
    return min(marked, key=lambda found: found.value, default=None)


PLUGIN = Plugin(
    "Priority", admit, validate, kinds=(kinds.POD, kinds.PRIORITY_CLASS), repeats=always
)
