"""The kubelets of some nodes as a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from podwire.client.counters import ContainerHost
from podwire.client.framed.api import FramedApi
from podwire.client.framed.hosts import FramedHost, Processes
from podwire.client.framed.kubelets import serve_kubelets
from podwire.client.framed.machines import serve_switches
from podwire.client.framed.methods import Table
from podwire.client.framed.session import Session
from podwire.client.images import BY_ROOM
from podwire.kubelet.daemon import run as run_kubelet
from podwire.kubelet.programs.host import ProgramHost
from podwire.kubelet.state import KubeletConfig
from podwire.kubelet.streams import Streams
from podwire.runtime.tasks import Nursery
from podwire.sim.rooms.process import RoomProcess

ROOM = "kubelet"
PEERS = ("apiserver", "fabric", *BY_ROOM)
CALLERS = ("apiserver",)

Live = Callable[[str], Coroutine[Any, Any, None]]
"""Is the kubelet of a node until cancelled."""


class Kubelets:
    """The kubelets of this process, each a task; those that were stopped stay so."""

    def __init__(
        self, nodes: Sequence[str], live: Callable[[str], Coroutine[Any, Any, None]]
    ) -> None:
        self._nodes = tuple(nodes)
        self._live = live
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: dict[str, None] = {}
        self._nursery = Nursery()

    async def run(self) -> None:
        """Be the kubelets until cancelled."""
        async with Nursery() as nursery:
            self._nursery = nursery
            for node in self._nodes:
                if node not in self._stopped:
                    self._start(node)
            await asyncio.get_running_loop().create_future()

    def _start(self, node: str) -> None:
        self._running[node] = self._nursery.start(self._live(node), name=f"kubelet {node}")

    async def switch(self, node: str, run: bool | None) -> bool:
        """Start or stop a node's kubelet, or only look; whether it runs. Raises LookupError."""
        if node not in self._nodes:
            raise LookupError(f"no node named {node!r}")
        task = self._running.get(node)
        running = task is not None and not task.done()
        if run is True and not running:
            self._stopped.pop(node, None)
            self._start(node)
        elif run is False:
            self._stopped[node] = None
            if task is not None and running:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return running if run is None else run


async def main(room: RoomProcess) -> None:
    """Be the kubelets, anew whenever the fabric was lost: their nodes were, too."""
    options = room.options
    api = room.link("apiserver")
    room.link("fabric")
    processes = Processes()
    hosts: list[ContainerHost] = [
        FramedHost(room.link(name, processes.serve), images, processes)
        for name, images in BY_ROOM.items()
        if name != "ingress" or options.settings.ingress != "none"
    ]
    streams = Streams()

    async def live(node: str) -> None:
        config = KubeletConfig(
            node=node,
            time_profile=options.settings.time_profile,
            streams=streams,
            cluster_dns=(options.settings.dns_address,),
            labels=options.settings.node_labels(node),
            endpoint=options.advertise or server.address,
        )
        programs = ProgramHost(room.ctx(f"programs/{node}"))
        await run_kubelet(room.ctx(f"kubelet/{node}", config, (*hosts, programs)))

    kubelets = Kubelets(options.nodes, live)

    def serve(session: Session) -> Table:
        table = Table()
        serve_kubelets(table, streams, session)
        serve_switches(table, kubelets.switch)
        return table

    server = await room.serve(CALLERS, serve)
    room.hold_lease(FramedApi(api))
    await api.connected()
    room.nursery.start(room.with_fabric(kubelets.run), name="kubelets")
