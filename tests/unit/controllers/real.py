"""The same little cluster over the real API server, by its direct binding."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import STRATEGIC, Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.client.leases import LeaseHolder
from podwire.controllers import shell
from podwire.controllers.config import ControllersConfig
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from podwire.scheduler import shell as scheduler
from podwire.store.embedded import EmbeddedStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))


@dataclass
class World:
    """What a story has."""

    env: Env
    ctx: Ctx
    client: Client
    nursery: Nursery
    pods: Any
    stop_s: float = 1.0

    async def node(self, name: str) -> None:
        """Register a ready node and renew its Lease."""
        now = format_time(self.env.clock.now_ns())
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        await self.client.create(
            kinds.NODE, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
        )
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        await self.client.patch(
            kinds.NODE, name, {"status": status}, subresource="status", content_type=STRATEGIC
        )

        async def owner() -> JSON:
            node = await self.client.get(kinds.NODE, name)
            return {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata.uid}

        holder = LeaseHolder(
            self.ctx, self.client, name, namespace="kube-node-lease", identity=name, owner=owner
        )
        self.nursery.start(holder.run(), name=f"lease {name}")

    async def pod_loop(self, pod: Pod) -> None:
        """A pretended kubelet's work for one bound pod."""
        await self.env.clock.sleep(1)
        number = int(pod.metadata.uid[:6], 16)
        now = format_time(self.env.clock.now_ns())
        ip = f"10.244.{number % 250}.{number // 250 % 250}"
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        }
        await self._patch_status(pod, status)

    async def _patch_status(self, pod: Pod, status: JSON) -> None:
        meta = pod.metadata
        try:
            await self.client.patch(
                kinds.POD, meta.name, {"metadata": {"uid": meta.uid}, "status": status},
                meta.namespace, subresource="status", content_type=STRATEGIC,
            )  # fmt: skip
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    async def end(self, pod: Pod) -> None:
        """The pretended kubelet confirms a deletion."""
        await self.env.clock.sleep(self.stop_s)
        meta = pod.metadata
        try:
            await self.client.delete(
                kinds.POD, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0
            )
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    def kubelet(self, old: Pod | None, new: Pod | None) -> None:
        """Starts the work that a pod's change demands."""
        if new is None or not new.spec.node_name:
            return
        dying = bool(new.metadata.deletion_timestamp)
        if dying and (old is None or not old.metadata.deletion_timestamp):
            self.nursery.start(self.end(new), name=f"end {new.key}")
        elif not dying and (old is None or not old.spec.node_name):
            self.nursery.start(self.pod_loop(new), name=f"pod {new.key}")

    async def names(self, kind: Any, namespace: str = "default") -> list[str]:
        listed = await self.client.list(kind, namespace)
        return [item.metadata.name for item in listed.items]


Story = Callable[[World], Coroutine[Any, Any, None]]


def play(story: Story, seed: int = 0) -> None:
    """Run a story on the real API server in virtual time."""

    async def main(env: Env) -> None:
        store = EmbeddedStore(env.clock, env.trace)
        server = Apiserver(env, store, Config())
        await server.start()
        nothing: Any = None
        ctx = Ctx(
            DirectApi(server, ADMIN), nothing, nothing, nothing, (), nothing, env.clock, env.rng,
            env.ids, env.trace, env.log, ControllersConfig(root_ca="CA TEXT"),
        )  # fmt: skip
        client = Client(ctx.api)
        for name in ("default", "kube-node-lease"):
            try:
                await client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        async with Nursery() as nursery:
            informers = Informers(client, ctx)
            world = World(env, ctx, client, nursery, informers.informer(kinds.POD))
            world.pods.on_change(world.kubelet)
            nursery.start(informers.run(), name="story informers")
            nursery.start(shell.run(replace(ctx)), name="controllers")
            nursery.start(scheduler.run(ctx), name="scheduler")
            await story(world)
            nursery.cancel()
        server.stop()

    sim.run(main, seed, horizon_s=100_000)
