"""ServiceAccount: every pod runs as one that exists. Token volumes are not modelled.

Source: upstream plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.review import Review

_MIRROR = "kubernetes.io/config.mirror"


def admit(review: Review) -> None:
    """Default and check spec.serviceAccountName of a new pod. Raises ApiError Forbidden."""
    if review.kind is not kinds.POD or review.operation != "CREATE" or review.subresource:
        return
    if _MIRROR in (review.obj["metadata"].get("annotations") or {}):
        return
    spec = review.obj.setdefault("spec", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if review.server.caches.of(kinds.SERVICE_ACCOUNT).get(review.namespace, name) is None:
        why = (
            f"error looking up service account {review.namespace}/{name}: "
            f'serviceaccount "{name}" not found'
        )
        raise calls.forbidden(kinds.POD, review.name, why)
