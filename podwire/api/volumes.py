"""Which PersistentVolume satisfies a claim (pure): what the binder and the scheduler decide alike.

Source: kubernetes component-helpers storage/volume (FindMatchingVolume, IsVolumeBoundToClaim).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podwire.api import quantity, selectors
from podwire.api.views import PersistentVolume, PersistentVolumeClaim

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DELAYED = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
MINE, OTHERS, FREE = "mine", "others", "free"


def is_bound(claim: PersistentVolumeClaim) -> bool:
    """Whether the binder has finished with a claim."""
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def belongs(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Whose a volume is: this claim's, another's, or nobody's."""
    ref = volume.spec.claim_ref
    if ref is None:
        return FREE
    meta = claim.metadata
    same = (ref.namespace, ref.name) == (meta.namespace, meta.name)
    return MINE if same and ref.uid in {"", meta.uid} else OTHERS


def reachable(volume: PersistentVolume, labels: Mapping[str, str], node: str) -> bool:
    """Whether a node may use the volume (its nodeAffinity)."""
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return True
    return selectors.node_selector_matches(affinity.required, labels, {"metadata.name": node})


def size_bytes(volume: PersistentVolume) -> int:
    """The capacity."""
    return quantity.value(volume.spec.capacity.get("storage", "0"))


def problem(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why a volume cannot satisfy a claim, in upstream's words; "" if it can."""
    asked = claim.spec.resources.requests.get("storage", "0")
    if size_bytes(volume) < quantity.value(str(asked)):
        return "requested PV is too small"
    if volume.spec.storage_class_name != (claim.spec.storage_class_name or ""):
        return "storageClassName does not match"
    if volume.spec.volume_mode != claim.spec.volume_mode:
        return "incompatible volumeMode"
    if any(mode not in volume.spec.access_modes for mode in claim.spec.access_modes):
        return "incompatible accessMode"
    return ""


def find(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume]
) -> PersistentVolume | None:
    """The volume reserved for the claim, or the smallest free one that satisfies it."""
    chosen = selectors.compile(claim.spec.selector) if claim.spec.selector is not None else None
    best: PersistentVolume | None = None
    for volume in volumes:
        whose = belongs(volume, claim)
        if whose == OTHERS or volume.metadata.deletion_timestamp or problem(volume, claim):
            continue
        if whose == MINE:
            return volume
        if volume.status.phase != "Available":
            continue
        if chosen is not None and not chosen.matches(volume.metadata.labels):
            continue
        key = size_bytes(volume), volume.metadata.name
        if best is None or key < (size_bytes(best), best.metadata.name):
            best = volume
    return best
