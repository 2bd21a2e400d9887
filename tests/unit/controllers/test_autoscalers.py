"""Decisions of autoscalers: what metrics ask for, and how far and fast they get it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.views import HorizontalPodAutoscaler, Pod, PodMetrics
from podwire.api.views.autoscaling import Behavior, Scale
from podwire.client.effects import Effect, Emit, Patch
from podwire.controllers.podautoscaler import core
from podwire.controllers.podautoscaler.core import Seen
from podwire.controllers.podautoscaler.limits import Memory, normalize
from podwire.controllers.podautoscaler.replicas import (
    CannotError,
    Question,
    Tolerances,
    by_utilization,
    by_value,
)

NOW = 1_767_300_000 * NS


def pod(name: str, request: str = "1", **facts: Any) -> Pod:
    """A pod that became Ready ``ready_s`` ago."""
    status = str(facts.get("ready", True))
    since = format_time(NOW - facts.get("ready_s", 1000) * NS)
    requests = {"requests": {"cpu": request}} if request else {}
    body = {
        "metadata": {
            "name": name,
            **({"deletionTimestamp": since} if facts.get("dying") else {}),
        },
        "spec": {"containers": [{"name": "c", "resources": requests}]},
        "status": {
            "phase": facts.get("phase", "Running"),
            "startTime": format_time(NOW - facts.get("start_s", 1005) * NS),
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}],
        },
    }
    return msgspec.convert(body, Pod)


def use(name: str, cpu: str) -> PodMetrics:
    body = {
        "metadata": {"name": name},
        "timestamp": format_time(NOW),
        "window": "15s",
        "containers": [{"name": "c", "usage": {"cpu": cpu}}],
    }
    return msgspec.convert(body, PodMetrics)


def question(pods: list[Pod], cpus: list[str], **more: Any) -> Question:
    """``cpus``: the use of the first pods."""
    names = [p.metadata.name for p in pods]
    metrics = [use(name, cpu) for name, cpu in zip(names, cpus, strict=False)]
    current = more.get("current", len(pods))
    return Question("cpu", more.get("container", ""), current, pods, metrics, Tolerances(), NOW)


def some(count: int, request: str = "1") -> list[Pod]:
    return [pod(f"p{i}", request) for i in range(count)]


UNREADY = pod("u", ready=False, ready_s=20, start_s=25)
OTHER_UNREADY = pod("v", ready=False, ready_s=20, start_s=25)
HOT = pod("h", ready_s=10, start_s=15)


@pytest.mark.parametrize(
    ("pods", "cpus", "target", "replicas"),
    [
        # From kubernetes replica_calculator_test.go: TestReplicaCalcResourceScale ...
        (some(3), ["300m", "500m", "700m"], 30, 5),
        ([UNREADY, *some(2)], ["300m", "500m", "700m"], 30, 4),
        ([HOT, *some(2)], ["300m", "500m", "700m"], 30, 4),
        ([*some(1), UNREADY, OTHER_UNREADY], ["400m", "500m", "700m"], 30, 3),
        ([*some(2), pod("x", phase="Failed"), pod("y", dying=True)], ["500m", "700m"], 30, 4),
        (some(5), ["100m", "300m", "500m", "250m", "250m"], 50, 3),
        ([*some(3), UNREADY, OTHER_UNREADY], ["100m", "300m", "500m", "250m", "250m"], 50, 2),
        ([*some(1), *(pod(f"q{i}", phase="Pending") for i in range(4))], ["100m"], 50, 1),
        # ... and TestReplicaCalcResourceMissingMetrics.
        (some(4), ["400m", "95m"], 100, 3),
        (some(2), ["1"], 100, 2),
        (some(2), ["1900m"], 100, 2),
        (some(2), ["600m"], 100, 2),
        ([UNREADY, *some(2)], ["100m", "450m"], 50, 3),
        ([HOT, *some(2)], ["100m", "450m"], 50, 3),
        ([UNREADY, *some(3)], ["100m", "100m", "100m"], 50, 3),
        ([UNREADY, *some(2)], ["100m", "2"], 50, 4),
    ],
)
def test_utilization_asks_for_replicas(
    pods: list[Pod], cpus: list[str], target: int, replicas: int
) -> None:
    """Pods of which nothing is known count as what changes least."""
    assert by_utilization(question(pods, cpus), target)[0] == replicas


def test_a_metric_that_cannot_be_judged_says_why():
    """In upstream's words."""
    with pytest.raises(CannotError, match="missing request for cpu in container c of Pod p0"):
        by_utilization(question(some(1, ""), ["1"]), 50)
    with pytest.raises(CannotError, match="no pods returned by selector"):
        by_value(question([], []), 100)
    with pytest.raises(CannotError, match="did not receive metrics for targeted pods"):
        by_value(question([pod("a", phase="Pending")], []), 100)
    strange = replace(question(some(1), ["1"]), container="x", metrics=[_other()])
    with pytest.raises(CannotError, match="container x not found in Pod p0"):
        by_utilization(strange, 50)


def _other() -> PodMetrics:
    return msgspec.convert(
        {"metadata": {"name": "p0"}, "timestamp": format_time(NOW), "window": "15s",
         "containers": [{"name": "x", "usage": {"cpu": "1"}}]},
        PodMetrics,
    )  # fmt: skip


def test_an_average_value_needs_no_requests():
    """averageValue of 100m, 250m used."""
    assert by_value(question(some(2, ""), ["200m", "300m"]), 100) == (5, 250)


# ---------------------------------------------------------------- limits


def behavior(up: dict[str, Any] | None = None, down: dict[str, Any] | None = None) -> Behavior:
    """Rules; as the API defaults them where nothing is said."""
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
    defaults_up = {"stabilizationWindowSeconds": 0, "policies": [pods, percent]}
    both = {
        "scaleUp": {**defaults_up, **(up or {})},
        "scaleDown": {"policies": [percent], **(down or {})},
    }
    return msgspec.convert(both, Behavior)


@pytest.mark.parametrize(
    ("rules", "current", "wanted", "size", "reason"),
    [
        (None, 3, 5, 5, "DesiredWithinRange"),
        (None, 3, 20, 6, "ScaleUpLimit"),
        (None, 1, 20, 4, "ScaleUpLimit"),
        (None, 8, 20, 10, "TooManyReplicas"),
        (None, 3, 0, 1, "TooFewReplicas"),
        (behavior(), 1, 20, 5, "ScaleUpLimit"),
        (behavior(), 5, 20, 10, "TooManyReplicas"),
        (behavior({"selectPolicy": "Min"}), 2, 9, 4, "ScaleUpLimit"),
        (behavior({"selectPolicy": "Disabled"}), 2, 9, 2, "ScaleUpLimit"),
        (
            behavior(down={"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}),
            9, 2, 7, "ScaleDownLimit",
        ),
        (
            behavior(down={"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}),
            9, 2, 8, "ScaleDownLimit",
        ),
        (behavior(), 9, 0, 1, "TooFewReplicas"),
    ],
)  # fmt: skip
def test_a_size_is_held_to_bounds_and_rates(
    rules: Behavior | None, current: int, wanted: int, size: int, reason: str
) -> None:
    """Between 1 and 10 replicas; nothing was recommended before."""
    found = normalize(rules, (1, 10), current, wanted, Memory(), NOW)
    assert (found.desired, found.limit[0]) == (size, reason)
    assert found.limited == (reason != "DesiredWithinRange")


def test_going_down_waits_for_the_highest_recent_recommendation():
    """Five minutes, unless the behavior says otherwise; going up has no wait by default."""
    memory = Memory(((NOW - 200 * NS, 8), (NOW - 400 * NS, 9)))
    plain = normalize(None, (1, 10), 8, 2, memory, NOW)
    assert (plain.desired, plain.able[0]) == (8, "ScaleDownStabilized")
    short = behavior(down={"stabilizationWindowSeconds": 100})
    assert normalize(short, (1, 10), 8, 2, memory, NOW).desired == 2
    slow = behavior({"stabilizationWindowSeconds": 300})
    held = normalize(slow, (1, 10), 2, 6, Memory(((NOW - 100 * NS, 3),)), NOW)
    assert (held.desired, held.able[0]) == (3, "ScaleUpStabilized")


def test_a_rate_counts_what_was_done_within_its_period():
    """Four pods per minute: three were added half a minute ago, one more may be."""
    rules = behavior({"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]})
    memory = Memory().scaled(rules, 2, 5, NOW - 30 * NS)
    assert normalize(rules, (1, 20), 5, 20, memory, NOW).desired == 6
    assert normalize(rules, (1, 20), 5, 20, memory, NOW + 60 * NS).desired == 9


# ---------------------------------------------------------------- whole passes


def autoscaler(**spec: Any) -> HorizontalPodAutoscaler:
    target = {"type": "Utilization", "averageUtilization": 50}
    full = {
        "scaleTargetRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        **spec,
    }
    meta = {"name": "web", "namespace": "default", "uid": "h", "generation": 3}
    return msgspec.convert({"metadata": meta, "spec": full}, HorizontalPodAutoscaler)


def scale(replicas: int, selector: str = "app=web") -> Scale:
    status = {"replicas": replicas, "selector": selector}
    return msgspec.convert({"spec": {"replicas": replicas}, "status": status}, Scale)


def run(item: HorizontalPodAutoscaler, seen: Seen, refused: str = "") -> tuple[Any, list[Effect]]:
    decision = core.begin(item, Memory(), NOW)
    core.decide(decision, seen)
    return decision, core.finish(decision, refused)


def conditions(effects: list[Effect]) -> dict[str, tuple[str, str]]:
    patch = next(e for e in effects if isinstance(e, Patch)).patch["status"]
    return {c["type"]: (c["status"], c["reason"]) for c in patch["conditions"]}


def events(effects: list[Effect]) -> list[str]:
    return [f"{e.reason}: {e.message}" for e in effects if isinstance(e, Emit)]


def test_a_loaded_deployment_is_scaled_and_told():
    """Event, conditions, current metrics, generation."""
    seen = Seen(scale(2), some(2), [use("p0", "900m"), use("p1", "700m")])
    decision, effects = run(autoscaler(), seen)
    assert (decision.rescale, decision.desired) == (True, 4)
    metric = "cpu resource utilization (percentage of request)"
    assert events(effects) == [f"SuccessfulRescale: New size: 4; reason: {metric} above target"]
    assert conditions(effects) == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
        "ScaledToZero": ("False", "NotScaledToZero"),
    }
    status = next(e for e in effects if isinstance(e, Patch)).patch["status"]
    current = {"averageUtilization": 80, "averageValue": "800m"}
    assert status["currentMetrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "current": current}}
    ]
    assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
    assert status["lastScaleTime"] == format_time(NOW)


@pytest.mark.parametrize(
    ("seen", "spec", "condition", "reason"),
    [
        (Seen(scale(0), [], []), {}, "ScalingActive", "ScalingDisabled"),
        (Seen(scale(12), [], []), {}, "AbleToScale", "SucceededRescale"),
        (Seen(scale(1), [], []), {"minReplicas": 3}, "AbleToScale", "SucceededRescale"),
        (Seen(scale(2, ""), [], []), {}, "ScalingActive", "InvalidSelector"),
        (Seen(scale(2), some(2), [], "x"), {}, "ScalingActive", "FailedGetResourceMetric"),
        (
            Seen(scale(2), some(2), [], rivals=("default/a", "default/web")),
            {}, "ScalingActive", "AmbiguousSelector",
        ),
        (
            Seen(scale(2), some(2), []),
            {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {}}}]},
            "ScalingActive", "FailedGetPodsMetric",
        ),
        (
            Seen(scale(2), some(2), []),
            {"metrics": [{"type": "External", "external": {"metric": {"name": "q"}}}]},
            "ScalingActive", "FailedGetExternalMetric",
        ),
    ],
)  # fmt: skip
def test_conditions_tell_what_keeps_it(
    seen: Seen, spec: dict[str, Any], condition: str, reason: str
) -> None:
    """With upstream's reasons."""
    _, effects = run(autoscaler(**spec), seen)
    assert conditions(effects)[condition][1] == reason


def test_one_metric_that_fails_does_not_keep_it_from_going_up():
    """But from going down: the failed one might want more."""
    broken = {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {}}}
    target = {"type": "Utilization", "averageUtilization": 50}
    metrics = [broken, {"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    up = Seen(scale(2), some(2), [use("p0", "900m"), use("p1", "700m")])
    assert run(autoscaler(metrics=metrics), up)[0].desired == 4
    down = Seen(scale(2), some(2), [use("p0", "1m"), use("p1", "1m")])
    decision, effects = run(autoscaler(metrics=metrics), down)
    assert not decision.rescale
    assert conditions(effects)["ScalingActive"] == ("False", "FailedGetPodsMetric")


def test_a_refused_rescale_is_told():
    """The size stays; AbleToScale is False."""
    seen = Seen(scale(2), some(2), [use("p0", "900m"), use("p1", "700m")])
    _, effects = run(autoscaler(), seen, "not today")
    assert conditions(effects)["AbleToScale"] == ("False", "FailedUpdateScale")
    assert "FailedRescale: New size: 4" in events(effects)[-1]


def test_a_tolerance_of_its_own_lets_small_differences_pass():
    """spec.behavior.scaleUp.tolerance."""
    seen = Seen(scale(2), some(2), [use("p0", "600m"), use("p1", "600m")])
    assert run(autoscaler(), seen)[0].rescale
    patient = {"scaleUp": {"tolerance": "500m", "policies": []}}
    assert not run(autoscaler(behavior=patient), seen)[0].rescale
