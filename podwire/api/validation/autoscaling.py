"""Validation of HorizontalPodAutoscalers (both versions) and of Scales.

Source: kubernetes pkg/apis/autoscaling/validation.
"""

from __future__ import annotations

from podwire.api import names, quantity
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.validation.syntax import container_resource_name, path_segment
from podwire.api.view import JSON

_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SOURCES = ("object", "external", "pods", "resource", "containerResource")
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_TARGETS = ("AverageValue", "Utilization", "Value")
_MAX_WINDOW_S = 3600
_MAX_PERIOD_S = 1800


def check_autoscaler(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A HorizontalPodAutoscaler."""
    spec = new["spec"]
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    bound = 0 if old is not None and old["spec"].get("minReplicas") == 0 else 1
    if least is not None and least < bound:
        detail = f"must be greater than or equal to {bound}"
        errors.invalid("spec.minReplicas", least, detail)
    if most < 1:
        errors.invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        detail = "must be greater than or equal to `minReplicas`"
        errors.invalid("spec.maxReplicas", most, detail)
    _reference(errors, "spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None and percent < 1:
        errors.invalid("spec.targetCPUUtilizationPercentage", percent, "must be greater than 0")
    for i, metric in enumerate(spec.get("metrics") or ()):
        _metric(errors, f"spec.metrics[{i}]", metric)
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        if rules is not None:
            _rules(errors, f"spec.behavior.{name}", rules)


def _reference(errors: Errors, path: str, reference: JSON) -> None:
    path_segment(errors, f"{path}.kind", reference.get("kind", ""))
    path_segment(errors, f"{path}.name", reference.get("name", ""))


def _rules(errors: Errors, path: str, rules: JSON) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        detail = "must be greater than or equal to zero"
        errors.invalid(f"{path}.stabilizationWindowSeconds", window, detail)
    if window is not None and window > _MAX_WINDOW_S:
        detail = f"must be less than or equal to {_MAX_WINDOW_S}"
        errors.invalid(f"{path}.stabilizationWindowSeconds", window, detail)
    if "selectPolicy" in rules:
        errors.one_of(f"{path}.selectPolicy", rules["selectPolicy"], _SELECT)
    policies = rules.get("policies") or []
    if not policies:
        errors.required(f"{path}.policies", "must specify at least one Policy")
    for i, policy in enumerate(policies):
        where, period = f"{path}.policies[{i}]", policy.get("periodSeconds", 0)
        errors.one_of(f"{where}.type", policy.get("type", ""), _POLICIES)
        if policy.get("value", 0) <= 0:
            errors.invalid(f"{where}.value", policy.get("value", 0), "must be greater than zero")
        if period <= 0:
            errors.invalid(f"{where}.periodSeconds", period, "must be greater than zero")
        if period > _MAX_PERIOD_S:
            detail = f"must be less than or equal to {_MAX_PERIOD_S}"
            errors.invalid(f"{where}.periodSeconds", period, detail)


def _metric(errors: Errors, path: str, metric: JSON) -> None:
    kind = metric.get("type", "")
    if not kind:
        errors.required(f"{path}.type", "must specify a metric source type")
    errors.one_of(f"{path}.type", kind, _TYPES)
    given = [name for name in _SOURCES if name in metric]
    if given:
        _source(errors, f"{path}.{given[0]}", given[0], metric[given[0]])
    wanted = f"{kind[:1].lower()}{kind[1:]}" if kind in _TYPES else ""
    if wanted and wanted not in given:
        detail = "must populate information for the given metric source"
        errors.required(f"{path}.{wanted}", detail)
    if len(given) != 1:
        for name in sorted(given):
            if name != wanted:
                detail = "must populate the given metric source only"
                errors.forbidden(f"{path}.{name}", detail)


def _source(errors: Errors, path: str, kind: str, source: JSON) -> None:
    target = source.get("target") or {}
    if kind == "object":
        _reference(errors, f"{path}.describedObject", source.get("describedObject") or {})
    if kind in {"object", "external", "pods"}:
        identifier = source.get("metric") or {}
        path_segment(
            errors, f"{path}.metric.name", identifier.get("name", ""), "must specify a metric name"
        )
        if "selector" in identifier:
            meta.label_selector(errors, f"{path}.metric.selector", identifier["selector"])
    else:
        _named_resource(errors, path, kind, source)
    _target(errors, f"{path}.target", target)
    given = [name for name in ("value", "averageValue", "averageUtilization") if name in target]
    where = f"{path}.target"
    if kind == "pods":
        if "averageValue" not in given:
            detail = "must specify a positive target averageValue"
            errors.required(f"{where}.averageValue", detail)
    elif kind in {"object", "external"}:
        what = (
            "value or averageValue" if kind == "object" else "value for metric or a per-pod target"
        )
        if not {"value", "averageValue"} & set(given):
            errors.required(f"{where}.averageValue", f"must set either a target {what}")
        elif kind == "external" and {"value", "averageValue"} <= set(given):
            detail = "may not set both a target value for metric and a per-pod target"
            errors.forbidden(f"{where}.value", detail)
    elif not {"averageUtilization", "averageValue"} & set(given):
        detail = "must set either a target raw value or a target utilization"
        errors.required(f"{where}.averageUtilization", detail)
    elif {"averageUtilization", "averageValue"} <= set(given):
        detail = "may not set both a target raw value and a target utilization"
        errors.forbidden(f"{where}.averageValue", detail)


def _named_resource(errors: Errors, path: str, kind: str, source: JSON) -> None:
    name = source.get("name", "")
    if not name:
        errors.required(f"{path}.name", "must specify a resource name")
    elif kind == "containerResource":
        container_resource_name(errors, f"{path}.name", name)
    if kind == "containerResource":
        container = source.get("container", "")
        if not container:
            errors.required(f"{path}.container", "must specify a container")
        else:
            complaints = names.dns1123_label(container)
            errors.complaints(f"{path}.container", container, complaints)


def _target(errors: Errors, path: str, target: JSON) -> None:
    kind = target.get("type", "")
    if not kind:
        errors.required(f"{path}.type", "must specify a metric target type")
    elif kind not in _TARGETS:
        detail = "must be either Utilization, Value, or AverageValue"
        errors.invalid(f"{path}.type", kind, detail)
    for name in ("value", "averageValue"):
        if name in target and quantity.parse(target[name]).nano <= 0:
            errors.invalid(f"{path}.{name}", target[name], "must be positive")
    if target.get("averageUtilization", 1) < 1:
        detail = "must be greater than 0"
        errors.invalid(f"{path}.averageUtilization", target["averageUtilization"], detail)
