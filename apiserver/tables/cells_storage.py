"""Cells of volumes, claims and the kinds of storage.k8s.io."""

from __future__ import annotations

from typing import Any

from podwire.apiserver.tables.words import NONE, UNSET, age

JSON = dict[str, Any]

_MODES = {
    "ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}  # fmt: skip
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def _modes(modes: list[str] | None) -> str:
    """Access modes, short, each once, in upstream's order."""
    given = modes or ()
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _class(body: JSON) -> str:
    notes = body["metadata"].get("annotations") or {}
    return str(notes.get(_BETA_CLASS, body.get("spec", {}).get("storageClassName") or ""))


def _phase(body: JSON) -> str:
    if body["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(body.get("status", {}).get("phase", ""))


def persistent_volume(body: JSON, now_ns: int) -> list[Any]:
    """Size, modes, policy, and whose it is."""
    spec, claim = body.get("spec", {}), body.get("spec", {}).get("claimRef")
    return [
        body["metadata"]["name"],
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(body),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(body),
        spec.get("volumeAttributesClassName", UNSET),
        body.get("status", {}).get("reason", ""),
        age(body, now_ns),
        spec.get("volumeMode", UNSET),
    ]


def persistent_volume_claim(body: JSON, now_ns: int) -> list[Any]:
    """A bound claim tells what it got."""
    spec, status = body.get("spec", {}), body.get("status", {})
    volume = spec.get("volumeName", "")
    return [
        body["metadata"]["name"],
        _phase(body),
        volume,
        (status.get("capacity") or {}).get("storage", "0") if volume else "",
        _modes(status.get("accessModes")) if volume else "",
        _class(body),
        spec.get("volumeAttributesClassName", UNSET),
        age(body, now_ns),
        spec.get("volumeMode", UNSET),
    ]


_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def storage_class(body: JSON, now_ns: int) -> list[Any]:
    """The default class says so beside its name."""
    notes, name = body["metadata"].get("annotations") or {}, body["metadata"]["name"]
    default = any(notes.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        f"{name} (default)" if default else name,
        body.get("provisioner", ""),
        body.get("reclaimPolicy", "Delete"),
        body.get("volumeBindingMode", "Immediate"),
        body.get("allowVolumeExpansion", False),
        age(body, now_ns),
    ]


def volume_attributes_class(body: JSON, now_ns: int) -> list[Any]:
    """Name, DriverName, Age."""
    return [body["metadata"]["name"], body.get("driverName", ""), age(body, now_ns)]


def volume_attachment(body: JSON, now_ns: int) -> list[Any]:
    """Which volume is on which node."""
    spec = body.get("spec", {})
    return [
        body["metadata"]["name"],
        spec.get("attacher", ""),
        spec.get("source", {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        body.get("status", {}).get("attached", False),
        age(body, now_ns),
    ]


def csi_node(body: JSON, now_ns: int) -> list[Any]:
    """How many drivers a node has."""
    drivers = body.get("spec", {}).get("drivers") or []
    return [body["metadata"]["name"], len(drivers), age(body, now_ns)]


def csi_driver(body: JSON, now_ns: int) -> list[Any]:
    """What a driver can and wants."""
    spec = body.get("spec", {})
    requests = spec.get("tokenRequests")
    audiences = UNSET if requests is None else ",".join(r.get("audience", "") for r in requests)
    return [
        body["metadata"]["name"],
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        audiences,
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or []) or NONE,
        age(body, now_ns),
    ]


def storage_capacity(body: JSON, _now_ns: int) -> list[Any]:
    """Name, StorageClassName, Capacity."""
    name = body["metadata"]["name"]
    return [name, body.get("storageClassName", ""), body.get("capacity", UNSET)]
