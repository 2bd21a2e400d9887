"""Kinds in two versions: nothing is lost on the way there and back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire.api import codec, conversion, kinds, schema, structure
from podwire.api.conversion.autoscaling import BEHAVIOR, CONDITIONS, CURRENT_METRICS, METRICS

V1, V2 = kinds.HORIZONTAL_POD_AUTOSCALER_V1, kinds.HORIZONTAL_POD_AUTOSCALER
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}
SOURCES: list[dict[str, Any]] = [
    {"type": "Resource",
     "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {"type": "Pods",
     "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
              "target": {"type": "AverageValue", "averageValue": "10"}}},
    {"type": "Object",
     "object": {"describedObject": {"kind": "Ingress", "name": "i", "apiVersion": "x/v1"},
                "metric": {"name": "hits"}, "target": {"type": "Value", "value": "5k"}}},
    {"type": "External",
     "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"q": "1"}}},
                  "target": {"type": "Value", "value": "30"}}},
    {"type": "ContainerResource",
     "containerResource": {"name": "cpu", "container": "c",
                           "target": {"type": "Utilization", "averageUtilization": 50}}},
]  # fmt: skip
BEHAVIOUR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
    }
}


def autoscaler(**spec: Any) -> dict[str, Any]:
    """A decoded v2 object."""
    body = {
        "metadata": {"name": "h", "annotations": {"mine": "x"}},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, **spec},
        "status": {
            "desiredReplicas": 1,
            "currentMetrics": [
                {"type": "Resource",
                 "resource": {"name": "cpu", "current": {"averageUtilization": 7,
                                                         "averageValue": "70m"}}},
            ],
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": "Ready"}],
        },
    }  # fmt: skip
    return codec.check(body, "autoscaling/v2", V2.kind, codec.STRICT).obj


def test_v1_shows_the_cpu_target_and_keeps_the_rest_in_annotations() -> None:
    """The names and forms of upstream's annotations."""
    shown = conversion.from_stored(V1, autoscaler(metrics=[CPU, SOURCES[0]], behavior=BEHAVIOUR))
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 60
    assert shown["status"]["currentCPUUtilizationPercentage"] == 7
    annotations = shown["metadata"]["annotations"]
    assert annotations.keys() == {"mine", METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR}
    assert json.loads(annotations[METRICS]) == [
        {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}
    ]
    assert json.loads(annotations[BEHAVIOR]) == {
        "ScaleUp": {
            "StabilizationWindowSeconds": 0,
            "SelectPolicy": "Max",
            "Policies": [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}],
            "Tolerance": None,
        },
        "ScaleDown": None,
    }


def test_v2_comes_back_from_v1_whole() -> None:
    """Every kind of metric source, behaviour, status; without upstream's annotations."""
    obj = autoscaler(metrics=[*SOURCES, CPU], behavior=BEHAVIOUR)
    assert conversion.to_stored(V1, conversion.from_stored(V1, obj)) == obj


def test_a_v1_object_without_a_target_gets_upstreams_default() -> None:
    """80 percent of CPU."""
    body = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}}
    stored = conversion.to_stored(V1, codec.check(body, "autoscaling/v1", V1.kind).obj)
    target = stored["spec"]["metrics"][0]["resource"]["target"]
    assert target == {"type": "Utilization", "averageUtilization": 80}


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"type": 1}]', '[{"resource": 3}]', '{"ScaleUp": 3}', "null", "[[]]"]
)
def test_annotations_that_say_nonsense_are_dropped(text: str) -> None:
    """They are the client's: never an error."""
    told = dict.fromkeys((METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR), text)
    body = {"metadata": {"annotations": told}, "spec": {"targetCPUUtilizationPercentage": 5}}
    stored = conversion.to_stored(V1, codec.check(body, "autoscaling/v1", V1.kind).obj)
    assert "annotations" not in stored["metadata"]
    assert len(stored["spec"]["metrics"]) == 1
    assert "behavior" not in stored["spec"]


def test_upstreams_fullest_event_is_the_same_in_both_versions() -> None:
    """Every field of v1 Event has its place in events.k8s.io/v1."""
    path = Path(__file__).parent / "testdata" / "upstream.json.gz"
    full = json.loads(gzip.decompress(path.read_bytes()))["v1/Event"]["json"]
    stored = codec.check(full, "v1", "Event", codec.STRICT).obj
    shown = conversion.from_stored(kinds.EVENTS_EVENT, stored)
    struct = schema.type_of(kinds.EVENTS_EVENT)
    assert struct is not None
    assert structure.check(struct, shown)[1] == []
    assert shown["note"] == stored["message"]
    assert shown["regarding"] == stored["involvedObject"]
    assert conversion.to_stored(kinds.EVENTS_EVENT, shown) == stored
    assert msgspec.json.encode(shown) != msgspec.json.encode(stored)
