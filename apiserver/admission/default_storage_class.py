"""DefaultStorageClass: a claim that names no class gets the one marked as default.

Source: upstream plugin/pkg/admission/storage/storageclass/setdefault.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_CLAIM = kinds.named("v1", "PersistentVolumeClaim")
_CLASS = kinds.named("storage.k8s.io/v1", "StorageClass")
_DEFAULT = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def admit(review: Review) -> None:
    """Set spec.storageClassName of a new claim; of several defaults the newest counts."""
    spec = review.obj["spec"]
    if "storageClassName" in spec or _BETA_CLASS in (
        review.obj["metadata"].get("annotations") or {}
    ):
        return
    found = [
        entry.view.metadata
        for entry in review.server.caches.of(_CLASS).entries()
        if any(entry.view.metadata.annotations.get(key) == "true" for key in _DEFAULT)
    ]
    if found:
        newest = max(meta.creation_timestamp for meta in found)
        spec["storageClassName"] = min(
            meta.name for meta in found if meta.creation_timestamp == newest
        )


PLUGIN = Plugin("DefaultStorageClass", admit, kinds=(_CLAIM,), operations=("CREATE",))
