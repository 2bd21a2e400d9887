"""What an autoscaler's metrics and limits say is what kubernetes' own calculator said.

Source: kubernetes pkg/controller/podautoscaler (horizontal_test.go, replica_calculator_test.go),
recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.views import Pod, PodMetrics
from podwire.api.views.autoscaling import Behavior
from podwire.controllers.podautoscaler import replicas
from podwire.controllers.podautoscaler.limits import Memory, normalize
from podwire.controllers.podautoscaler.replicas import (
    CannotError,
    Question,
    Tolerances,
    by_utilization,
    by_value,
)
from tests.unit.controllers.upstream import Case, cases

NOW = 1_767_300_000 * NS
ROWS = cases("horizontal")


def _at(ago_s: float | None) -> int:
    """A time so long ago; none was told: long ago."""
    return NOW - round(ago_s * NS) if ago_s is not None else 0


def _pod(told: Case) -> Pod:
    containers, sidecars = (
        [{"name": name, "resources": {"requests": requests}} for name, requests in told[group]]
        for group in ("containers", "sidecars")
    )
    status: Case = {"phase": told["phase"]}
    if told.get("started") != "absent":
        status["startTime"] = format_time(_at(told.get("started")))
    if told.get("ready"):
        word, ago_s = told["ready"]
        changed = format_time(_at(ago_s))
        status["conditions"] = [{"type": "Ready", "status": word, "lastTransitionTime": changed}]
    gone = {"deletionTimestamp": format_time(NOW)} if told["dying"] else {}
    inits = [{**item, "restartPolicy": "Always"} for item in sidecars]
    spec = {"containers": containers, "initContainers": inits}
    return msgspec.convert(
        {"metadata": {"name": told["name"], **gone}, "spec": spec, "status": status}, Pod
    )


def _question(told: Case) -> Question:
    resource, container = told["resource"], told["container"]
    metrics = [
        msgspec.convert(
            {
                "metadata": {"name": name}, "timestamp": format_time(_at(ago_s)),
                "window": f"{window_s}s",
                "containers": [{"name": container or "c", "usage": {resource: f"{milli}m"}}],
            },
            PodMetrics,
        )
        for name, milli, window_s, ago_s in told["metrics"]
    ]  # fmt: skip
    tolerances = Tolerances(told["down"], told["up"])
    pods = [_pod(pod) for pod in told["pods"]]
    return Question(resource, container, told["current"], pods, metrics, tolerances, NOW)


@pytest.mark.parametrize("what", ["utilization", "value"])
def test_a_metric_asks_for_what_upstream_says(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas, share of the requests, average use; or the same error."""
    for told in (row for row in ROWS if row["what"] == what):
        for name, value in zip(("CPU_INITIALIZATION_S", "INITIAL_READINESS_S"), told["delays"],
                               strict=True):  # fmt: skip
            monkeypatch.setattr(replicas, name, value)
        ask = by_utilization if what == "utilization" else by_value
        answer: Any
        try:
            answer = list(ask(_question(told), told["target"]))
        except CannotError as error:
            answer = str(error)
        known = ("replicas", "utilization", "raw")
        expected = told.get("error") or [told[name] for name in known if name in told]
        assert answer == expected, told


def _behavior(told: Case | None, *, stabilized: bool) -> Behavior | None:
    if told is None:
        return None
    both = {}
    for name in ("scaleUp", "scaleDown"):
        rules = {"policies": [], **(told.get(name) or {})}
        both[name] = rules if stabilized else {**rules, "stabilizationWindowSeconds": 0}
    return msgspec.convert(both, Behavior)


def _dated(told: list[list[float]]) -> tuple[tuple[int, int], ...]:
    return tuple((_at(ago_s), int(number)) for ago_s, number in told)


@pytest.mark.parametrize("what", ["normalize", "rate"])
def test_a_size_is_held_to_the_limits_upstream_holds_it_to(what: str) -> None:
    """Bounds, rates of change, stabilization; and the conditions that tell of them."""
    for told in (row for row in ROWS if row["what"] == what):
        rules = _behavior(told.get("behavior"), stabilized=what == "normalize")
        kept = _dated(told["recommendations"]) if what == "normalize" else ()
        memory = Memory(kept, _dated(told["ups"]), _dated(told["downs"]))
        bounds = told["min"], told["max"]
        found = normalize(rules, bounds, told["current"], told["wanted"], memory, NOW)
        if what == "rate":
            expected = [told["desired"], told["reason"], told["message"]]
            assert [found.desired, *found.limit] == expected, told
            continue
        conditions = {
            "AbleToScale": ["True", *found.able],
            "ScalingLimited": ["True" if found.limited else "False", *found.limit],
        }
        assert (found.desired, conditions) == (told["desired"], told["conditions"]), told
