"""The Node object and its Lease."""

import asyncio

from podwire.api import kinds
from podwire.api.times import NS, parse_time


async def node_when(node, wanted):
    stream = node.client.watch(kinds.NODE, initial_events=True)
    async for event in stream:
        if event.type != "BOOKMARK" and wanted(event.object):
            await stream.aclose()
            return event.object
    raise AssertionError


def ready_of(node):
    return next((c for c in node.status.conditions if c.type == "Ready"), None)


def test_a_node_registers_not_ready_until_a_cni_is_installed(simulate):
    """The message is the one every kubeadm user knows."""

    async def story(node):
        seen = await node_when(node, lambda n: n.status.conditions)
        condition = ready_of(seen)
        assert (condition.status, condition.reason) == ("False", "KubeletNotReady")
        assert condition.message == (
            "container runtime network not ready: NetworkReady=false "
            "reason:NetworkPluginNotReady message:Network plugin returns error: "
            "cni plugin not initialized"
        )
        assert seen.metadata.labels["kubernetes.io/hostname"] == "node-1"
        assert seen.internal_ip == "192.168.0.11"
        assert seen.status.allocatable["pods"] == "110"
        assert seen.status.node_info["kubeletVersion"] == "v1.37.1"
        await node.pod()
        await node.env.clock.sleep(1)
        (event,) = await node.events("NetworkNotReady")
        assert "cni plugin not initialized" in event[1]
        node.plug_in()
        seen = await node_when(node, lambda n: n.ready)
        assert [c.type for c in seen.status.conditions] == [
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
            "Ready",
        ]
        await node.ready()

    simulate(story, network=False)


def test_the_lease_is_renewed_every_ten_seconds(simulate):
    """40 s long, held by the node, owned by the Node object."""

    async def story(node):
        await node.env.clock.sleep(95)
        lease = await node.client.get(kinds.LEASE, "node-1", "kube-node-lease")
        assert lease.spec.holder_identity == "node-1"
        assert lease.spec.lease_duration_seconds == 40
        assert lease.metadata.owner_references[0].kind == "Node"
        age = node.env.clock.now_ns() - parse_time(lease.spec.renew_time)
        assert 0 <= age <= 11 * NS

    simulate(story)


def test_the_status_is_posted_every_five_minutes_and_at_once_when_somebody_says_unknown(simulate):
    """The node controller marks a node Unknown when its Lease expires; a living kubelet objects."""

    async def story(node):
        first = await node_when(node, lambda n: n.ready)
        await node.env.clock.sleep(301)
        later = await node.client.get(kinds.NODE, "node-1")
        beat = parse_time(ready_of(later).last_heartbeat_time)
        assert beat - parse_time(ready_of(first).last_heartbeat_time) == 300 * NS
        assert ready_of(later).last_transition_time == ready_of(first).last_transition_time
        unknown = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
        patch = {"status": {"conditions": unknown}}
        await node.client.patch(kinds.NODE, "node-1", patch, subresource="status")
        await node_when(node, lambda n: n.ready)

    simulate(story)


def test_a_reboot_is_told_and_the_pods_start_again(simulate):
    """Another boot id, an empty kernel, the same disk: leftovers of the CNI are undone first."""

    async def story(node):
        await node.pod()
        await node.ready()
        node.kubelet.cancel()
        await node.env.clock.sleep(0.1)
        node.fabric.boot_id = "boot-2"
        node.restart()
        await node.until(lambda p: p.ready and p.status.container_statuses[0].restart_count == 1)
        await node.env.clock.sleep(0.1)
        assert await node.events("Rebooted", name="node-1") == [
            ("Rebooted", "Node node-1 has been rebooted, boot id: boot-2")
        ]
        verbs = [verb for verb, _ in node.cni.verbs()]
        assert verbs == ["ADD", "ADD", "DEL", "DEL", "ADD", "ADD"]

    simulate(story)


def test_a_pod_deleted_before_a_new_kubelet_saw_it_is_let_go(simulate):
    """It never started here, so its status tells a start time of its own, and the object goes."""

    async def story(node):
        node.kubelet.cancel()
        await asyncio.gather(node.kubelet, return_exceptions=True)
        await node.pod()
        await node.delete()
        node.restart()
        await node.gone()
        assert not node.started

    simulate(story)


def test_a_kubelet_that_died_within_a_cni_add_leaves_nothing_behind(simulate):
    """The next one undoes the attachment that was never finished."""

    async def story(node):
        entered, execute = asyncio.Event(), node.cni.execute

        async def stuck(*call):
            entered.set()
            await asyncio.get_running_loop().create_future()

        node.cni.execute = stuck
        await node.pod()
        await entered.wait()
        (orphan,) = node.fabric.netns()
        node.kubelet.cancel()
        await asyncio.gather(node.kubelet, return_exceptions=True)
        node.cni.execute = execute
        node.restart()
        await node.ready()
        assert orphan not in node.fabric.netns()
        assert ("DEL", "flannel") in node.cni.verbs()

    simulate(story)
