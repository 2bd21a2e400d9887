"""Views of HorizontalPodAutoscaler (autoscaling/v2) and Scale (autoscaling/v1)."""

from __future__ import annotations

from podwire.api.view import JSON, View
from podwire.api.views.meta import Object


class CrossVersionObjectReference(View, frozen=True, kw_only=True):
    """spec.scaleTargetRef."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class ScalingPolicy(View, frozen=True, kw_only=True):
    """behavior.scaleUp.policies[]."""

    type: str = ""
    value: int = 0
    period_seconds: int = 0


class ScalingRules(View, frozen=True, kw_only=True):
    """behavior.scaleUp and behavior.scaleDown."""

    stabilization_window_seconds: int | None = None
    select_policy: str = "Max"
    policies: list[ScalingPolicy] = []
    tolerance: str | None = None


class Behavior(View, frozen=True, kw_only=True):
    """spec.behavior."""

    scale_up: ScalingRules = ScalingRules()
    scale_down: ScalingRules = ScalingRules()


class HorizontalPodAutoscalerSpec(View, frozen=True, kw_only=True):
    """horizontalPodAutoscaler spec; ``metrics`` are kept as they are."""

    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference()
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: list[JSON] = []
    behavior: Behavior | None = None


class HorizontalPodAutoscaler(Object, frozen=True, kw_only=True):
    """autoscaling/v2 HorizontalPodAutoscaler."""

    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: JSON = {}


class ScaleSpec(View, frozen=True, kw_only=True):
    """scale spec."""

    replicas: int = 0


class ScaleStatus(View, frozen=True, kw_only=True):
    """scale status; ``selector`` is in text form."""

    replicas: int = 0
    selector: str = ""


class Scale(Object, frozen=True, kw_only=True):
    """autoscaling/v1 Scale."""

    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()
