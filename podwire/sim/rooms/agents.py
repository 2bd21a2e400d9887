"""The rooms whose programs run in pods: kube-proxy, CoreDNS, CNI agents, the Ingress controller.

They are container hosts: a kubelet dials them, and starts one program per pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from podwire.client.counters import Cni, ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.framed.api import FramedApi
from podwire.client.framed.cni import serve_cni
from podwire.client.framed.hosts import serve_hosts
from podwire.client.framed.methods import Table
from podwire.client.framed.session import Session
from podwire.sim.rooms.process import RoomProcess

PEERS = ("apiserver", "fabric")
CALLERS = ("kubelet",)

Hosts = Callable[[Ctx], Sequence[ContainerHost]]


async def host_programs(room: RoomProcess, hosts: Hosts, cni: Callable[[Ctx], Cni] | None) -> None:
    """Serve a room's programs (and its CNI plugins) to the kubelets."""
    api = room.link("apiserver")
    room.link("fabric")
    ctx = room.ctx(f"agents/{room.options.room}")
    implemented = hosts(ctx)
    plugins = cni(ctx) if cni is not None else None

    def serve(session: Session) -> Table:
        table = Table()
        serve_hosts(table, implemented, ctx.sockets, session)
        if plugins is not None:
            serve_cni(table, plugins)
        return table

    server = await room.serve(CALLERS, serve)
    server.pause("it has no fabric yet")
    room.hold_lease(FramedApi(api))
    await api.connected()
    room.nursery.start(room.with_fabric(_until_cancelled), name="programs")


async def _until_cancelled() -> None:
    """Kubelets start the programs; a room that hosts them has no other work."""
    await asyncio.get_running_loop().create_future()
