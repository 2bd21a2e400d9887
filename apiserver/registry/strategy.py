"""What each kind drops or keeps on create and update. Source: upstream pkg/registry/*/strategy."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.qos import qos_class
from podwire.api.schema import type_of
from podwire.api.structure import fresh
from podwire.api.view import JSON

_KEEPS_STATUS_ON_CREATE = frozenset((kinds.NODE,))


def on_create(kind: Kind[Any], obj: JSON) -> None:
    """Status belongs to controllers: a new object starts without one."""
    if "status" not in kind.parts:
        return
    if kind not in _KEEPS_STATUS_ON_CREATE:
        obj.pop("status", None)
    if kind is kinds.POD:
        obj["status"] = {"phase": "Pending"}
    elif kind is kinds.NAMESPACE:
        obj["status"] = {"phase": "Active"}
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    elif kind is kinds.SERVICE:
        obj["status"] = {"loadBalancer": {}}
    else:
        struct = type_of(kind)
        empty = struct.always.get("status", {}) if struct is not None else {}
        obj.setdefault("status", fresh(empty))


def after_defaults(kind: Kind[Any], obj: JSON) -> None:
    """What follows from the defaulted object: a pod's quality of service."""
    if kind is kinds.POD:
        obj["status"]["qosClass"] = qos_class(obj["spec"])


def on_update(kind: Kind[Any], new: JSON, old: JSON, subresource: str) -> None:
    """The main resource cannot change status; /status cannot change anything but status and
    metadata.
    """
    if subresource == "status":
        for key in [key for key in new if key not in _STATUS_MAY]:
            if key not in old:
                del new[key]
        new.update((key, value) for key, value in old.items() if key not in _STATUS_MAY)
        if kind is kinds.DEPLOYMENT:
            _keep(new["metadata"], old["metadata"], "labels")
        if kind is kinds.POD:
            _keep(new["metadata"], old["metadata"], "ownerReferences")
    elif subresource != "finalize" and "status" in kind.parts:
        _keep(new, old, "status")
        if kind is kinds.NAMESPACE:
            _keep(new, old, "spec")


_STATUS_MAY = ("apiVersion", "kind", "metadata", "status")


def _keep(new: JSON, old: JSON, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)
