"""The scheduler at work on a fake API."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.client.counters import Request
from tests.unit.controllers.cluster import Cluster, play


def body(name: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu}}
    containers = [{"name": "c", "image": "x", "resources": resources}]
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": containers, **spec},
    }


def where(c: Cluster, name: str) -> str:
    return str(c.api.get(kinds.POD, f"default/{name}")["spec"].get("nodeName", ""))


def test_a_pod_is_bound_and_told_so():
    """Event Scheduled with upstream's message."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.POD, body("p"))
        await c.env.clock.sleep(1)
        assert where(c, "p") == "node-1"
        assert c.events("p") == ["Scheduled: Successfully assigned default/p to node-1"]

    play(story)


def test_an_unschedulable_pod_says_why_and_is_scheduled_when_a_node_comes():
    """Condition PodScheduled=False Unschedulable; no retry without a reason to."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.POD, body("big", cpu="6"))
        await c.env.clock.sleep(290)
        pod = c.api.get(kinds.POD, "default/big")
        (condition,) = pod["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "PodScheduled", "False", "Unschedulable"
        )  # fmt: skip
        assert condition["message"].startswith(
            "0/1 nodes are available: 1 Insufficient cpu. preemption:"
        )
        (event,) = [e for e in c.api.all(kinds.EVENT) if e["reason"] == "FailedScheduling"]
        assert event["count"] == 1, "nothing changed, so nothing was tried again"
        c.node("node-2", allocatable={"cpu": "8"})
        await c.env.clock.sleep(5)
        assert where(c, "big") == "node-2"

    play(story)


def test_a_deleted_pod_makes_room_for_the_next():
    """The waiting pod is tried when the other is gone."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.POD, body("first", cpu="3"))
        await c.env.clock.sleep(5)
        c.api.put(kinds.POD, body("second", cpu="3"))
        await c.env.clock.sleep(5)
        assert where(c, "second") == ""
        c.api.remove(kinds.POD, "default/first")
        await c.env.clock.sleep(5)
        assert where(c, "second") == "node-1"

    play(story)


def test_slow_bindings_never_overfill_a_node():
    """Ten pods at once, watch events 2 s late: assumed pods count."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.node("node-2")
        await c.env.clock.sleep(5)
        for n in range(10):
            c.api.put(kinds.POD, body(f"p{n}"))
        await c.env.clock.sleep(120)
        nodes = [where(c, f"p{n}") for n in range(10)]
        assert (nodes.count("node-1"), nodes.count("node-2"), nodes.count("")) == (4, 4, 2)

    play(story, watch_delay_s=2.0)


def test_a_failed_binding_frees_the_place_and_is_tried_again():
    """The server is unreachable for the first binding."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        await c.env.clock.sleep(1)
        failures: list[str] = []

        def refuse(request: Request) -> ApiError | None:
            if request.path.endswith("/binding") and len(failures) < 2:
                failures.append(request.path)
                raise ConnectionError("reset")
            return None

        c.api.refuse = refuse
        c.api.put(kinds.POD, body("p", cpu="4"))
        await c.env.clock.sleep(10)
        assert len(failures) == 2
        assert where(c, "p") == "node-1"

    play(story)


def test_priority_goes_first_and_gates_hold_a_pod_back():
    """Room for one: the important one gets it; the gated one waits until its gates are gone."""

    async def story(c: Cluster) -> None:
        gates = [{"name": "g"}]
        c.api.put(kinds.POD, body("gated", cpu="4", priority=10, schedulingGates=gates))
        c.api.put(kinds.POD, body("low", cpu="4"))
        c.api.put(kinds.POD, body("high", cpu="4", priority=10))
        await c.env.clock.sleep(30)
        c.node("node-1")
        await c.env.clock.sleep(30)
        assert (where(c, "high"), where(c, "low"), where(c, "gated")) == ("node-1", "", "")
        c.change(kinds.POD, "default/gated", schedulingGates=[])
        await c.env.clock.sleep(30)
        c.node("node-2")
        await c.env.clock.sleep(30)
        assert (where(c, "gated"), where(c, "low")) == ("node-2", "")

    play(story)


def test_pods_of_other_schedulers_are_left_alone():
    """spec.schedulerName decides."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.POD, body("p", schedulerName="mine"))
        await c.env.clock.sleep(10)
        assert where(c, "p") == ""
        assert c.events("p") == []

    play(story)
