"""Validation of ResourceQuotas and LimitRanges.

Source: kubernetes pkg/apis/core/validation (ValidateResourceQuota, ValidateLimitRange).
"""

from __future__ import annotations

from podwire.api import names, quantity
from podwire.api.validation.field import Errors
from podwire.api.validation.syntax import (
    CONTAINER_RESOURCES,
    container_resource_name,
    quota_resource_name,
    resource_amount,
    resource_name,
)
from podwire.api.view import JSON

_POD_SCOPES = ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass")
SCOPES = (*_POD_SCOPES, "BestEffort", "CrossNamespacePodAffinity", "VolumeAttributesClass")
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_COMPUTE = (
    "pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory",
)  # fmt: skip
_LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


def check_resource_quota(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ResourceQuota; its scopes never change."""
    spec = new["spec"]
    for name, amount in (spec.get("hard") or {}).items():
        _hard(errors, f"spec.hard[{name}]", name, amount)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        _scope(errors, "spec.scopes", scopes, scope, spec)
    for pair in _CONFLICTS:
        if set(pair) <= set(scopes):
            errors.invalid("spec.scopes", scopes, "conflicting scopes")
    if "scopeSelector" in spec:
        _selector(errors, "spec.scopeSelector.matchExpressions", spec)
    if old is not None and sorted(scopes) != sorted(old["spec"].get("scopes") or []):
        errors.invalid("spec.scopes", scopes, "field is immutable")


def check_quota_status(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """What the quota controller reports."""
    for part in ("hard", "used"):
        for name, amount in ((new.get("status") or {}).get(part) or {}).items():
            _hard(errors, f"status.{part}[{name}]", name, amount)


def _hard(errors: Errors, path: str, name: str, amount: str) -> None:
    quota_resource_name(errors, path, name)
    resource_amount(errors, path, name, amount)


def _scope(errors: Errors, path: str, shown: object, scope: str, spec: JSON) -> None:
    if scope not in SCOPES:
        errors.invalid(path, shown, "unsupported scope")
    for name in sorted(spec.get("hard") or {}):
        if "/" not in name and not _fits(scope, name):
            errors.invalid(path, shown, "unsupported scope applied to resource")


def _fits(scope: str, name: str) -> bool:
    if scope in {*_POD_SCOPES, "CrossNamespacePodAffinity"}:
        return name in _COMPUTE
    if scope == "BestEffort":
        return name == "pods"
    return True


def _selector(errors: Errors, path: str, spec: JSON) -> None:
    selector = spec["scopeSelector"]
    for need in selector.get("matchExpressions") or ():
        scope, operator = need.get("scopeName", ""), need.get("operator", "")
        values = need.get("values") or []
        if scope not in SCOPES:
            errors.invalid(f"{path}.scopeName", scope, "unsupported scope")
        for name in sorted(spec.get("hard") or {}):
            if "/" not in name and not _fits(scope, name):
                errors.invalid(path, selector, "unsupported scope applied to resource")
        if scope not in {"PriorityClass", "VolumeAttributesClass"} and operator != "Exists":
            detail = (
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            errors.invalid(f"{path}.operator", operator, detail)
        if operator in {"In", "NotIn"}:
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn'"
                errors.required(f"{path}.values", f"{detail} for scope selector")
        elif operator in {"Exists", "DoesNotExist"}:
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist'"
                errors.invalid(f"{path}.values", values, f"{detail} for scope selector")
        else:
            errors.invalid(f"{path}.operator", operator, "not a valid selector operator")


def check_limit_range(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A LimitRange: bounds that agree with each other."""
    seen: dict[str, None] = {}
    for i, item in enumerate(new["spec"].get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type", "")
        complaints = names.label_key(kind)
        errors.complaints(f"{path}.type", kind, complaints)
        if not complaints and "/" not in kind and kind not in _LIMIT_TYPES:
            detail = "must be a standard limit type or fully qualified"
            errors.invalid(f"{path}.type", kind, detail)
        if kind in seen:
            errors.duplicate(f"{path}.type", kind)
        seen[kind] = None
        _limit_item(errors, path, kind, item)


def _limit_item(errors: Errors, path: str, kind: str, item: JSON) -> None:
    check = container_resource_name if kind in {"Container", "Pod"} else resource_name
    fields = ["max", "min", "maxLimitRequestRatio"]
    for field in ("default", "defaultRequest"):
        if kind != "Pod":
            fields.append(field)
        elif item.get(field):
            detail = "may not be specified when `type` is 'Pod'"
            errors.forbidden(f"{path}.{field}", detail)
    for field in fields:
        for name in item.get(field) or {}:
            check(errors, f"{path}.{field}[{name}]", name)
    if kind == "PersistentVolumeClaim" and not any(
        "storage" in (item.get(field) or {}) for field in ("min", "max")
    ):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.required(f"{path}.limits", detail)
    known = {name: None for field in fields for name in item.get(field) or {}}
    for name in known:
        _limits_agree(errors, path, name, {f: (item.get(f) or {}).get(name) for f in fields})


_ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest",
     "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest",
     "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest",
     "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)  # fmt: skip
"""Smaller, larger, the field complained of, whose value is shown, and the words."""


def _limits_agree(errors: Errors, path: str, name: str, values: JSON) -> None:
    for small, large, field, shown, words in _ORDER:
        low, high = values.get(small), values.get(large)
        if low is None or high is None:
            continue
        if quantity.parse(low).nano > quantity.parse(high).nano:
            errors.invalid(f"{path}.{field}[{name}]", values[shown], words.format(low, high))
    ratio = values.get("maxLimitRequestRatio")
    low, high = values.get("min"), values.get("max")
    if ratio is not None:
        where, number = f"{path}.maxLimitRequestRatio[{name}]", quantity.parse(ratio).nano
        if number < 10**9:
            errors.invalid(where, ratio, f"ratio {ratio} is less than 1")
        if low is not None and high is not None and quantity.parse(low).nano:
            most = quantity.parse(high).nano / quantity.parse(low).nano
            if number / 10**9 > most:
                detail = f"ratio {ratio} is greater than max/min = {most:f}"
                errors.invalid(where, ratio, detail)
    default, request = values.get("default"), values.get("defaultRequest")
    if name in CONTAINER_RESOURCES or name == "storage" or not default or not request:
        return
    if quantity.parse(default).nano != quantity.parse(request).nano:
        detail = f"default value {default} must equal to defaultRequest value {request} in "
        errors.invalid(f"{path}.defaultRequest[{name}]", request, f"{detail}{name}")
