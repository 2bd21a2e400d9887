"""RuntimeClass: a pod's class exists, and the pod takes over its overhead and placement.

Source: upstream plugin/pkg/admission/runtimeclass.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin, always
from podwire.apiserver.admission.review import Review

_CLASS = kinds.named("node.k8s.io/v1", "RuntimeClass")


def admit(review: Review) -> None:
    """Look the class up, merge what it says into a new pod. Raises ApiError Forbidden."""
    spec = review.obj["spec"]
    name = spec.get("runtimeClassName")
    if not name:
        if spec.get("overhead"):
            why = "Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise calls.forbidden(kinds.POD, review.name, f"pod rejected: {why}")
        return
    entry = review.server.caches.of(_CLASS).get("", name)
    if entry is None:
        why = f'pod rejected: RuntimeClass "{name}" not found'
        raise calls.forbidden(kinds.POD, review.name, why)
    _merge(review, spec, entry.json())


def _merge(review: Review, spec: JSON, runtime_class: JSON) -> None:
    overhead = (runtime_class.get("overhead") or {}).get("podFixed")
    given = spec.get("overhead")
    if given and given != overhead:
        why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise calls.forbidden(kinds.POD, review.name, why)
    if overhead:
        spec["overhead"] = overhead
    scheduling = runtime_class.get("scheduling") or {}
    chosen = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if chosen.setdefault(key, value) != value:
            why = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
            why += f"pod.spec.nodeSelector[{key}] = {chosen[key]}"
            raise calls.forbidden(kinds.POD, review.name, why)
    if chosen:
        spec["nodeSelector"] = chosen
    tolerations = spec.get("tolerations") or []
    added = [t for t in scheduling.get("tolerations") or () if t not in tolerations]
    if added:
        spec["tolerations"] = [*tolerations, *added]


PLUGIN = Plugin("RuntimeClass", admit, kinds=(kinds.POD,), operations=("CREATE",), repeats=always)
