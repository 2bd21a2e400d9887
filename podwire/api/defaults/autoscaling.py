"""Defaults of HorizontalPodAutoscalers.

Source: kubernetes pkg/apis/autoscaling/v1/defaults.go and v2/defaults.go.
"""

from __future__ import annotations

from podwire.api.view import JSON

TARGET_CPU_PERCENT = 80


def default_autoscaler_v1(obj: JSON) -> None:
    """At least one replica."""
    obj["spec"].setdefault("minReplicas", 1)


def default_autoscaler(obj: JSON) -> None:
    """At least one replica, four fifths of the requested CPU; rules that are named are complete."""
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": TARGET_CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    up = behavior.setdefault("scaleUp", {})
    up.setdefault("stabilizationWindowSeconds", 0)
    _rules(up, [{"type": "Pods", "value": 4, "periodSeconds": 15}, _hundred_percent()])
    _rules(behavior.setdefault("scaleDown", {}), [_hundred_percent()])


def _rules(rules: JSON, policies: list[JSON]) -> None:
    rules.setdefault("selectPolicy", "Max")
    rules.setdefault("policies", policies)


def _hundred_percent() -> JSON:
    return {"type": "Percent", "value": 100, "periodSeconds": 15}
