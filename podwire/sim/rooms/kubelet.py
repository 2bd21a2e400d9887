"""The kubelets of some nodes as a process."""

from __future__ import annotations

from podwire.client.counters import ContainerHost
from podwire.client.framed.api import FramedApi
from podwire.client.framed.hosts import FramedHost, Processes
from podwire.client.framed.kubelets import serve_kubelets
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


async def main(room: RoomProcess) -> None:
    """Be the kubelets, anew whenever the fabric was lost: their nodes were, too."""
    options = room.options
    api = room.link("apiserver")
    room.link("fabric")
    processes = Processes()
    hosts: list[ContainerHost] = [
        FramedHost(room.link(name, processes.serve), images, processes)
        for name, images in BY_ROOM.items()
    ]
    streams = Streams()

    def serve(session: Session) -> Table:
        table = Table()
        serve_kubelets(table, streams, session)
        return table

    server = await room.serve(CALLERS, serve)
    endpoint = options.advertise or server.address
    room.hold_lease(FramedApi(api))
    await api.connected()

    async def kubelets() -> None:
        async with Nursery() as nursery:
            for node in options.nodes:
                config = KubeletConfig(
                    node=node,
                    time_profile=options.settings.time_profile,
                    streams=streams,
                    labels=options.settings.node_labels(node),
                    endpoint=endpoint,
                )
                programs = ProgramHost(room.ctx(f"programs/{node}"))
                ctx = room.ctx(f"kubelet/{node}", config, (*hosts, programs))
                nursery.start(run_kubelet(ctx), name=f"kubelet {node}")

    room.nursery.start(room.with_fabric(kubelets), name="kubelets")
