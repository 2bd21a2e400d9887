"""Views of PersistentVolumeClaim, PersistentVolume and StorageClass, as far as rooms read them."""

from __future__ import annotations

from podwire.api.view import JSON, View
from podwire.api.views.meta import LabelSelector, Object
from podwire.api.views.pod import NodeSelector, ResourceRequirements


class PersistentVolumeClaimSpec(View, frozen=True, kw_only=True):
    """persistentvolumeclaim spec."""

    volume_name: str = ""
    storage_class_name: str | None = None
    access_modes: list[str] = []
    resources: ResourceRequirements = ResourceRequirements()
    selector: LabelSelector | None = None
    volume_mode: str = "Filesystem"


class PersistentVolumeClaimStatus(View, frozen=True, kw_only=True):
    """persistentvolumeclaim status."""

    phase: str = ""
    access_modes: list[str] = []
    capacity: dict[str, str] = {}


class PersistentVolumeClaim(Object, frozen=True, kw_only=True):
    """v1 PersistentVolumeClaim."""

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class VolumeNodeAffinity(View, frozen=True, kw_only=True):
    """persistentvolume spec.nodeAffinity."""

    required: NodeSelector | None = None


class ClaimReference(View, frozen=True, kw_only=True):
    """persistentvolume spec.claimRef; without a uid somebody reserved the volume."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class PersistentVolumeSpec(View, frozen=True, kw_only=True):
    """persistentvolume spec."""

    node_affinity: VolumeNodeAffinity | None = None
    claim_ref: ClaimReference | None = None
    access_modes: list[str] = []
    capacity: dict[str, str] = {}
    storage_class_name: str = ""
    persistent_volume_reclaim_policy: str = "Retain"
    volume_mode: str = "Filesystem"
    host_path: JSON | None = None
    local: JSON | None = None


class PersistentVolumeStatus(View, frozen=True, kw_only=True):
    """persistentvolume status."""

    phase: str = ""


class PersistentVolume(Object, frozen=True, kw_only=True):
    """v1 PersistentVolume."""

    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class StorageClass(Object, frozen=True, kw_only=True):
    """storage.k8s.io/v1 StorageClass."""

    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    reclaim_policy: str = "Delete"
