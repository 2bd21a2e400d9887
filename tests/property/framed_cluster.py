"""A virtual cluster whose rooms meet through encode and decode: each counter over a pipe."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from podwire.client.accounts import named
from podwire.client.counters import ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.framed.api import FramedApi, serve_api
from podwire.client.framed.cni import FramedCni, serve_cni
from podwire.client.framed.fabric import FramedFabric, serve_fabric
from podwire.client.framed.hosts import FramedHost, Processes, serve_hosts
from podwire.client.framed.kubelets import FramedKubelets, serve_kubelets
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.client.framed.sockets import FramedSockets, serve_sockets
from podwire.kubelet.programs.host import ProgramHost
from podwire.sim.cluster import Cluster


class _Link(PipeEnd):
    """A pipe that can be kept like a dialled link."""

    why = ""

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


class FramedCluster(Cluster):
    """As ``Cluster``, but nothing crosses between rooms that a wire could not carry."""

    def __init__(self, env: Any, settings: Any, **more: Any) -> None:
        super().__init__(env, settings, **more)
        self.server.kubelets = FramedKubelets(lambda node: f"{node}:7443", self._kubelet)  # type: ignore[arg-type]

    def room_ctx(
        self, room: str, config: Any = None, node: str = "", hosts: tuple[ContainerHost, ...] = ()
    ) -> Ctx:
        ctx = super().room_ctx(room, config, node)

        def counters(session: Any) -> Table:
            table = Table()
            # Rooms that share a process's link here are rooms of their own on a wire.
            serve_api(table, ctx.api, session, lambda _, name: named(name))
            serve_fabric(table, ctx.fabric)
            serve_sockets(table, ctx.sockets, session)
            serve_cni(table, ctx.cni)
            return table

        near, _ = pipe(self.env.clock, self.env.log, (room, "others"), (None, counters))
        return replace(
            ctx,
            api=FramedApi(near),
            fabric=FramedFabric(near),
            sockets=FramedSockets(near),
            cni=FramedCni(near),
            hosts=tuple(map(self._framed_host, hosts)),
        )

    def _framed_host(self, host: ContainerHost) -> ContainerHost:
        if isinstance(host, ProgramHost):
            return host  # kubelet's own
        processes = Processes()

        def serve(session: Any) -> Table:
            table = Table()
            serve_hosts(table, [host], self.fabric, session)
            return table

        rooms = ("kubelet", "room")
        near, _ = pipe(self.env.clock, self.env.log, rooms, (processes.serve, serve))
        images = host._repositories  # type: ignore[attr-defined]
        return FramedHost(near, images, processes)

    def _kubelet(self, _address: str) -> _Link:
        def serve(session: Any) -> Table:
            table = Table()
            serve_kubelets(table, self.streams, session)
            return table

        rooms = ("apiserver", "kubelet")
        near, _far = pipe(self.env.clock, self.env.log, rooms, (None, serve))
        return _Link(near.session())
