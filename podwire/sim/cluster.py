"""``Cluster``: every room of one cluster, composed in one process.

The same composition runs in real time (``podwire up``) and in virtual time (tests, ``trace -f``,
chaos); only the loop, the clock and the links differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from podwire import coredns, ingress
from podwire.api import kinds
from podwire.apiserver import components, frontproxy
from podwire.apiserver.certs import Authority
from podwire.apiserver.frontproxy import FrontProxy
from podwire.apiserver.own import Own
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.apiserver.traces import Tracer
from podwire.client import leases
from podwire.client.api import Client
from podwire.client.common import Commons
from podwire.client.counters import Api, ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.identity import room_user
from podwire.cni.hosts import hosts as cni_hosts
from podwire.cni.runtime import CniPlugins
from podwire.controllers.config import ControllersConfig
from podwire.controllers.shell import run as run_controllers
from podwire.fabric.hardware import Fabric
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.group import Together
from podwire.kube_proxy.shell import host as kube_proxy_host
from podwire.kubelet.daemon import run as run_kubelet
from podwire.kubelet.programs.host import ProgramHost
from podwire.kubelet.state import KubeletConfig
from podwire.kubelet.streams import Streams
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from podwire.scheduler.shell import run as run_scheduler
from podwire.sim import outside, serving, whatif
from podwire.sim.keeping import Kept, new_front_proxy
from podwire.sim.link import LinkedApi
from podwire.sim.machines import Machines
from podwire.sim.readiness import life_ids, wait_until_up
from podwire.sim.settings import APISERVER, CONTROL_PLANE, ClusterSettings
from podwire.sim.snapshots import Snapshot
from podwire.store import Store
from podwire.store.embedded import EmbeddedStore

_LINK_DELAY_S = 0.0004
_LINK_JITTER_S = 0.0006


@dataclass(slots=True)
class Room:
    """A room that was started."""

    name: str
    task: asyncio.Task[None]

    @property
    def component(self) -> components.Component:
        """How it ended."""
        if self.task.cancelled() or not self.task.exception():
            return components.Component(self.name, components.STOPPED)
        return components.Component(self.name, components.FAILED, repr(self.task.exception()))


class Cluster:
    """One cluster: ``start`` brings up its rooms, ``stop`` ends them, the API server last."""

    def __init__(
        self,
        env: Env,
        settings: ClusterSettings,
        kept: Kept | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        """``kept``: what outlives the process; ``snapshot``: what the store begins with."""
        self.env = env
        self._kept = kept
        self._snapshot = snapshot
        self._past: frozenset[str] = frozenset()
        self.settings = settings
        self._started_ns = env.clock.monotonic_ns()
        delays = {} if env.virtual else {"link_delay_s": 0.0, "link_jitter_s": 0.0,
                                         "local_delay_s": 0.0}  # fmt: skip
        self.fabric = Fabric(
            env.clock, env.rng.child("fabric"), env.ids, env.trace, env.log,
            prefix_length=settings.node_prefix_length, **delays,
        )  # fmt: skip
        self.authority = kept.authority if kept else Authority(env.secret, env.clock.now_ns())
        self.streams = Streams(lambda node: self.fabric.wire.is_up(CONTROL_PLANE, node))
        self.store: Store = kept.store if kept else EmbeddedStore(env.clock, env.trace)
        served = serving.config(settings)
        self.server = Apiserver(env, self.store, config=served, kubelets=self.streams)
        self.admin_api = DirectApi(self.server, APISERVER)
        self.client = Client(self.admin_api)
        # Every room has this process's clock: what a Lease says of itself is right.
        self._renewals = components.Renewals(env.clock)
        self.tracer = Tracer(
            self.client,
            self.fabric,
            self.streams,
            whatif.compiler(settings),
            self.elapsed_s,
        )
        self.api_address: Callable[[], str] = str
        """The API server's real address; it has none in virtual time."""
        self.on_failure: Callable[[str, Exception], None] | None = None
        """Told when a room fails; a simulation ends there."""
        self.rooms: dict[str, Room] = {}
        self.machines = Machines(self)
        self._cni = CniPlugins(self.fabric, env.rng)
        # In virtual time nodes hear of things, and act, at moments of their own.
        self._commons = None if env.virtual else Commons()
        self._together = Together(env.clock, self._commons) if self._commons else None
        self._rendered = Shared(self._together)
        self._serve()

    def elapsed_s(self) -> float:
        """Seconds since the cluster was made."""
        return (self.env.clock.monotonic_ns() - self._started_ns) / 1e9

    def _serve(self) -> None:
        """Everything the API server answers beside its registry."""
        own = Own(
            self.tracer,
            self.fabric,
            lambda: self.api_address(),  # noqa: PLW0108  it is set later
            self.components,
            self.wait_ready,
            self.machines,
        )
        kept = self._kept
        key = kept.identity.accounts_key if kept else new_signing_key(self.env.secret)
        self._issuer = Issuer(key)
        pair = kept.identity.front_proxy if kept else new_front_proxy(self.env)
        front = Authority(self.env.secret, self.env.clock.now_ns(), pair)
        self.front_proxy = FrontProxy(
            front.pem, front.client(frontproxy.CLIENT, ()), self.authority.pem
        )
        serving.equip(self.server, own, self._issuer, self.front_proxy)
        self._end_audit = serving.audit(self.server, self.settings)

    # -- what the API server shows of the composition

    async def components(self) -> dict[str, Any]:
        """The rooms and their state: by their Leases, and by their tasks where those ended."""
        ended = [room.component for room in self.rooms.values() if room.task.done()]
        own = components.Component("apiserver", components.READY)
        return await components.listing(self.client, self._renewals, [own, *ended])

    async def wait_ready(self) -> None:
        """Until nodes and the pods of kube-system are Ready."""
        ctx = self.room_ctx("readiness")
        await wait_until_up(self.settings, self.client, ctx, self._past)

    # -- life

    async def start(self, nursery: Nursery) -> None:
        """Bring up hardware, API server, controllers, scheduler, kubelets; apply the addons.

        Returns when the API server is ready and every room was started.
        """
        known = (self._kept.identity.machine_id,) if self._kept else ()
        outside.add_machines(self.fabric, self.settings, *known)
        if self._snapshot is not None:
            await self._snapshot.restore(self.store, self.env.ids)
        await self.server.start()
        self._past = frozenset(await self._left_behind()) - {""}
        await outside.start_gateway(self.fabric, nursery, self.settings)
        nursery.start(
            outside.serve_control_plane(await outside.open_control_plane(self.fabric), self.server),
            name="control plane",
        )
        restored = self._snapshot is not None
        await serving.create_addons(self.server, self.client, self.settings, restored=restored)
        config = ControllersConfig(
            sign=self.authority.sign,
            sign_token=self._issuer.sign_for_secret,
            root_ca=self.authority.pem.decode(),
            cluster_cidr=self.settings.pod_cidrs,
        )
        self._start_room("controllers", run_controllers(self.room_ctx("controllers", config)))
        self._start_room("scheduler", run_scheduler(self.room_ctx("scheduler")))
        if self._together is not None:
            nursery.start(self._together.run(), name="kube-proxies")
        for name in self.settings.node_names:
            self.start_kubelet(name)
        for name in ("controllers", "scheduler"):
            ctx = self.room_ctx(f"{name}/lease")
            lease = leases.of_component(ctx, Client(ctx.api), name, name)
            nursery.start(lease.run(), name=f"lease of {name}")

    async def _left_behind(self) -> list[str]:
        """What an earlier life of this cluster wrote about its machines and containers."""
        nodes = await self.client.list(kinds.NODE)
        pods = await self.client.list(kinds.POD)
        return list(life_ids(nodes.items, pods.items))

    def start_kubelet(self, node: str) -> None:
        """Start the kubelet of a node."""
        config = KubeletConfig(
            node=node,
            time_profile=self.settings.time_profile,
            streams=self.streams,
            cluster_dns=(self.settings.dns_address,),
            labels=self.settings.node_labels(node),
            commons=self._commons,
        )
        agents = self.room_ctx(f"agents/{node}", node=node)
        hosts: tuple[ContainerHost, ...] = (
            kube_proxy_host(agents, self._rendered),
            *cni_hosts(agents, self._commons),
            coredns.host(agents),
            ingress.host(agents),
            ProgramHost(self.room_ctx(f"programs/{node}", node=node)),
        )
        ctx = self.room_ctx(f"kubelet/{node}", config, node, hosts)
        self._start_room(f"kubelet/{node}", run_kubelet(ctx))

    async def stop(self) -> None:
        """Stop the rooms, the API server last."""
        for room in reversed(self.rooms.values()):
            room.task.cancel()
        await asyncio.gather(*(room.task for room in self.rooms.values()), return_exceptions=True)
        self.server.stop()
        self._end_audit()
        await self.fabric.close()
        await self.store.close()

    async def stop_room(self, name: str) -> None:
        """Stop one room (chaos: a kubelet that dies)."""
        room = self.rooms[name]
        room.task.cancel()
        await asyncio.gather(room.task, return_exceptions=True)

    def _start_room(self, name: str, main: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._attended(name, main), name=name)
        # Cancelled before its first step, ``main`` was never awaited: it must not say so later.
        task.add_done_callback(lambda _: main.close())
        self.rooms[name] = Room(name, task)

    async def _attended(self, name: str, main: Coroutine[Any, Any, None]) -> None:
        """A failing room says so at once: in the log, in ``get components``, to ``on_failure``."""
        try:
            await main
        except Exception as error:
            self.env.log.exception("room failed", room=name)
            if self.on_failure is not None:
                self.on_failure(name, error)
            raise

    def room_ctx(
        self, room: str, config: Any = None, node: str = "", hosts: tuple[ContainerHost, ...] = ()
    ) -> Ctx:
        """What a room gets. Those on a node (its kubelet, its agents) share the node's link."""
        env = self.env
        return Ctx(
            api=self._api(room, node),
            fabric=self.fabric,
            sockets=self.fabric,
            cni=self._cni,
            hosts=hosts,
            kubelets=self.streams,
            clock=env.clock,
            rng=env.rng.child(room),
            ids=env.ids,
            trace=env.trace,
            log=env.log.bind(room=room),
            config=config,
        )

    def _api(self, room: str, node: str) -> Api:
        direct = DirectApi(self.server, room_user(room.partition("/")[0]))
        if not self.env.virtual:
            return direct
        return LinkedApi(
            direct,
            self.env.clock,
            self.env.rng.child(f"link/{room}"),
            delay_s=_LINK_DELAY_S,
            jitter_s=_LINK_JITTER_S,
            up=lambda: not node or self.fabric.wire.is_up(node, CONTROL_PLANE),
        )

    # -- objects
