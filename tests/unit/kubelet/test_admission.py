"""A node's own look at pods that were given to it around the scheduler."""

from __future__ import annotations

import pytest

from podwire.api import kinds

ASKS = {"name": "c", "image": "sleeper"}


def asking(**requests):
    """A container with requests."""
    return [{**ASKS, "resources": {"requests": requests}}]


def listening(port, **more):
    """A container with a port of the node."""
    return [{**ASKS, "ports": [{"containerPort": 80, "hostPort": port, **more}]}]


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"containers": asking(cpu="3")}, "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000",
        ),
        (
            {"containers": asking(memory="1Ti")}, "OutOfmemory",
            "Node didn't have enough resource: memory, requested: 1099511627776, used: 0, capacity",
        ),
        (
            {"containers": [ASKS], "nodeSelector": {"disk": "ssd"}}, "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            {"containers": listening(8080, hostIP="10.0.0.1")}, "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod",
        ),
        (
            {"containers": [ASKS], "os": {"name": "windows"}}, "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_what_does_not_fit_fails(simulate, spec, reason, message):
    """With upstream's reason; it never starts, and leaves when it is deleted."""

    async def story(node):
        first = [asking(cpu="2")[0] | listening(8080)[0]]
        await node.pod("first", containers=first)
        await node.ready("first")
        await node.pod("late", **spec)
        late = await node.until(lambda p: p.status.phase == "Failed", "late")
        assert late.status.reason == reason
        assert late.status.message.startswith(f"Pod was rejected: {message}")
        assert late.status.start_time
        assert not late.status.container_statuses
        assert [r for r, _ in await node.events(reason, name="late")] == [reason]
        await node.delete("late")
        await node.gone("late")

    simulate(story)


def test_room_counts_once_a_pod_has_ended(simulate):
    """An init container's requests count where they are the larger ones."""

    async def story(node):
        setup = [{**asking(cpu="3")[0], "name": "i"}]
        await node.pod("first", containers=asking(cpu="1"), initContainers=setup)
        await node.pod("second", containers=asking(cpu="2"))
        refused = await node.until(lambda p: p.status.phase == "Failed", "second")
        assert "requested: 2000, used: 3000, capacity: 4000" in refused.status.message
        await node.delete("first", grace_s=1)
        await node.gone("first")
        await node.pod("third", containers=asking(cpu="4"))
        await node.until(lambda p: p.status.phase == "Running", "third")
        second = await node.client.get(kinds.POD, "second", "default")
        assert second.status.phase == "Failed", "what was refused stays so"

    simulate(story)
