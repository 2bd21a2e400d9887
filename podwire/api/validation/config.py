"""Validation of ConfigMap, Secret, Node and Lease.

Source: kubernetes pkg/apis/core/validation and pkg/apis/coordination/validation.
"""

from __future__ import annotations

import base64

from podwire.api import names
from podwire.api.untrusted import decoded
from podwire.api.validation.address import check_cidr
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

MAX_DATA_BYTES = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def check_config_map(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ConfigMap: keys, size, and immutability once declared."""
    data, binary = new.get("data") or {}, new.get("binaryData") or {}
    size = 0
    for key, text in data.items():
        errors.complaints(f"data[{key}]", key, names.config_key(key))
        if key in binary:
            errors.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(text.encode(errors="replace"))
    for key, text in binary.items():
        errors.complaints(f"binaryData[{key}]", key, names.config_key(key))
        size += len(base64.b64decode(text))
    if size > MAX_DATA_BYTES:
        errors.too_long("[]", MAX_DATA_BYTES)
    _frozen(errors, new, old, ("data", "binaryData"))


def check_secret(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Secret: keys, size, what its type demands, and immutability."""
    data = new.get("data") or {}
    size = 0
    for key, text in data.items():
        errors.complaints(f"data[{key}]", key, names.config_key(key))
        size += len(base64.b64decode(text))
    if size > MAX_DATA_BYTES:
        errors.too_long("data", MAX_DATA_BYTES)
    kind = new.get("type", "")
    for key in _REQUIRED_KEYS.get(kind, ()):
        if key not in data:
            errors.required(f"data[{key}]")
        elif key.startswith(".") and (why := _not_an_object(data[key])):
            errors.invalid(f"data[{key}]", "<secret contents redacted>", why)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors.required("data[username]")
        errors.required("data[password]")
    if kind == "kubernetes.io/service-account-token":
        notes = new["metadata"].get("annotations") or {}
        if not notes.get("kubernetes.io/service-account.name"):
            errors.required("metadata.annotations[kubernetes.io/service-account.name]")
    if old is not None:
        errors.immutable("type", kind, old.get("type"))
    _frozen(errors, new, old, ("data",))


def _not_an_object(text: str) -> str:
    """What is wrong with a JSON object in base64 form, or ''."""
    try:
        found = decoded(base64.b64decode(text), object)
    except ValueError:
        return "invalid character in JSON"
    if not isinstance(found, dict):
        return "json: cannot unmarshal into Go value of type map[string]interface {}"
    return ""


def _frozen(errors: Errors, new: JSON, old: JSON | None, names: tuple[str, ...]) -> None:
    if old is None or not old.get("immutable"):
        return
    if not new.get("immutable"):
        errors.forbidden("immutable", _FROZEN)
    for name in names:
        if (new.get(name) or {}) != (old.get(name) or {}):
            errors.forbidden(name, _FROZEN)


def check_node(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Node: taints, and a pod CIDR that is given once."""
    spec = new["spec"]
    seen: dict[tuple[str, str], None] = {}
    for i, taint in enumerate(spec.get("taints") or ()):
        path = f"metadata.taints[{i}]"  # upstream's path, odd as it is
        key, value, effect = (taint.get(name, "") for name in ("key", "value", "effect"))
        errors.complaints(f"{path}.key", key, names.label_key(key))
        complaints = names.label_value(value)
        if complaints:
            errors.invalid(f"{path}.value", value, ";".join(complaints))
        if not effect:
            errors.required(f"{path}.effect")
        else:
            errors.one_of(f"{path}.effect", effect, _EFFECTS)
        if (key, effect) in seen:
            errors.duplicate(path, taint)
        seen[key, effect] = None
    cidrs = spec.get("podCIDRs") or []
    for i, cidr in enumerate(cidrs):
        check_cidr(errors, f"spec.podCIDRs[{i}]", cidr)
    if old is None:
        return
    before = old["spec"].get("podCIDRs") or []
    if before and before != cidrs:
        detail = 'node updates may not change podCIDR except from "" to valid'
        errors.forbidden("spec.podCIDRs", detail)
    provider = old["spec"].get("providerID")
    if provider and provider != spec.get("providerID"):
        detail = 'node updates may not change providerID except from "" to valid'
        errors.forbidden("spec.providerID", detail)
    if _fixed(spec, before) != _fixed(old["spec"], before):
        errors.forbidden("[]", "node updates may only change labels, taints, or capacity")


def _fixed(spec: JSON, cidrs: list[str]) -> JSON:
    """What of a node's spec is given once; pod CIDRs once they are there."""
    free = {"taints", "unschedulable", "providerID", *(() if cidrs else ("podCIDR", "podCIDRs"))}
    return {name: value for name, value in spec.items() if name not in free}


def check_lease(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A Lease."""
    spec = new["spec"]
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    errors.not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
