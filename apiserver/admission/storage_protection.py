"""StorageObjectInUseProtection: claims and volumes that are in use are not removed.

Source: upstream plugin/pkg/admission/storage/storageobjectinuseprotection.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_FINALIZERS: dict[Kind[Any], str] = {
    kinds.PERSISTENT_VOLUME: "kubernetes.io/pv-protection",
    kinds.PERSISTENT_VOLUME_CLAIM: "kubernetes.io/pvc-protection",
}


def admit(review: Review) -> None:
    """A new object gets the finalizer that the controller takes away."""
    found = review.obj["metadata"].setdefault("finalizers", [])
    name = _FINALIZERS[review.kind]
    if name not in found:
        found.append(name)


PLUGIN = Plugin(
    "StorageObjectInUseProtection", admit, kinds=tuple(_FINALIZERS), operations=("CREATE",)
)
