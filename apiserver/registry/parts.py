"""Subresources that show the whole object and change one part of it: ephemeralcontainers and
resize of pods, approval and status of certificate requests. However the change was asked for (PUT,
a patch, apply), ``update.replace`` lets a part have its say first.

Source: upstream pkg/registry/core/pod (strategy.go) and pkg/apis/core/validation
(ValidatePodEphemeralContainersUpdate, ValidatePodResize).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.api import defaults, kinds
from podwire.api.kinds import Kind
from podwire.api.qos import qos_class
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.validation.pod import check_pod_spec
from podwire.api.view import JSON
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import certificates, meta

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

Part = Callable[["Apiserver", Call, JSON, JSON], JSON]
"""Makes the object of (what was asked for, what is there): only its own part changes.

Raises ApiError.
"""

_MIRROR = "kubernetes.io/config.mirror"
_RESIZABLE = ("resources", "resizePolicy")
_AMOUNTS = ("cpu", "memory")


# ---------------------------------------------------------------- certificate requests


def _approval(server: Apiserver, call: Call, new: JSON, old: JSON) -> JSON:
    made = certificates.approved(server, call, new, old, meta.now(server))
    return _checked_csr(call, made, old)


def _report(server: Apiserver, call: Call, new: JSON, old: JSON) -> JSON:
    made = certificates.reported(server, call, new, old, meta.now(server))
    return _checked_csr(call, made, old)


def _checked_csr(call: Call, new: JSON, old: JSON) -> JSON:
    errors = Errors()
    certificates.check(errors, call.subresource, new, old)
    return _valid(call, new, errors)


def _valid(call: Call, new: JSON, errors: Errors) -> JSON:
    if errors.causes:
        raise invalid_error(call.kind, call.name, errors.causes)
    return new


# ---------------------------------------------------------------- pods


def _ephemeral(_server: Apiserver, call: Call, new: JSON, old: JSON) -> JSON:
    """``kubectl debug``: containers are added, never changed or removed."""
    errors = Errors()
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        errors.forbidden("", "static pods do not support ephemeral containers")
        return _valid(call, new, errors)
    spec = dict(old["spec"])
    wanted = (new.get("spec") or {}).get("ephemeralContainers") or []
    if wanted or "ephemeralContainers" in spec:
        spec["ephemeralContainers"] = wanted
    made = _defaulted(call, {**old, "metadata": dict(old["metadata"]), "spec": spec})
    check_pod_spec(errors, "spec", made["spec"])
    by_name = {c.get("name"): c for c in made["spec"].get("ephemeralContainers") or ()}
    for had in old["spec"].get("ephemeralContainers") or ():
        name = had.get("name")
        if name not in by_name:
            why = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.forbidden("spec.ephemeralContainers", why)
        elif by_name[name] != had:
            why = f'existing ephemeral containers "{name}" may not be changed\n'
            errors.forbidden("spec.ephemeralContainers", why)
    return _valid(call, made, errors)


def _resize(_server: Apiserver, call: Call, new: JSON, old: JSON) -> JSON:
    """``kubectl patch --subresource resize``: cpu and memory of containers."""
    errors = Errors()
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        errors.forbidden("", "static pods cannot be resized")
        return _valid(call, new, errors)
    spec = dict(old["spec"])
    for field in ("containers", "initContainers"):
        wanted, had = (new.get("spec") or {}).get(field) or [], old["spec"].get(field) or []
        if len(wanted) != len(had):
            errors.forbidden(f"spec.{field}", "containers may not be added or removed on resize")
        elif [c.get("name") for c in wanted] != [c.get("name") for c in had]:
            why = "containers may not be renamed or reordered on resize"
            errors.forbidden(f"spec.{field}", why)
        elif had:
            spec[field] = [_resized(w, h) for w, h in zip(wanted, had, strict=True)]
    if errors.causes:
        return _valid(call, new, errors)
    made = _defaulted(call, {**old, "metadata": dict(old["metadata"]), "spec": spec})
    check_pod_spec(errors, "spec", made["spec"])
    _check_amounts(errors, made["spec"], old["spec"])
    changed = qos_class(made["spec"])
    if changed != qos_class(old["spec"]):
        why = "Pod QOS Class may not change as a result of resizing"
        errors.invalid("spec", changed, why)
    return _valid(call, made, errors)


def _defaulted(call: Call, obj: JSON) -> JSON:
    """With defaults, without touching what is stored: what is new is copied deep enough."""
    spec = dict(obj["spec"])
    for field in ("containers", "initContainers", "ephemeralContainers"):
        if field in spec:
            spec[field] = [_copied(container) for container in spec[field]]
    made = {**obj, "spec": spec}
    defaults.apply(call.kind, made)
    return made


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _resized(wanted: JSON, had: JSON) -> JSON:
    made = {key: value for key, value in had.items() if key not in _RESIZABLE}
    return made | {key: wanted[key] for key in _RESIZABLE if key in wanted}


def _check_amounts(errors: Errors, new: JSON, old: JSON) -> None:
    for field in ("containers", "initContainers"):
        pairs = zip(new.get(field) or (), old.get(field) or (), strict=True)
        for index, (mine, theirs) in enumerate(pairs):
            path = f"spec.{field}[{index}]"
            have, had = mine.get("resources") or {}, theirs.get("resources") or {}
            sidecar = theirs.get("restartPolicy") == "Always"
            if field == "initContainers" and not sidecar and have != had:
                why = "resources for non-sidecar init containers are immutable"
                errors.forbidden(f"{path}.resources", why)
                continue
            for part in ("limits", "requests"):
                gone = [n for n in had.get(part) or {} if n not in (have.get(part) or {})]
                if any(name in _AMOUNTS for name in gone):
                    why = f"resource {part} cannot be removed"
                    errors.forbidden(f"{path}.resources.{part}", why)
            if _others(have) != _others(had):
                errors.forbidden("spec", "only cpu and memory resources are mutable")


def _others(resources: JSON) -> JSON:
    """What of a container's resources is not cpu and memory."""
    rest = {k: v for k, v in resources.items() if k not in {"limits", "requests"}}
    for part in ("limits", "requests"):
        rest[part] = {k: v for k, v in (resources.get(part) or {}).items() if k not in _AMOUNTS}
    return rest


PARTS: dict[tuple[Kind[Any], str], Part] = {
    (kinds.POD, "ephemeralcontainers"): _ephemeral,
    (kinds.POD, "resize"): _resize,
    (certificates.CSR, "approval"): _approval,
    (certificates.CSR, "status"): _report,
}
"""By kind and subresource."""
