"""Defaults of volumes and of the kinds of storage.k8s.io.

Source: kubernetes pkg/apis/core/v1/defaults.go and pkg/apis/storage/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podwire.api.view import JSON

_DEFAULT_MODE = 0o644
_TOKEN_EXPIRATION_S = 3600


def default_volume_source(holder: JSON) -> None:
    """The one volume source that a pod's volume or a PersistentVolume's spec holds."""
    for name in tuple(holder):
        fill = _SOURCES.get(name)
        if fill is not None:
            fill(holder[name])


def downward_items(source: JSON) -> None:
    """Downward API files refer to fields of v1."""
    for item in source.get("items") or ():
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def _mode(source: JSON) -> None:
    source.setdefault("defaultMode", _DEFAULT_MODE)


def _downward(source: JSON) -> None:
    _mode(source)
    downward_items(source)


def _projected(source: JSON) -> None:
    _mode(source)
    for part in source.get("sources") or ():
        if "downwardAPI" in part:
            downward_items(part["downwardAPI"])
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", _TOKEN_EXPIRATION_S)


def _ephemeral(source: JSON) -> None:
    claim = source.get("volumeClaimTemplate")
    if claim is not None:
        claim["spec"].setdefault("volumeMode", "Filesystem")


def _constants(values: Mapping[str, Any]) -> Callable[[JSON], None]:
    def fill(source: JSON) -> None:
        for name, value in values.items():
            source.setdefault(name, value)

    return fill


_SOURCES: dict[str, Callable[[JSON], None]] = {
    "secret": _mode,
    "configMap": _mode,
    "downwardAPI": _downward,
    "projected": _projected,
    "ephemeral": _ephemeral,
    "hostPath": _constants({"type": ""}),
    "iscsi": _constants({"iscsiInterface": "default"}),
    "rbd": _constants({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
    "azureDisk": _constants(
        {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False}
    ),
    "scaleIO": _constants({"storageMode": "ThinProvisioned", "fsType": "xfs"}),
}


def default_persistent_volume(obj: JSON) -> None:
    """Retained, a filesystem, pending until the binder looks at it."""
    spec = obj["spec"]
    obj["status"].setdefault("phase", "Pending")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    default_volume_source(spec)


def default_persistent_volume_claim(obj: JSON) -> None:
    """A filesystem, pending."""
    obj["status"].setdefault("phase", "Pending")
    obj["spec"].setdefault("volumeMode", "Filesystem")


def default_storage_class(obj: JSON) -> None:
    """Volumes go with their claims and are bound at once."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_csi_driver(obj: JSON) -> None:
    """A driver that attaches and knows persistent volumes only."""
    spec = obj["spec"]
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)


def default_volume_attachment(obj: JSON) -> None:
    """An inline volume is defaulted as a PersistentVolume's source."""
    inline = obj["spec"]["source"].get("inlineVolumeSpec")
    if inline is not None:
        inline.setdefault("volumeMode", "Filesystem")
        default_volume_source(inline)
