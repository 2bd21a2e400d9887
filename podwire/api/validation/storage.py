"""Validation of PersistentVolumes and of the kinds of storage.k8s.io.

Source: kubernetes pkg/apis/core/validation (ValidatePersistentVolume) and
pkg/apis/storage/validation.
"""

from __future__ import annotations

import posixpath

from podwire.api import names, quantity
from podwire.api.validation import meta
from podwire.api.validation.changes import changed_fields
from podwire.api.validation.claims import VOLUME_MODES, check_access_modes
from podwire.api.validation.field import Errors
from podwire.api.validation.placement import check_node_selector
from podwire.api.validation.syntax import class_name, csi_driver_name, positive_amount
from podwire.api.validation.volumes import (
    PERSISTENT_SOURCES,
    check_csi_volume,
    check_volume_source,
)
from podwire.api.view import JSON

_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")
_MAX_PARAMETERS = 512
_MAX_PARAMETER_BYTES = 256 * 1024
_MAX_METADATA_BYTES = 256 * 1024
_MAX_MESSAGE_BYTES = 1024
_MAX_NODE_ID = 256
_ADDED_LATER = "controllerExpandSecretRef"


def check_persistent_volume(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A PersistentVolume; its source never changes."""
    _volume_spec(errors, "spec", new["spec"])
    if old is None:
        return
    spec, before = new["spec"], old["spec"]
    mine, theirs = _source(spec), _source(before)
    if "csi" in mine and "csi" in theirs and _ADDED_LATER not in theirs["csi"]:
        mine = {**mine, "csi": _without(mine["csi"], _ADDED_LATER)}
    if mine != theirs:
        listed = "\n".join(f"  spec.{path}" for path in changed_fields(mine, theirs))
        detail = f"spec.persistentvolumesource is immutable after creation\n{listed}"
        errors.forbidden("spec.persistentvolumesource", detail)
    errors.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if "nodeAffinity" in before:
        errors.immutable("nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])
    attributes = "volumeAttributesClassName"
    if attributes in before and attributes not in spec:
        detail = "update from non-nil value to nil is forbidden"
        errors.forbidden(f"spec.{attributes}", detail)


def _source(spec: JSON) -> JSON:
    return {name: value for name, value in spec.items() if name in PERSISTENT_SOURCES}


def _volume_spec(errors: Errors, path: str, spec: JSON) -> None:
    if not spec.get("accessModes"):
        errors.required(f"{path}.accessModes")
    check_access_modes(errors, f"{path}.accessModes", spec.get("accessModes") or [])
    capacity = spec.get("capacity") or {}
    if not capacity:
        errors.required(f"{path}.capacity")
    if "storage" not in capacity or len(capacity) > 1:
        errors.unsupported(f"{path}.capacity", capacity, ("storage",))
    for name, amount in capacity.items():
        positive_amount(errors, f"{path}.capacity[{name}]", amount)
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy:
        errors.one_of(f"{path}.persistentVolumeReclaimPolicy", policy, _RECLAIM)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        where = f"{path}.nodeAffinity"
        if "required" not in affinity:
            errors.required(f"{where}.required", "must specify required node constraints")
        else:
            check_node_selector(errors, f"{where}.required", affinity["required"])
    if _is_csi(spec):
        check_csi_volume(errors, f"{path}.csi", spec["csi"])
    else:
        check_volume_source(errors, path, spec, PERSISTENT_SOURCES)
    if "local" in spec and affinity is None:
        errors.required(f"{path}.nodeAffinity", "Local volume requires node affinity")
    host = (spec.get("hostPath") or {}).get("path", "")
    if host and posixpath.normpath(host) == "/" and policy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.forbidden(f"{path}.persistentVolumeReclaimPolicy", detail)
    if spec.get("storageClassName"):
        class_name(errors, f"{path}.storageClassName", spec["storageClassName"])
    if "volumeMode" in spec:
        errors.one_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    if "volumeAttributesClassName" in spec and "csi" not in spec:
        detail = "has to be specified when using volumeAttributesClassName"
        errors.required(f"{path}.csi", detail)


def check_storage_class(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A StorageClass; what provisioned volumes depend on never changes."""
    if old is not None:
        for name in ("parameters", "provisioner", "reclaimPolicy"):
            if (new.get(name) or None) != (old.get(name) or None):
                errors.forbidden(name, f"updates to {name} are forbidden.")
        mine, theirs = new.get("volumeBindingMode"), old.get("volumeBindingMode")
        errors.immutable("volumeBindingMode", mine, theirs)
        return
    _provisioner(errors, "provisioner", new.get("provisioner", ""))
    _parameters(errors, new.get("parameters") or {}, empty=True)
    if new.get("reclaimPolicy"):
        errors.one_of("reclaimPolicy", new["reclaimPolicy"], ("Delete", "Retain"))
    mode = new.get("volumeBindingMode")
    if mode is None:
        errors.required("volumeBindingMode")
    else:
        errors.one_of("volumeBindingMode", mode, _BINDING_MODES)
    seen: list[JSON] = []
    for i, term in enumerate(new.get("allowedTopologies") or ()):
        path = f"allowedTopologies[{i}].matchLabelExpressions"
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            key, where = expression.get("key", ""), f"{path}[{j}]"
            if not expression.get("values"):
                errors.required(f"{where}.values")
            errors.complaints(f"{where}.key", key, names.label_key(key))
        if term in seen:
            errors.duplicate(path, "")
        seen.append(term)


def _provisioner(errors: Errors, path: str, text: str) -> None:
    if not text:
        errors.required(path)
    else:
        errors.complaints(path, text.lower(), names.label_key(text.lower()))


def _parameters(errors: Errors, parameters: dict[str, str], *, empty: bool) -> None:
    if len(parameters) > _MAX_PARAMETERS:
        errors.too_long("parameters", _MAX_PARAMETERS)
        return
    if "" in parameters:
        errors.invalid("parameters", "", "field can not be empty.")
    if sum(len(k.encode()) + len(v.encode()) for k, v in parameters.items()) > _MAX_PARAMETER_BYTES:
        errors.too_long("parameters", _MAX_PARAMETER_BYTES)
    if not empty and not parameters:
        errors.required("parameters", "must contain at least one key/value pair")


def check_volume_attributes_class(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A VolumeAttributesClass; it never changes."""
    if old is not None:
        for name in ("driverName", "parameters"):
            if (new.get(name) or None) != (old.get(name) or None):
                errors.forbidden(name, f"updates to {name} are forbidden.")
    _provisioner(errors, "driverName", new.get("driverName", ""))
    _parameters(errors, new.get("parameters") or {}, empty=False)


def check_volume_attachment(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A VolumeAttachment; its spec never changes."""
    spec, status = new["spec"], new.get("status") or {}
    if not spec.get("attacher"):
        errors.required("spec.attacher")
    source = spec["source"]
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    only = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        errors.required("spec.source", only)
    elif inline is not None and volume is not None:
        errors.forbidden("spec.source", only)
    elif volume == "":
        detail = "must specify non empty persistentVolumeName"
        errors.required("spec.source.persistentVolumeName", detail)
    node = spec.get("nodeName", "")
    errors.complaints("spec.nodeName", node, names.dns1123_subdomain(node))
    notes = status.get("attachmentMetadata") or {}
    if sum(len(k.encode()) + len(v.encode()) for k, v in notes.items()) > _MAX_METADATA_BYTES:
        errors.too_long("status.attachmentMetadata", _MAX_METADATA_BYTES)
    for name in ("attachError", "detachError"):
        if len((status.get(name) or {}).get("message", "").encode()) > _MAX_MESSAGE_BYTES:
            errors.too_long(f"status.{name}.message", _MAX_METADATA_BYTES)
    if old is None:
        csi_driver_name(errors, "spec.attacher", spec.get("attacher", ""))
        if volume:
            complaints = names.dns1123_subdomain(volume)
            errors.complaints("spec.source.persistentVolumeName", volume, complaints)
    else:
        errors.immutable("spec", spec, old["spec"])


def check_csi_node(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A CSINode; a driver's entry never changes (but how much it can attach)."""
    seen: dict[str, None] = {}
    drivers = new["spec"].get("drivers") or []
    for i, driver in enumerate(drivers):
        path, name = f"spec.drivers[{i}]", driver.get("name", "")
        csi_driver_name(errors, f"{path}.name", name)
        node = driver.get("nodeID", "")
        if not node:
            errors.required(f"{path}.nodeID")
        elif len(node) > _MAX_NODE_ID:
            errors.invalid(f"{path}.nodeID", node, f"must be {_MAX_NODE_ID} characters or less")
        count = (driver.get("allocatable") or {}).get("count")
        errors.not_negative(f"{path}.allocatable.count", count)
        if name in seen:
            errors.duplicate(f"{path}.name", name)
        seen[name] = None
        for key in driver.get("topologyKeys") or ():
            errors.complaints(path, key, names.label_key(key))
    before = {d.get("name"): d for d in (old or {"spec": {}})["spec"].get("drivers") or ()}
    for driver in drivers:
        known = before.get(driver.get("name"))
        if known is not None:
            mine, theirs = _without(driver, "allocatable"), _without(known, "allocatable")
            errors.immutable("spec.drivers", mine, theirs)


def _without(value: JSON, name: str) -> JSON:
    return {k: v for k, v in value.items() if k != name}


def check_csi_driver(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A CSIDriver."""
    spec = new["spec"]
    policy = spec.get("fsGroupPolicy")
    if policy is not None:
        errors.one_of("spec.fsGroupPolicy", policy, _GROUP_POLICIES)
    audiences: dict[str, None] = {}
    for i, request in enumerate(spec.get("tokenRequests") or ()):
        path, audience = f"spec.tokenRequests[{i}]", request.get("audience", "")
        if audience in audiences:
            errors.duplicate(f"{path}.audience", audience)
            continue
        audiences[audience] = None
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < 600:
            detail = "may not specify a duration less than 10 minutes"
            errors.invalid(f"{path}.expirationSeconds", seconds, detail)
        if seconds is not None and seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.invalid(f"{path}.expirationSeconds", seconds, detail)
    modes = spec.get("volumeLifecycleModes") or []
    for mode in modes:
        errors.one_of("spec.volumeLifecycleModes", mode, _LIFECYCLES)
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        detail = "must be greater than or equal to 10 seconds"
        errors.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, detail)
    if old is not None:
        before = old["spec"]
        mine, theirs = spec.get("attachRequired"), before.get("attachRequired")
        errors.immutable("spec.attachedRequired", mine, theirs)
        errors.immutable("spec.volumeLifecycleModes", modes, before.get("volumeLifecycleModes"))


def check_storage_capacity(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A CSIStorageCapacity: what a driver says it has left somewhere."""
    meta.label_selector(errors, "nodeTopology", new.get("nodeTopology"))
    class_name(errors, "storageClassName", new.get("storageClassName", ""))
    if "capacity" in new and quantity.parse(new["capacity"]).nano < 0:
        errors.invalid("capacity", new["capacity"], "must be greater than or equal to 0")
    if old is not None:
        for name in ("nodeTopology", "storageClassName"):
            errors.immutable(name, new.get(name), old.get(name))


def _is_csi(spec: JSON) -> bool:
    """Whether CSI is the volume's only source (its rules are not those of inline CSI)."""
    return [name for name in spec if name in PERSISTENT_SOURCES] == ["csi"]
