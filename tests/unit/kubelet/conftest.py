"""A node with a kubelet under a real API server, in virtual time."""

import asyncio
import json
from contextlib import aclosing

import pytest

from podwire.api import kinds
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client import http1
from podwire.client.api import Client
from podwire.client.counters import LogOptions, User
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.kubelet import daemon
from podwire.kubelet.state import KubeletConfig
from podwire.kubelet.streams import Streams
from podwire.runtime import sim
from podwire.runtime.tasks import Nursery
from podwire.store.embedded import EmbeddedStore
from tests.unit.kubelet.fakes import FakeCni, FakeFabric, FakeSockets

ADMIN = User("admin", ("system:masters", "system:authenticated"))
CONFLIST = {
    "cniVersion": "0.3.1",
    "name": "cbr0",
    "plugins": [{"type": "flannel"}, {"type": "portmap", "capabilities": {"portMappings": True}}],
}


class Link:
    """The way to the API server, which a story can cut."""

    def __init__(self, api):
        self._api = api
        self.up = True

    async def restored(self):
        await asyncio.get_running_loop().create_future()

    async def send(self, request):
        if not self.up:
            raise ConnectionError("connect: network is unreachable")
        return await self._api.send(request)


class Node:
    """What a story has to work with."""

    def __init__(self, env, server, profile, network=True, commons=None):
        self.env, self.server = env, server
        self.link = Link(DirectApi(server, ADMIN))
        self.client = Client(DirectApi(server, ADMIN))
        self.fabric, self.cni = FakeFabric(), FakeCni()
        self.sockets = FakeSockets(self.cni, env.clock)
        self.streams = Streams()
        self.answers = {}
        """HTTP status that the web image gives, by pod name."""
        self.exits = {}
        """Exit codes that the batch image returns in turn, by container name."""
        self.started = []
        if network:
            self.plug_in()
        hosts = [RoomHost((image,), getattr(self, f"_{image}")) for image in IMAGES]
        config = KubeletConfig("node-1", profile, streams=self.streams, commons=commons)
        self.ctx = Ctx(
            self.link, self.fabric, self.sockets, self.cni, tuple(hosts), self.streams,
            env.clock, env.rng, env.ids, env.trace, env.log, config,
        )  # fmt: skip

    def plug_in(self):
        self.fabric.disk["/etc/cni/net.d/10-flannel.conflist"] = json.dumps(CONFLIST).encode()
        self.fabric._tell("/etc/cni/net.d/10-flannel.conflist")

    def restart(self):
        """Start the (next) kubelet."""
        self.kubelet = self.nursery.start(daemon.run(self.ctx), name="kubelet")

    # ------------------------------------------------------------ programs, by image

    async def _sleeper(self, process):
        """Waits for TERM."""
        self.started.append(process)
        process.out(f"hello from {process.spec.name}")
        await process.terminated()
        process.out("bye")
        return 0

    async def _stubborn(self, process):
        """Ignores TERM."""
        self.started.append(process)
        await asyncio.get_running_loop().create_future()

    async def _batch(self, process):
        """Runs a second, then exits as the story wants."""
        self.started.append(process)
        process.out(f"run {len(self.started)}")
        await self.env.clock.sleep(1)
        return self.exits[process.spec.name].pop(0)

    async def _web(self, process):
        """Answers HTTP on 8080."""
        self.started.append(process)
        spec = process.spec
        listener = await process.sockets.listen(spec.node, spec.netns, "", 8080)

        async def answer(_request):
            return http1.text("", self.answers.get(spec.pod, 200))

        await http1.serve(listener, answer)
        return 0

    # ------------------------------------------------------------ doing and seeing

    async def pod(self, name="p", image="sleeper", containers=None, **spec):
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": "node-1",
                "containers": containers or [{"name": "c", "image": image}],
                "restartPolicy": "Always",
                **spec,
            },
        }
        return await self.client.create(kinds.POD, body, "default")

    async def until(self, wanted, name="p", limit_s=1200.0):
        """Wait until the pod (None: gone) fulfils ``wanted``; the pod as it is then."""
        seen = None
        async with asyncio.timeout(limit_s):
            stream = self.client.watch(
                kinds.POD, "default", field_selector=f"metadata.name={name}", initial_events=True
            )
            async with aclosing(stream):
                async for event in stream:
                    if event.type == "DELETED":
                        seen = None
                    elif event.type != "BOOKMARK":
                        seen = event.object
                    elif seen is not None or not event.object.metadata.annotations:
                        continue
                    if wanted(seen):
                        return seen
        raise AssertionError("the watch ended")

    async def ready(self, name="p"):
        return await self.until(lambda pod: pod is not None and pod.ready, name)

    async def gone(self, name="p"):
        return await self.until(lambda pod: pod is None, name)

    async def delete(self, name="p", grace_s=None):
        await self.client.delete(kinds.POD, name, "default", grace_period_seconds=grace_s)

    async def events(self, *reasons, name="p"):
        """(reason, message) of the pod's events in order of first occurrence."""
        await self.env.clock.sleep(0.001)  # the recorder writes in the background
        listed = (await self.client.list(kinds.EVENT, "default")).items
        found = [e for e in listed if e.involved_object.name == name]
        return [(e.reason, e.message) for e in found if not reasons or e.reason in reasons]

    async def run(self, *argv, name="p", container="c"):
        """Run a command in a container: its exit code and output."""
        session = await self.streams.exec("node-1", "default", name, container, argv, tty=False)
        await session.send_stdin(b"")
        output = b"".join([data async for _, data in session.output()])
        return await session.wait(), output.decode()

    async def log(self, name="p", container="c", **options):
        lines = await self.streams.logs("node-1", "default", name, container, LogOptions(**options))
        return b"".join([chunk async for chunk in lines]).decode()


IMAGES = ("sleeper", "stubborn", "batch", "web")


def state(pod, index=0):
    """The shown state of a container as (state, reason)."""
    if not pod.status.container_statuses:
        return "", ""
    status = pod.status.container_statuses[index]
    ((name, detail),) = status.state.items()
    return name, detail.get("reason", "")


@pytest.fixture
def simulate():
    """Run a story beside a kubelet on node-1 in virtual time."""

    def run(story, seed=0, profile="fast", network=True, commons=None):
        async def main(env):
            store = EmbeddedStore(env.clock, env.trace)
            server = Apiserver(env, store)
            await server.start()
            node = Node(env, server, profile, network, commons)
            for name in ("default", "kube-node-lease"):
                await node.client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
            await node.client.create(
                kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default"
            )
            async with Nursery() as nursery:
                node.nursery = nursery
                node.restart()
                result = await story(node)
                nursery.cancel()
            server.stop()
            await store.close()
            return result

        return sim.run(main, seed)

    return run
