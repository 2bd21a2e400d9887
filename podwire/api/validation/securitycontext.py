"""Validation of the security contexts of pods and containers.

Source: kubernetes pkg/apis/core/validation (validatePodSpecSecurityContext,
ValidateSecurityContext and callees).
"""

from __future__ import annotations

import re

from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_MAX_ID = 2**31 - 1
_ID_RANGE = f"must be between 0 and {_MAX_ID}, inclusive"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}"
_sysctl_re = re.compile(_SYSCTL)
_MAX_SYSCTL = 253


def check_pod_security(errors: Errors, path: str, spec: JSON) -> None:
    """The securityContext of a pod spec; ``path`` is the pod spec's."""
    context = spec.get("securityContext")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.invalid(f"{path}.securityContext.shareProcessNamespace", True, detail)
    if not context:
        return
    where = f"{path}.securityContext"
    _ids(errors, where, context, ("fsGroup", "runAsUser", "runAsGroup"))
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= _MAX_ID:
            errors.invalid(f"{where}.supplementalGroups[{i}]", group, _ID_RANGE)
    _sysctls(errors, f"{where}.sysctls", context.get("sysctls") or [])
    for name, supported in (
        ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if name in context:
            errors.one_of(f"{where}.{name}", context[name], supported)
    _profile(errors, f"{where}.seccompProfile", context.get("seccompProfile"), "seccomp")
    _profile(errors, f"{where}.appArmorProfile", context.get("appArmorProfile"), "AppArmor")


def check_container_security(errors: Errors, path: str, context: JSON) -> None:
    """The securityContext of a container; ``path`` is its own."""
    _ids(errors, path, context, ("runAsUser", "runAsGroup"))
    if "procMount" in context:
        errors.one_of(f"{path}.procMount", context["procMount"], ("Default", "Unmasked"))
    _profile(errors, f"{path}.seccompProfile", context.get("seccompProfile"), "seccomp")
    if context.get("allowPrivilegeEscalation") is False:
        cannot = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            errors.invalid(path, context, f"{cannot} `privileged` to true")
        for capability in (context.get("capabilities") or {}).get("add") or ():
            if capability == "CAP_SYS_ADMIN":
                errors.invalid(path, context, f"{cannot} `capabilities.Add` CAP_SYS_ADMIN")
    _profile(errors, f"{path}.appArmorProfile", context.get("appArmorProfile"), "AppArmor")


def _ids(errors: Errors, path: str, context: JSON, fields: tuple[str, ...]) -> None:
    for name in fields:
        number = context.get(name)
        if number is not None and not 0 <= number <= _MAX_ID:
            errors.invalid(f"{path}.{name}", number, _ID_RANGE)


def _sysctls(errors: Errors, path: str, sysctls: list[JSON]) -> None:
    seen: dict[str, None] = {}
    for i, sysctl in enumerate(sysctls):
        where, name = f"{path}[{i}].name", sysctl.get("name", "")
        if not name:
            errors.required(where)
        elif len(name) > _MAX_SYSCTL or not _sysctl_re.fullmatch(name):
            detail = f"must have at most {_MAX_SYSCTL} characters and match regex ^{_SYSCTL}$"
            errors.invalid(where, name, detail)
        elif name in seen:
            errors.duplicate(where, name)
        seen[name] = None


def _profile(errors: Errors, path: str, profile: JSON | None, what: str) -> None:
    if profile is None:
        return
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    field = "seccompProfile" if what == "seccomp" else "appArmorProfile"
    if not kind:
        errors.required(f"{path}.type", f"type is required when {field} is set")
        return
    errors.one_of(f"{path}.type", kind, _PROFILES)
    if kind == "Localhost":
        if not local:
            detail = f"must be set when {what} type is Localhost"
            errors.required(f"{path}.localhostProfile", detail)
        elif what == "seccomp" and (local.startswith("/") or ".." in local.split("/")):
            detail = "must be a relative path" if local[0] == "/" else "must not contain '..'"
            errors.invalid(f"{path}.localhostProfile", local, detail)
    elif local is not None:
        detail = f"can only be set when {what} type is Localhost"
        errors.invalid(f"{path}.localhostProfile", local, detail)
