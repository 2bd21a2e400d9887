"""autoscaling/v1 and v2 HorizontalPodAutoscaler.

v1 has one metric, the average utilization of CPU. What else v2 says travels in four annotations,
in the JSON form that v1 once had (behavior: in Go's own field names).
"""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api import structure
from podwire.api.schema import type_named
from podwire.api.view import JSON

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT_METRICS = f"{_PREFIX}metrics", f"{_PREFIX}current-metrics"
CONDITIONS, BEHAVIOR = f"{_PREFIX}conditions", f"{_PREFIX}behavior"
_ROUND_TRIP = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)

DEFAULT_CPU_UTILIZATION = 80
_SPEC = ("scaleTargetRef", "minReplicas", "maxReplicas")
_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")
_CONDITION = ("type", "status", "lastTransitionTime", "reason", "message")


def from_v2(hpa: JSON) -> JSON:
    """The v1 form."""
    spec, status = hpa.get("spec") or {}, hpa.get("status") or {}
    metadata = dict(hpa.get("metadata") or {})
    annotations = _without(metadata.get("annotations"))
    metrics = spec.get("metrics") or []
    others = [metric for metric in metrics if _utilization(metric) is None]
    if others:
        annotations[METRICS] = _text([_old_metric(metric) for metric in others])
    if status.get("currentMetrics"):
        annotations[CURRENT_METRICS] = _text([_old_status(m) for m in status["currentMetrics"]])
    if status.get("conditions"):
        annotations[CONDITIONS] = _text([_picked(c, _CONDITION) for c in status["conditions"]])
    if spec.get("behavior") is not None:
        annotations[BEHAVIOR] = _text(_old_behavior(spec["behavior"]))
    _put(metadata, "annotations", annotations)
    old_spec, old_status = _picked(spec, _SPEC), _picked(status, _STATUS)
    for metric in metrics:
        if _is_cpu(metric):
            if (found := _utilization(metric)) is not None:
                old_spec["targetCPUUtilizationPercentage"] = found
            break
    for metric in status.get("currentMetrics") or ():
        current = _part(_part(metric, "resource"), "current").get("averageUtilization")
        if _is_cpu(metric) and current is not None:
            old_status["currentCPUUtilizationPercentage"] = current
    return {"metadata": metadata, "spec": old_spec, "status": old_status}


def to_v2(hpa: JSON) -> JSON:
    """The v2 form; annotations that say nonsense are dropped."""
    spec, status = hpa.get("spec") or {}, hpa.get("status") or {}
    metadata = dict(hpa.get("metadata") or {})
    told = metadata.get("annotations") or {}
    _put(metadata, "annotations", _without(told))
    new_spec, new_status = _picked(spec, _SPEC), _picked(status, _STATUS)
    metrics = _listed(told.get(METRICS), _new_metric, "autoscaling.v2.MetricSpec")
    target = spec.get("targetCPUUtilizationPercentage")
    if target is None and not metrics:
        target = DEFAULT_CPU_UTILIZATION
    if target is not None:
        cpu = {"type": "Utilization", "averageUtilization": target}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": cpu}})
    new_spec["metrics"] = metrics
    behavior = _decoded(told.get(BEHAVIOR))
    if isinstance(behavior, dict):
        new = _checked(_new_behavior(behavior), "autoscaling.v2.HorizontalPodAutoscalerBehavior")
        _put(new_spec, "behavior", new)
    current = _listed(told.get(CURRENT_METRICS), _new_status, "autoscaling.v2.MetricStatus")
    percent = status.get("currentCPUUtilizationPercentage")
    if not current and percent is not None:
        resource = {"name": "cpu", "current": {"averageUtilization": percent}}
        current = [{"type": "Resource", "resource": resource}]
    _put(new_status, "currentMetrics", current)
    same = "autoscaling.v2.HorizontalPodAutoscalerCondition"
    _put(new_status, "conditions", _listed(told.get(CONDITIONS), dict, same))
    return {"metadata": metadata, "spec": new_spec, "status": new_status}


# ---------------------------------------------------------------- metrics


def _is_cpu(metric: JSON) -> bool:
    return metric.get("type") == "Resource" and _part(metric, "resource").get("name") == "cpu"


def _utilization(metric: JSON) -> int | None:
    """The target utilization of a CPU metric, None for any other metric."""
    if not _is_cpu(metric):
        return None
    found: int | None = metric["resource"]["target"].get("averageUtilization")
    return found


def _old_metric(metric: JSON) -> JSON:
    """A v2 MetricSpec as v1 wrote it."""
    return _old(metric, _SOURCES, "target")


def _old_status(metric: JSON) -> JSON:
    """A v2 MetricStatus as v1 wrote it."""
    return _old(metric, _CURRENT, "current")


def _old(metric: JSON, sources: tuple[tuple[str, str, str, str], ...], part: str) -> JSON:
    found: JSON = {"type": metric["type"]}
    for name, value, average, utilization in sources:
        if name in metric:
            found[name] = _old_source(metric[name], part, (value, average, utilization))
    return found


_SOURCES = (
    ("object", "targetValue", "averageValue", ""),
    ("pods", "", "targetAverageValue", ""),
    ("resource", "", "targetAverageValue", "targetAverageUtilization"),
    ("containerResource", "", "targetAverageValue", "targetAverageUtilization"),
    ("external", "targetValue", "targetAverageValue", ""),
)
"""Per source: v1's names of a target's value, average value and average utilization."""
_CURRENT = (
    ("object", "currentValue", "averageValue", ""),
    ("pods", "", "currentAverageValue", ""),
    ("resource", "", "currentAverageValue", "currentAverageUtilization"),
    ("containerResource", "", "currentAverageValue", "currentAverageUtilization"),
    ("external", "currentValue", "currentAverageValue", ""),
)


def _old_source(source: JSON, target: str, names: tuple[str, str, str]) -> JSON:
    """Name, selector and values of a metric source or status, one level up."""
    found: JSON = _picked(source, ("name", "container"))
    if "describedObject" in source:
        found["target"] = source["describedObject"]
    metric = source.get("metric")
    if metric is not None:
        found["metricName"] = metric.get("name", "")
        if "selector" in metric:
            key = "selector" if "describedObject" in source or not names[0] else "metricSelector"
            found[key] = metric["selector"]
    values = source.get(target) or {}
    for name, key in zip(names, ("value", "averageValue", "averageUtilization"), strict=True):
        if name and key in values:
            found[name] = values[key]
    if names[0] == f"{target}Value" and "describedObject" in source:
        found.setdefault(names[0], "0")  # v1 holds an object's value by value
    if target == "current" and names[1] == "currentAverageValue" and not names[0]:
        found.setdefault(names[1], "0")
    return found


def _new_metric(metric: JSON) -> JSON:
    """A v2 MetricSpec of what v1 wrote."""
    found: JSON = {"type": metric.get("type", "")}
    for name, value, average, utilization in _SOURCES:
        if name in metric:
            source = _new_source(metric[name])
            target = _values(metric[name], value, average, utilization)
            if name == "object" and "averageValue" in target:
                target.pop("value", None)
            kind = "Value" if "value" in target else "AverageValue"
            source["target"] = {
                "type": "Utilization" if "averageUtilization" in target else kind,
                **target,
            }
            found[name] = source
    return found


def _new_status(metric: JSON) -> JSON:
    found: JSON = {"type": metric.get("type", "")}
    for name, value, average, utilization in _CURRENT:
        if name in metric:
            current = _values(metric[name], value, average, utilization)
            found[name] = {**_new_source(metric[name]), "current": current}
    return found


def _values(source: JSON, value: str, average: str, utilization: str) -> JSON:
    named = ((value, "value"), (average, "averageValue"), (utilization, "averageUtilization"))
    return {key: source[name] for name, key in named if source.get(name) is not None}


def _new_source(source: JSON) -> JSON:
    found: JSON = _picked(source, ("name", "container"))
    if "target" in source:
        found["describedObject"] = source["target"]
    if "metricName" in source:
        found["metric"] = {"name": source["metricName"]}
        selector = source.get("selector", source.get("metricSelector"))
        if selector is not None:
            found["metric"]["selector"] = selector
    return found


# ---------------------------------------------------------------- behavior


def _old_behavior(behavior: JSON) -> JSON:
    return {
        "ScaleUp": _old_rules(behavior.get("scaleUp")),
        "ScaleDown": _old_rules(behavior.get("scaleDown")),
    }


def _old_rules(rules: JSON | None) -> JSON | None:
    if rules is None:
        return None
    policies = rules.get("policies")
    return {
        "StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
        "SelectPolicy": rules.get("selectPolicy"),
        "Policies": policies and [
            {name[0].upper() + name[1:]: value for name, value in policy.items()}
            for policy in policies
        ],
        "Tolerance": rules.get("tolerance"),
    }  # fmt: skip


def _new_behavior(behavior: JSON) -> JSON:
    """Go's field names with a small first letter, at every level; nulls left out."""
    return {
        name[:1].lower() + name[1:]: _lowered(value)
        for name, value in behavior.items()
        if value is not None
    }


def _lowered(value: Any) -> Any:
    if isinstance(value, dict):
        return _new_behavior(value)
    if isinstance(value, list):
        return [_lowered(item) for item in value]
    return value


# ---------------------------------------------------------------- small parts


def _picked(source: JSON, names: tuple[str, ...]) -> JSON:
    return {name: source[name] for name in names if name in source}


def _part(source: JSON, name: str) -> JSON:
    found: JSON = source.get(name) or {}
    return found


def _put(target: JSON, name: str, value: Any) -> None:
    """Set, or remove when there is nothing."""
    if value:
        target[name] = value
    else:
        target.pop(name, None)


def _without(annotations: dict[str, str] | None) -> dict[str, str]:
    kept = annotations or {}
    return {name: text for name, text in kept.items() if name not in _ROUND_TRIP}


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(text: str | None) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _listed(text: str | None, convert: Any, type_name: str) -> list[JSON]:
    """The objects of an annotation, converted; none at all if one of them is nonsense."""
    items = _decoded(text)
    if not isinstance(items, list) or not all(_shallow(item) for item in items):
        return []
    found = [_checked(convert(item), type_name) for item in items]
    return [item for item in found if item is not None] if None not in found else []


def _shallow(item: Any) -> bool:
    """Whether an item is an object whose parts are objects where conversion looks into them."""
    if not isinstance(item, dict):
        return False
    return all(isinstance(item.get(name, {}), dict) for name, *_ in _SOURCES)


def _checked(obj: JSON, type_name: str) -> JSON | None:
    """The object as decoded, None when it is none of the type."""
    try:
        return structure.check(type_named(type_name), obj)[0]
    except structure.StructureError:
        return None
