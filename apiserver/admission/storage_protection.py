"""StorageObjectInUseProtection: claims and volumes in use stay until nobody uses them.

Source: upstream plugin/pkg/admission/storage/storageobjectinuseprotection.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_CLAIM = kinds.named("v1", "PersistentVolumeClaim")
_VOLUME = kinds.named("v1", "PersistentVolume")
_FINALIZERS = {_CLAIM: "kubernetes.io/pvc-protection", _VOLUME: "kubernetes.io/pv-protection"}


def admit(review: Review) -> None:
    """Add the finalizer that a controller takes away."""
    metadata = review.obj["metadata"]
    finalizers, own = metadata.get("finalizers") or [], _FINALIZERS[review.kind]
    if own not in finalizers:
        metadata["finalizers"] = [*finalizers, own]


PLUGIN = Plugin(
    "StorageObjectInUseProtection", admit, kinds=(_CLAIM, _VOLUME), operations=("CREATE",), on=False
)
"""Off, other than upstream: there is no controller that would take the finalizers away."""
