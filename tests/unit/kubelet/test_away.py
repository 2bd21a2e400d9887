"""Rooms that kubelet needs and that go away: those of images and of CNI plugins."""

import asyncio
import json

from podwire.client.counters import CniOutput
from podwire.client.hosting import RoomHost


class Away(RoomHost):
    """A host whose room comes and goes."""

    def __init__(self, images, program):
        super().__init__(images, program)
        self.back = asyncio.Event()
        self.fails = 0

    async def available(self):
        await self.back.wait()

    async def start(self, process):
        if self.fails:
            self.fails -= 1
            raise ConnectionError("lost kube-proxy")
        return await super().start(process)


def test_a_pod_whose_room_is_away_waits_for_it_and_can_be_deleted(simulate):
    """Deletion interrupts the wait; another pod starts as soon as the room is there."""

    async def story(node):
        away = Away(("elsewhere",), node._sleeper)
        object.__setattr__(node.ctx, "hosts", (*node.ctx.hosts, away))
        await node.pod(image="elsewhere")
        await node.until(lambda p: p.status.pod_ips)
        await node.env.clock.sleep(60)
        assert not node.started
        await node.delete(grace_s=1)
        await node.until(lambda p: p is None, limit_s=10)
        assert node.fabric.netns() == []

        await node.pod("q", image="elsewhere")
        await node.env.clock.sleep(60)
        away.back.set()
        await node.ready("q")

    simulate(story)


def test_a_room_lost_while_it_starts_a_container_has_lost_that_container(simulate):
    """No StartError, no crash loop: another instance starts, by the pod's restart policy."""

    async def story(node):
        away = Away(("elsewhere",), node._sleeper)
        away.back.set()
        away.fails = 1
        object.__setattr__(node.ctx, "hosts", (*node.ctx.hosts, away))
        await node.pod(image="elsewhere")
        pod = await node.ready()
        status = pod.status.container_statuses[0]
        last = status.last_state["terminated"]
        assert (last["exitCode"], last["reason"]) == (137, "ContainerStatusUnknown")
        assert status.restart_count == 1
        assert await node.events("Failed", "BackOff") == []

    simulate(story)


def test_a_room_lost_while_its_pod_is_stopped_ends_that_pod_and_no_other(simulate):
    """What TERM was sent to is gone: deletion goes on, and so does the kubelet."""

    class Lost:
        def __init__(self, gone):
            self._gone = gone

        async def wait(self):
            await self._gone.wait()
            raise ConnectionError("lost kube-proxy")

        def signal(self, name):
            if name == "TERM":
                self._gone.set()

    class Room(RoomHost):
        async def start(self, process):
            return Lost(asyncio.Event())

    async def story(node):
        object.__setattr__(
            node.ctx, "hosts", (*node.ctx.hosts, Room(("elsewhere",), node._sleeper))
        )
        await node.pod(image="elsewhere")
        await node.pod("q")
        await node.ready()
        await node.ready("q")
        await node.delete()
        await node.until(lambda p: p is None, limit_s=60)
        await node.delete("q")
        await node.gone("q")

    simulate(story)


def test_a_plugin_that_is_interrupted_is_tried_again(simulate):
    """ADD by the next sandbox, DEL by itself: what it leaves behind nobody else would undo."""

    async def story(node):
        execute, interrupted = node.cni.execute, {"ADD": 2, "DEL": 3}

        async def flaky(name, plugin, env, stdin):
            verb = env["CNI_COMMAND"]
            if plugin == "flannel" and interrupted[verb]:
                interrupted[verb] -= 1
                document = {"code": 11, "msg": "the plugin was interrupted", "details": "lost cni"}
                return CniOutput(json.dumps(document).encode(), 1)
            return await execute(name, plugin, env, stdin)

        node.cni.execute = flaky
        await node.pod()
        await node.ready()
        failures = await node.events("FailedCreatePodSandBox")
        assert failures
        assert failures[0][1].endswith("failed (add): the plugin was interrupted; lost cni")
        await node.delete()
        await node.gone()
        assert node.cni.verbs().count(("DEL", "flannel")) == 3
        assert not interrupted["DEL"]
        assert node.fabric.netns() == []

    simulate(story)


def test_a_pod_that_waits_for_the_plugins_room_can_be_deleted(simulate):
    async def story(node):
        back = asyncio.Event()
        node.cni.available = back.wait
        await node.pod()
        await node.env.clock.sleep(60)
        await node.delete(grace_s=1)
        await node.until(lambda p: p is None, limit_s=10)
        await node.pod("q")
        await node.env.clock.sleep(60)
        back.set()
        await node.ready("q")

    simulate(story)
