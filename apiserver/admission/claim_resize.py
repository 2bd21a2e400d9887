"""PersistentVolumeClaimResize: a claim grows only if its StorageClass lets it.

Source: upstream plugin/pkg/admission/storage/persistentvolume/resize.
"""

from __future__ import annotations

from podwire.api import kinds, quantity
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_CLAIM = kinds.named("v1", "PersistentVolumeClaim")
_CLASS = kinds.named("storage.k8s.io/v1", "StorageClass")
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def validate(review: Review) -> None:
    """See the module. Raises ApiError Forbidden."""
    old = review.old or {}
    if _size(review.obj) <= _size(old):
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        why = "Only bound persistent volume claims can be expanded"
        raise calls.forbidden(_CLAIM, review.name, why)
    name = _class(review.obj)
    found = review.server.caches.of(_CLASS).get("", name) if name else None
    if name != _class(old) or found is None or not found.json().get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and "
            "the storageclass that provisions the pvc must support resize"
        )
        raise calls.forbidden(_CLAIM, review.name, why)


def _size(claim: JSON) -> int:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return quantity.parse(requests.get("storage") or "0").nano


def _class(claim: JSON) -> str:
    beta = ((claim.get("metadata") or {}).get("annotations") or {}).get(_BETA_CLASS)
    return beta or (claim.get("spec") or {}).get("storageClassName") or ""


PLUGIN = Plugin(
    "PersistentVolumeClaimResize", validate=validate, kinds=(_CLAIM,), operations=("UPDATE",)
)
