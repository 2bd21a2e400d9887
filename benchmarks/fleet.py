"""A cluster of 1,000 nodes as far as Services go: an API server, a kernel and a kube-proxy on each
node, 10,000 Services of five endpoints; no kubelets, no pods. In virtual time, on links with delay.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

from benchmarks import proxy
from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.apiserver.config import Config as ApiserverConfig
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import ContainerSpec, Sockets
from podwire.client.ctx import Ctx
from podwire.fabric.hardware import Fabric
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.shell import KubeProxy
from podwire.kubelet.streams import Streams
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from podwire.sim.link import LinkedApi
from podwire.sim.settings import ADMIN
from podwire.store.embedded import EmbeddedStore

CONFIG = "kind: KubeProxyConfiguration\nclusterCIDR: 10.128.0.0/9\nmode: {}\n"
IDLE_S = 600
START_S = 0.02
"""A rollout starts nodes one after the other."""
SERVICE_CIDR = "10.96.0.0/14"
PAGE_BYTES = 4096


class _Pod:
    """kube-proxy's process on a node."""

    def __init__(self, node: str, mode: str, sockets: Sockets) -> None:
        self.spec = ContainerSpec(
            f"kube-proxy-{node}", node, "", "kube-system", f"kube-proxy-{node}", "", "",
            "kube-proxy", "registry.k8s.io/kube-proxy:v1.37.1", ("kube-proxy", "--config=/c"),
        )  # fmt: skip
        self.sockets, self._config = sockets, CONFIG.format(mode).encode()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def out(self, line: str) -> None:
        """Logs are not kept."""

    err = out

    async def read_file(self, _: str) -> bytes:
        """The configuration."""
        return self._config

    async def terminated(self) -> str:
        """Wait for TERM."""
        return await self._ended

    def deliver(self, signal: str) -> None:
        """A signal."""
        self._ended.set_result(signal)


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def _fresh(body: JSON) -> JSON:
    """Without what the server gives out."""
    meta = {k: v for k, v in body["metadata"].items() if k not in {"uid", "resourceVersion"}}
    return {**body, "metadata": meta}


class _Fleet:
    def __init__(self, env: Env, mode: str) -> None:
        self.env, self.mode = env, mode
        self.fabric = Fabric(env.clock, env.rng, env.ids, env.trace, env.log)
        store = EmbeddedStore(env.clock, env.trace)
        self.server = Apiserver(
            env, store, config=ApiserverConfig(service_cidr=SERVICE_CIDR), kubelets=Streams()
        )
        self.client = Client(DirectApi(self.server, ADMIN))
        self.proxies: list[KubeProxy] = []
        self.told: dict[str, str] = {}
        self._spent_s = 0.0

    def tell(self, label: str, value: str) -> None:
        """One figure."""
        self.told[f"{self.mode}: {label}"] = value

    def processor_s(self) -> float:
        """Processor time since this was asked last."""
        before, self._spent_s = self._spent_s, time.process_time()
        return self._spent_s - before

    async def objects(self) -> None:
        """Nodes, Services and their endpoints."""
        await self.server.start()
        await self.client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
        for i in range(proxy.NODES):
            address = f"192.168.0.{i % 240 + 11}"  # no node speaks to another
            self.fabric.add_node(f"n{i}", address)
            status = {"addresses": [{"type": "InternalIP", "address": address}]}
            await self.client.create(kinds.NODE, {"metadata": {"name": f"n{i}"}, "status": status})
        for i in range(proxy.SERVICES):
            body = _fresh(to_json(proxy.service(i, local=False)))
            await self.client.create(kinds.SERVICE, body)
            body = _fresh({**to_json(proxy.endpoint_slice(i)), "addressType": "IPv4"})
            await self.client.create(kinds.ENDPOINT_SLICE, body)

    def start(self, nursery: Nursery) -> None:
        """A kube-proxy on each node."""
        shared, env = Shared(), self.env
        for i in range(proxy.NODES):
            node = f"n{i}"
            api = LinkedApi(
                DirectApi(self.server, ADMIN), env.clock, env.rng.child(f"link/{node}"),
                delay_s=0.0004, jitter_s=0.0006,
            )  # fmt: skip
            unused: Any = None
            ctx = Ctx(
                api=api, fabric=self.fabric, sockets=self.fabric, cni=unused, hosts=(),
                kubelets=unused, clock=env.clock, rng=env.rng.child(node), ids=env.ids,
                trace=env.trace, log=env.log,
            )  # fmt: skip
            process: Any = _Pod(node, self.mode, self.fabric)
            self.proxies.append(KubeProxy(ctx, process, shared))
            nursery.start(self._life(self.proxies[-1], i * START_S), name=f"kube-proxy {node}")

    async def _life(self, one: KubeProxy, after_s: float) -> int:
        await self.env.clock.sleep(after_s)
        return await one.run()

    async def synced(self, since_ns: int) -> None:
        """Wait until every node programmed what changed before this moment."""
        while not all(min(p.health.updated_ns.values(), default=0) > since_ns
                      and not p.health.pending_since_ns for p in self.proxies):  # fmt: skip
            await self.env.clock.sleep(0.05)

    async def run(self) -> None:
        """All figures of a mode."""
        await self.objects()
        gc.collect()
        gc.freeze()
        self.tell("API server, objects and 1,000 kernels, resident", f"{_resident_mib():.0f} MiB")
        self.processor_s()
        async with Nursery() as nursery:
            self.start(nursery)
            await self.synced(0)
            spent_s = self.processor_s()
            self.tell("1,000 kube-proxies started and synced, processor", f"{spent_s:.0f} s")
            gc.collect()
            self.tell("resident then", f"{_resident_mib():.0f} MiB")
            for number in range(proxy.CHANGES):
                began_ns = self.env.clock.now_ns()
                self.processor_s()
                ends = to_json(proxy.endpoint_slice(number, endpoints=4))["endpoints"]
                slice_ = f"s{number}-x"
                await self.client.patch(
                    kinds.ENDPOINT_SLICE, slice_, {"endpoints": ends}, "default"
                )
                await self.synced(began_ns)
                spent_s = self.processor_s()
                self.tell(f"endpoint change {number + 1}, all nodes, processor", f"{spent_s:.2f} s")
            await self.env.clock.sleep(60)
            self.processor_s()
            await self.env.clock.sleep(IDLE_S)
            self.tell("10 idle minutes, processor", f"{self.processor_s():.2f} s")
            self.tell("resident at the end", f"{_resident_mib():.0f} MiB")
            nursery.cancel()
        self.server.stop()


def fleet(*modes: str) -> dict[str, str]:
    """All figures of this file; of the iptables mode unless told otherwise."""
    told = {}
    for mode in modes or ("iptables",):

        async def main(env: Env, mode: str = mode) -> None:
            world = _Fleet(env, mode)
            try:
                await world.run()
            finally:
                told.update(world.told)

        sim.run(main, horizon_s=7200)
    return told


if __name__ == "__main__":
    import sys

    for label, value in fleet(*sys.argv[1:]).items():
        print(f"{label:<62} {value}", flush=True)
