"""LimitRanger: containers get a namespace's default limits, and nothing outside its bounds enters.

Source: upstream plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from podwire.api import kinds, quantity, quotas
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_LIMIT_RANGE = kinds.named("v1", "LimitRange")
_CLAIM = kinds.named("v1", "PersistentVolumeClaim")
_ANNOTATION = "kubernetes.io/limit-ranger"
_DEFAULTS = (("requests", "defaultRequest", "request"), ("limits", "default", "limit"))
"""Where a container has it, where a LimitRange has it, and the word for it."""


def admit(review: Review) -> None:
    """Fill the defaults into a new pod's containers."""
    if review.kind is kinds.POD and review.operation == "CREATE" and (items := _items(review)):
        fill(review.obj, items)


def validate(review: Review) -> None:
    """Hold the object to every LimitRange. Raises ApiError Forbidden."""
    if review.kind is kinds.POD and review.operation != "CREATE" and not review.subresource:
        return  # nothing that counts can change
    items = _items(review)
    if not items:
        return
    if review.kind is kinds.POD:
        wrong = complaints(review.obj["spec"], items)
    else:
        requests = (review.obj["spec"].get("resources") or {}).get("requests") or {}
        wrong = _complaints("PersistentVolumeClaim", items, requests, {})
    if wrong:
        why = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise calls.forbidden(review.kind, review.name, why)


def _items(review: Review) -> list[JSON]:
    return [
        item
        for entry in review.server.caches.of(_LIMIT_RANGE).entries(review.namespace)
        for item in entry.json()["spec"].get("limits") or ()
    ]


def fill(pod: JSON, items: list[JSON]) -> None:
    """Give a pod's containers the defaults of LimitRanges, and tell of it in an annotation."""
    spec = pod["spec"]
    notes = [
        note
        for group, what in (("containers", "container"), ("initContainers", "init container"))
        for container in spec.get(group) or ()
        for note in _fill(container, what, items)
    ]
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"


def complaints(spec: JSON, items: list[JSON]) -> list[str]:
    """What is wrong with a pod's spec by the items of LimitRanges."""
    wrong: list[str] = []
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        wrong += _complaints(
            "Container", items, resources.get("requests") or {}, resources.get("limits") or {}
        )
    if any(item.get("type") == "Pod" for item in items):
        requests, limits = (
            {
                name: quotas.show(name, nano)
                for name, nano in quotas.pod_resources(spec, group).items()
            }
            for group in ("requests", "limits")
        )
        wrong += _complaints("Pod", items, requests, limits)
    return wrong


def _fill(container: JSON, what: str, items: list[JSON]) -> list[str]:
    """Give a container the defaults that it has not; notes about it for the annotation."""
    notes: list[str] = []
    for group, source, word in _DEFAULTS:
        given = (container.get("resources") or {}).get(group) or {}
        added = {
            name: amount
            for item in items
            if item.get("type") == "Container"
            for name, amount in (item.get(source) or {}).items()
            if name not in given
        }
        if added:
            container.setdefault("resources", {})[group] = {**given, **added}
            listed = ", ".join(sorted(added))
            notes.append(f"{listed} {word} for {what} {container.get('name', '')}")
    return notes


def _complaints(kind: str, items: list[JSON], requests: JSON, limits: JSON) -> list[str]:
    wrong: list[str] = []
    for item in items:
        if item.get("type") != kind:
            continue
        for name, bound in (item.get("min") or {}).items():
            wrong += _minimum(kind, name, bound, requests.get(name), limits.get(name))
        for name, bound in (item.get("max") or {}).items():
            if kind == "PersistentVolumeClaim":
                wrong += _claim_maximum(name, bound, requests.get(name))
            else:
                wrong += _maximum(kind, name, bound, requests.get(name), limits.get(name))
        for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
            wrong += _ratio(kind, name, ratio, requests.get(name), limits.get(name))
    return wrong


def _nano(amount: str) -> int:
    return quantity.parse(amount).nano


def _minimum(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    start = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        return [f"{start}.  No request is specified"]
    if _nano(request) < _nano(bound):
        return [f"{start}, but request is {request}"]
    if limit is not None and _nano(limit) < _nano(bound):
        return [f"{start}, but limit is {limit}"]
    return []


def _maximum(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    start = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        return [f"{start}.  No limit is specified"]
    if _nano(limit) > _nano(bound):
        return [f"{start}, but limit is {limit}"]
    if request is not None and _nano(request) > _nano(bound):
        return [f"{start}, but request is {request}"]
    return []


def _claim_maximum(name: str, bound: str, request: str | None) -> list[str]:
    start = f"maximum {name} usage per PersistentVolumeClaim is {bound}"
    if request is None:
        return [f"{start}.  No request is specified"]
    return [f"{start}, but request is {request}"] if _nano(request) > _nano(bound) else []


def _ratio(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    start = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or _nano(request) == 0:
        return [f"{start}, but no request is specified or request is 0"]
    if limit is None or _nano(limit) == 0:
        return [f"{start}, but no limit is specified or limit is 0"]
    ratio = _nano(limit) / _nano(request)
    return [f"{start}, but provided ratio is {ratio:f}"] if ratio > _nano(bound) / 10**9 else []


def _unlimited(review: Review) -> bool:
    return not review.server.caches.of(_LIMIT_RANGE).entries(review.namespace)


PLUGIN = Plugin(
    "LimitRanger",
    admit,
    validate,
    kinds=(kinds.POD, _CLAIM),
    subresources=("", "resize"),
    moot_without=_LIMIT_RANGE,
    repeats=_unlimited,
)
