"""Ended pods are kept up to a number: kubernetes pkg/controller/podgc/gc_controller_test.go."""

from __future__ import annotations

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.times import format_time
from podwire.api.views import Pod
from podwire.controllers.config import ControllersConfig
from podwire.controllers.podgc import core
from tests.unit.controllers.cluster import Cluster, play


def body(number: int, name: str, phase: str, reason: str = "") -> dict[str, object]:
    """The n-th pod."""
    meta = {"name": name, "namespace": "default", "creationTimestamp": format_time(number * 10**9)}
    return {"metadata": meta, "status": {"phase": phase, "reason": reason}}


@pytest.mark.parametrize(
    ("pods", "threshold", "gone"),
    [  # TestGCTerminated
        ("a:Failed b:Succeeded c:Failed", 1, "a b"),
        ("a:Running b:Succeeded c:Failed", 1, "b"),
        ("a:Failed b:Succeeded", 1, "a"),
        ("a:Failed b:Succeeded", 5, ""),
        ("a:Failed b:Succeeded c:Failed:Evicted", 1, "c a"),
    ],
)
def test_ended_pods_beyond_the_threshold_go(pods: str, threshold: int, gone: str) -> None:
    """Evicted ones first, then the oldest."""
    made = [
        msgspec.convert(body(n, *words.split(":")), Pod) for n, words in enumerate(pods.split())
    ]
    ended = [pod for pod in made if core.is_over(pod)]
    found = core.surplus(ended, threshold)
    assert [pod.metadata.name for pod in found] == gone.split()


def test_the_collector_keeps_as_many_as_it_was_told():
    """--terminated-pod-gc-threshold: the oldest go at the next tick, those that run stay."""

    async def story(c: Cluster) -> None:
        for number, word in enumerate(("Failed", "Running", "Succeeded", "Failed", "Succeeded")):
            c.api.put(kinds.POD, body(number, f"p{number}", word))
        await c.env.clock.sleep(2 * core.CHECK_PERIOD_S)
        left = [key for kind, key in c.api.objects if kind is kinds.POD]
        assert sorted(left) == ["default/p1", "default/p3", "default/p4"]

    play(story, config=ControllersConfig(terminated_pod_gc_threshold=2))
