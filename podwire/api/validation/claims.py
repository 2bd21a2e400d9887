"""Validation of PersistentVolumeClaims, and of claims inside other objects.

Source: kubernetes pkg/apis/core/validation (ValidatePersistentVolumeClaim and callees).
"""

from __future__ import annotations

from podwire.api import names, quantity
from podwire.api.validation import meta
from podwire.api.validation.changes import changed_fields
from podwire.api.validation.field import Errors
from podwire.api.validation.syntax import class_name, positive_amount
from podwire.api.view import JSON

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_IMMUTABLE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName "
    "for bound claims"
)


def check_access_modes(errors: Errors, path: str, modes: list[str]) -> None:
    """Known modes, and ReadWriteOncePod alone."""
    for mode in modes:
        errors.one_of(path, mode, ACCESS_MODES)
    known = [mode for mode in modes if mode in ACCESS_MODES]
    if "ReadWriteOncePod" in known and any(mode != "ReadWriteOncePod" for mode in known):
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes")


def check_claim_spec(errors: Errors, path: str, spec: JSON) -> None:
    """The spec of a claim, wherever it stands."""
    if not spec.get("accessModes"):
        errors.required(f"{path}.accessModes", "at least 1 access mode is required")
    if "selector" in spec:
        meta.label_selector(errors, f"{path}.selector", spec["selector"])
    check_access_modes(errors, f"{path}.accessModes", spec.get("accessModes") or [])
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        errors.required(f"{path}.resources[storage]")
    else:
        positive_amount(errors, f"{path}.resources[storage]", size)
    if spec.get("storageClassName"):
        class_name(errors, f"{path}.storageClassName", spec["storageClassName"])
    if "volumeMode" in spec:
        errors.one_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    for name in ("dataSource", "dataSourceRef"):
        if name in spec:
            _data_source(errors, f"{path}.{name}", spec[name])
    _sources_agree(errors, path, spec)
    if spec.get("volumeAttributesClassName"):
        where = f"{path}.volumeAttributesClassName"
        class_name(errors, where, spec["volumeAttributesClassName"])


def _data_source(errors: Errors, path: str, source: JSON) -> None:
    for name in ("name", "kind"):
        if not source.get(name):
            errors.required(f"{path}.{name}")
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.invalid(path, kind, detail)
    if group:
        errors.complaints(f"{path}.apiGroup", group, names.dns1123_subdomain(group))
    if source.get("namespace"):
        complaints = names.dns1123_label(source["namespace"])
        errors.complaints(f"{path}.namespace", source["namespace"], complaints)


def _sources_agree(errors: Errors, path: str, spec: JSON) -> None:
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is None or ref is None:
        return
    if ref.get("namespace"):
        detail = "may not be specified when dataSourceRef.namespace is specified"
        errors.invalid(path, {}, detail)
    elif any(source.get(k) != ref.get(k) for k in ("apiGroup", "kind", "name")):
        errors.invalid(path, {}, "must match dataSourceRef")


def check_claim(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A PersistentVolumeClaim; once bound it may grow, and little else."""
    check_claim_spec(errors, "spec", new["spec"])
    if old is not None:
        _check_update(errors, new, old)


def _check_update(errors: Errors, new: JSON, old: JSON) -> None:
    spec, before = new["spec"], old["spec"]
    notes, old_notes = ((o["metadata"].get("annotations") or {}) for o in (new, old))
    errors.immutable(
        f"metadata.annotations.{_BETA_CLASS}", notes.get(_BETA_CLASS), old_notes.get(_BETA_CLASS)
    )
    mine, theirs = _compared(spec), _compared(before)
    if not before.get("volumeName"):
        theirs["volumeName"] = mine.get("volumeName")
        theirs = {k: v for k, v in theirs.items() if v is not None}
    chosen = spec.get("storageClassName")
    if "storageClassName" not in before and chosen == old_notes.get(_BETA_CLASS, chosen):
        mine.pop("storageClassName", None)  # a class may be chosen later, once
    size, old_size = _size(spec), _size(before)
    if (new.get("status") or {}).get("phase") != "Bound" and size != old_size:
        mine["resources"] = {"requests": {"storage": size}}
        theirs["resources"] = {"requests": {"storage": old_size}}
    if mine != theirs:
        listed = "\n".join(f"  spec.{path}" for path in changed_fields(mine, theirs))
        errors.forbidden("spec", f"{_IMMUTABLE}\n{listed}")
    where = "spec.resources.requests.storage"
    if quantity.parse(size).nano < quantity.parse(old_size).nano:
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
        if quantity.parse(size).nano <= quantity.parse(capacity).nano:
            errors.forbidden(where, "field can not be less than status.capacity")
    errors.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    attributes = "volumeAttributesClassName"
    if before.get(attributes) is not None and not spec.get(attributes):
        to = "nil" if spec.get(attributes) is None else "an empty string"
        errors.forbidden(f"spec.{attributes}", f"update from non-nil value to {to} is forbidden")


def _size(spec: JSON) -> str:
    found: str = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return found


def _compared(spec: JSON) -> JSON:
    """The part of a claim's spec that never changes."""
    found = {k: v for k, v in spec.items() if k not in {"volumeAttributesClassName", "resources"}}
    limits = (spec.get("resources") or {}).get("limits")
    return {**found, "limits": limits} if limits else found
