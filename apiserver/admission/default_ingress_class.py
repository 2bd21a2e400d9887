"""DefaultIngressClass: an Ingress that names no class gets the one marked as default.

Source: upstream plugin/pkg/admission/network/defaultingressclass.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def admit(review: Review) -> None:
    """Set spec.ingressClassName of a new Ingress; of several defaults the newest counts."""
    spec = review.obj.setdefault("spec", {})
    annotations = review.obj.get("metadata", {}).get("annotations") or {}
    if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
        return
    defaults = [
        entry.view.metadata
        for entry in review.server.caches.of(kinds.INGRESS_CLASS).entries()
        if entry.view.metadata.annotations.get(DEFAULT_ANNOTATION) == "true"
    ]
    if not defaults:
        return
    newest = max(meta.creation_timestamp for meta in defaults)
    spec["ingressClassName"] = min(
        meta.name for meta in defaults if meta.creation_timestamp == newest
    )


PLUGIN = Plugin("DefaultIngressClass", admit, kinds=(kinds.INGRESS,), operations=("CREATE",))
