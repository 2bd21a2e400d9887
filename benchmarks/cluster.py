"""Whole clusters in this process, on the machine's clock, as ``podwire up`` has them (timings:
fast), without HTTPS: what pods, a boot and idling cost with so many nodes.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Node, Pod
from podwire.client.informer import Informers
from podwire.dataplane.commands import Command, RulesRestore
from podwire.runtime import env
from podwire.runtime.memory import fewer_collections, keep_what_lives
from podwire.runtime.tasks import Nursery
from podwire.sim.cluster import Cluster
from podwire.sim.settings import ClusterSettings

NODES = 1000
PODS = 10_000
APPLICATIONS = 100
"""Deployments of the settled cluster, each with a Service."""
ALONE = 50
"""Pods that are created one after the other."""
TOGETHER = 1000
"""Pods that are created at once."""
SERVICES = 100
"""Services that the created pods are endpoints of."""
IDLE_NODES = 100
IDLE_S = 60
QUIET_S = 1.0
IMAGE = "registry.k8s.io/pause:3.10"


class Programmed:
    """Which endpoints each node's kube-proxy has brought to its kernel."""

    def __init__(self, cluster: Cluster) -> None:
        self.moved = asyncio.Event()
        self._known: dict[str, int] = {}
        """Endpoint address -> which nodes know it, a bit each."""
        self._bits: dict[str, int] = {}
        self._texts: dict[str, list[str]] = {}
        self._execute = cluster.fabric.execute
        self._execute_all = cluster.fabric.execute_all
        cluster.fabric.execute = self._one  # type: ignore[method-assign]
        cluster.fabric.execute_all = self._all  # type: ignore[method-assign]

    def nodes(self, address: str) -> int:
        """How many nodes know it."""
        return self._known.get(address, 0).bit_count()

    async def _one(self, node: str, commands: Sequence[Command]) -> None:
        await self._execute(node, commands)
        self._take([node], commands)

    async def _all(self, nodes: Sequence[str], commands: Sequence[Command]) -> dict[str, str]:
        failed = await self._execute_all(nodes, commands)
        self._take([node for node in nodes if node not in failed], commands)
        return failed

    def _take(self, nodes: Sequence[str], commands: Sequence[Command]) -> None:
        texts = [command.text for command in commands if isinstance(command, RulesRestore)]
        if not texts:
            return
        mask = 0
        for node in nodes:
            mask |= 1 << self._bits.setdefault(node, len(self._bits))
        known = self._known
        for address in (each for text in texts for each in self._addresses(text)):
            before = known.get(address, 0)
            if before & mask != mask:
                known[address] = before | mask
        self.moved.set()

    def _addresses(self, text: str) -> list[str]:
        found = self._texts.get(text)
        if found is None:
            words = text.split("--to-destination ")[1:]
            found = list(dict.fromkeys(word.partition(":")[0] for word in words))
            if len(self._texts) > 64:
                self._texts.clear()
            self._texts[text] = found
        return found


class World:
    """A cluster, and what a bystander sees of it."""

    def __init__(self, nodes: int) -> None:
        self.settings = ClusterSettings(nodes=nodes, time_profile="fast")
        self.cluster = Cluster(env.real(1, "error"), self.settings)
        self.client = self.cluster.client
        self.programmed = Programmed(self.cluster)
        self.ready: dict[str, None] = {}
        """Nodes and pods that are Ready, by key."""
        self.addresses: dict[str, str] = {}
        """Pods' addresses by key."""
        self.endpoints: dict[str, None] = {}
        """Addresses that are ready in an EndpointSlice."""
        self.moved = asyncio.Event()

    async def life(self, nursery: Nursery) -> None:
        """Start everything."""
        await self.cluster.start(nursery)
        keep_what_lives()
        informers = Informers(self.client, self.cluster.room_ctx("bystander"))
        informers.informer(kinds.NODE).on_change(self._seen)
        informers.informer(kinds.POD).on_change(self._seen)
        informers.informer(kinds.ENDPOINT_SLICE).on_change(self._slice)
        nursery.start(informers.run(), name="bystander")

    def _seen(self, _old: Node | Pod | None, new: Node | Pod | None) -> None:
        if new is not None and new.ready and new.key not in self.ready:
            self.ready[new.key] = None
            if isinstance(new, Pod):
                self.addresses[new.key] = new.status.pod_ip
            self.moved.set()

    def _slice(self, _old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in new.endpoints if new is not None else ():
            if one.conditions.ready is not False:
                for address in one.addresses:
                    self.endpoints[address] = None

    async def until(self, condition: Callable[[], bool], moved: asyncio.Event) -> None:
        """Wait until something holds that ``moved`` tells of."""
        while not condition():
            moved.clear()
            await moved.wait()

    async def up(self, pods: int = 0) -> None:
        """Until all nodes, their agents and so many pods are Ready."""
        wanted = 3 * self.settings.nodes + 2 + pods
        await self.until(lambda: len(self.ready) >= wanted, self.moved)

    async def reached(self, keys: Sequence[str]) -> None:
        """Until every node knows these pods as endpoints."""
        await self.until(lambda: all(k in self.ready for k in keys), self.moved)
        nodes, knowing = self.settings.nodes, self.programmed.nodes
        addresses = [self.addresses[k] for k in keys]
        waiting = dict.fromkeys(addresses)

        def all_know() -> bool:
            while waiting:
                address = next(iter(waiting))
                if knowing(address) < nodes:
                    return False
                del waiting[address]
            return True

        await self.until(all_know, self.programmed.moved)


def pod_spec() -> JSON:
    """A pod that only is there."""
    return {"containers": [{"name": "app", "image": IMAGE, "ports": [{"containerPort": 80}]}]}


def service(name: str) -> JSON:
    """A Service of the pods with a label."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def deployment(name: str, replicas: int) -> JSON:
    """An application of such pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def peak_mib() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Stopwatch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall_s(self) -> float:
        """On the wall."""
        return time.perf_counter() - self._wall

    @property
    def cpu_s(self) -> float:
        """Of this process."""
        return time.process_time() - self._cpu

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s, processor {self.cpu_s:.1f} s"


def run(main: Callable[[Nursery], Coroutine[Any, Any, dict[str, str]]]) -> dict[str, str]:
    """Run a measurement; its cluster ends with it."""

    async def life() -> dict[str, str]:
        async with Nursery() as nursery:
            told = await main(nursery)
            nursery.cancel()
        return told

    with fewer_collections():
        return asyncio.run(life())


def settle(nodes: int = NODES, pods: int = PODS) -> dict[str, str]:
    """From nothing to all pods Ready and known to every node."""

    async def main(nursery: Nursery) -> dict[str, str]:
        watch = Stopwatch()
        world = World(nodes)
        await world.life(nursery)
        each = pods // APPLICATIONS
        for number in range(APPLICATIONS):
            await world.client.create(kinds.SERVICE, service(f"app-{number}"))
            await world.client.create(kinds.DEPLOYMENT, deployment(f"app-{number}", each))
        await world.up(each * APPLICATIONS)
        told = {f"{nodes} nodes, {pods} pods: all Ready": str(watch)}
        keys = [key for key in world.addresses if key.startswith("default/")]
        await world.reached(keys)
        told["every endpoint known to every node"] = str(watch)
        told["most memory"] = f"{peak_mib():.0f} MiB"
        await world.cluster.stop()
        return told

    return run(main)


async def _one_by_one(world: World) -> tuple[list[float], list[float]]:
    """Milliseconds on the wall and of processor time from a create until every node knows it."""
    walls, cpus = [], []
    for number in range(ALONE):
        watch = Stopwatch()
        await _create(world, f"one-{number}", f"svc-{number % SERVICES}")
        await world.reached([f"default/one-{number}"])
        walls.append(watch.wall_s * 1000)
        cpus.append(watch.cpu_s * 1000)
        await world.cluster.env.clock.sleep(0.05)
    return walls, cpus


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f}, {statistics.quantiles(values, n=100)[98]:.0f} ms"


async def _create(world: World, name: str, application: str) -> None:
    meta = {"name": name, "namespace": "default", "labels": {"app": application}}
    await world.client.create(kinds.POD, {"metadata": meta, "spec": pod_spec()})


def pods(nodes: int = NODES, together: int = TOGETHER) -> dict[str, str]:
    """Creation of pods until every node can send to them."""

    async def main(nursery: Nursery) -> dict[str, str]:
        world = World(nodes)
        await world.life(nursery)
        for number in range(SERVICES):
            await world.client.create(kinds.SERVICE, service(f"svc-{number}"))
        await world.up()
        await world.cluster.env.clock.sleep(QUIET_S)
        gc.collect()
        gc.freeze()
        walls, cpus = await _one_by_one(world)
        watch = Stopwatch()
        names = [f"all-{number}" for number in range(together)]
        for number, name in enumerate(names):
            await _create(world, name, f"svc-{number % SERVICES}")
        await world.reached([f"default/{name}" for name in names])
        told = {
            f"{nodes} nodes, one pod at a time, wall: median, p99": _spread(walls),
            "the same, processor time": _spread(cpus),
            f"{together} pods at once": str(watch),
            "the same, pods/s": f"{together / watch.wall_s:.0f}",
        }
        await world.cluster.stop()
        return told

    return run(main)


def idle(nodes: int = IDLE_NODES) -> dict[str, str]:
    """A cluster in which nothing happens, for a minute."""

    async def main(nursery: Nursery) -> dict[str, str]:
        world = World(nodes)
        await world.life(nursery)
        await world.up()
        await world.cluster.env.clock.sleep(5)
        watch = Stopwatch()
        await world.cluster.env.clock.sleep(IDLE_S)
        share = watch.cpu_s / watch.wall_s
        told = {f"{nodes} nodes idle for a minute, of one core": f"{share:.1%}"}
        await world.cluster.stop()
        return told

    return run(main)


if __name__ == "__main__":
    import sys

    name, *numbers = sys.argv[1:]
    wanted = {"pods": pods, "settle": settle, "idle": idle}[name]
    for label, value in wanted(*map(int, numbers)).items():
        print(f"{label:<62} {value}", flush=True)
