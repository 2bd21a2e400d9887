"""A node that is shut down with care ends its pods in order."""

import json

from podwire.api import kinds
from podwire.kubelet.shutdown import POWER_OFF

MESSAGE = "Pod was terminated in response to imminent node shutdown."


async def critical(node, **spec):
    body = {
        "metadata": {"name": "system-node-critical"},
        "value": 2_000_001_000,
    }
    await node.client.create(kinds.PRIORITY_CLASS, body)
    return await node.pod("critical", priorityClassName="system-node-critical", **spec)


def test_regular_pods_end_before_critical_ones(simulate):
    """Each failed, with the reason; the node says that it shuts down and takes no more."""

    async def story(node):
        await node.pod("slow", image="stubborn", terminationGracePeriodSeconds=600)
        await critical(node)
        await node.ready("slow")
        await node.ready("critical")
        began = node.env.clock.monotonic_ns()
        await node.streams.run("node-1", POWER_OFF)
        took_s = (node.env.clock.monotonic_ns() - began) / 1e9
        assert 20 <= took_s < 21
        ends = []
        for name in ("slow", "critical"):
            pod = await node.until(lambda p: p.status.phase == "Failed", name)
            status = pod.status
            assert (status.reason, status.message) == ("Terminated", MESSAGE)
            target = pod.condition("DisruptionTarget")
            assert (target.status, target.reason) == ("True", "TerminationByKubelet")
            ended = status.container_statuses[0].state["terminated"]
            ends.append((ended["finishedAt"], ended["exitCode"]))
        assert ends[0][0] <= ends[1][0]
        assert [code for _, code in ends] == [137, 0]
        seen = await node.client.get(kinds.NODE, "node-1")
        ready = next(c for c in seen.status.conditions if c.type == "Ready")
        assert (ready.status, ready.message) == ("False", "node is shutting down")
        assert ("Shutdown", "Shutdown manager detected shutdown event") in await node.events(
            name="node-1"
        )
        await node.pod("late")
        late = await node.until(lambda p: p.status.phase == "Failed", "late")
        assert late.status.reason == "NodeShutdown"
        assert late.status.message == (
            "Pod was rejected: Pod was rejected as the node is shutting down."
        )

    simulate(story)


def test_a_node_without_pods_goes_down_at_once_and_comes_back(simulate):
    """Pods that failed stay so; new ones run."""

    async def story(node):
        await node.pod()
        await node.ready()
        began = node.env.clock.monotonic_ns()
        await node.streams.run("node-1", POWER_OFF)
        assert node.env.clock.monotonic_ns() - began < 1e9
        node.kubelet.cancel()
        await node.env.clock.sleep(1)
        node.restart()
        await node.pod("q")
        await node.ready("q")
        assert (await node.client.get(kinds.POD, "p", "default")).status.phase == "Failed"

    simulate(story)


def test_a_static_pod_runs_again_after_the_boot_and_its_mirror_tells_no_more_of_the_end(simulate):
    """Reason, message and condition go; the mirror is the same object."""

    async def story(node):
        spec = {"containers": [{"name": "c", "image": "sleeper"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s"}, "spec": spec}
        data = json.dumps(body).encode()
        await node.fabric.write_file("node-1", "/etc/kubernetes/manifests/s.json", data)
        before = await node.ready("s-node-1")
        await node.streams.run("node-1", POWER_OFF)
        ended = await node.client.get(kinds.POD, "s-node-1", "default")
        assert (ended.status.phase, ended.status.reason) == ("Failed", "Terminated")
        node.kubelet.cancel()
        await node.env.clock.sleep(1)
        node.restart()
        pod = await node.ready("s-node-1")
        assert pod.metadata.uid == before.metadata.uid
        assert (pod.status.phase, pod.status.reason, pod.status.message) == ("Running", "", "")
        assert pod.condition("DisruptionTarget") is None

    simulate(story)
