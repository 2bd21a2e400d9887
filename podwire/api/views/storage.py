"""Views of PersistentVolumeClaim, PersistentVolume and StorageClass, as far as scheduling reads."""

from __future__ import annotations

from podwire.api.view import View
from podwire.api.views.meta import Object
from podwire.api.views.pod import NodeSelector


class PersistentVolumeClaimSpec(View, frozen=True, kw_only=True):
    """persistentvolumeclaim spec."""

    volume_name: str = ""
    storage_class_name: str | None = None


class PersistentVolumeClaim(Object, frozen=True, kw_only=True):
    """v1 PersistentVolumeClaim."""

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()


class VolumeNodeAffinity(View, frozen=True, kw_only=True):
    """persistentvolume spec.nodeAffinity."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(View, frozen=True, kw_only=True):
    """persistentvolume spec."""

    node_affinity: VolumeNodeAffinity | None = None


class PersistentVolume(Object, frozen=True, kw_only=True):
    """v1 PersistentVolume."""

    spec: PersistentVolumeSpec = PersistentVolumeSpec()


class StorageClass(Object, frozen=True, kw_only=True):
    """storage.k8s.io/v1 StorageClass."""

    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
