"""The fabric as a process: the kernels of all nodes, the wires, and the doors to real sockets."""

from __future__ import annotations

from podwire.client.framed.api import FramedApi
from podwire.client.framed.fabric import serve_fabric
from podwire.client.framed.machines import serve_power
from podwire.client.framed.methods import Table
from podwire.client.framed.session import Session
from podwire.client.framed.sockets import serve_sockets
from podwire.fabric.attachments import Attachments
from podwire.fabric.hardware import Fabric
from podwire.fabric.publisher import Publisher
from podwire.sim import outside
from podwire.sim.rooms.process import RoomProcess

ROOM = "fabric"
PEERS = ("apiserver",)
CALLERS = ("apiserver", "kubelet", "cni", "kube-proxy", "coredns", "ingress")


async def main(room: RoomProcess) -> None:
    """Make the machines, then let rooms work on them."""
    env, options = room.env, room.options
    fabric = Fabric(
        env.clock, env.rng.child("fabric"), env.ids, env.trace, env.log,
        link_delay_s=0.0, link_jitter_s=0.0, local_delay_s=0.0,
        prefix_length=options.settings.node_prefix_length,
    )  # fmt: skip
    outside.add_machines(fabric, options.settings)
    fabric.real_sockets.shown_host = options.publish_shown
    await outside.start_gateway(fabric, room.nursery, room.options.settings)

    async def switch(node: str, on: bool | None) -> bool:
        host = fabric.hosts.get(node)
        if host is None or node not in options.settings.node_names:
            raise LookupError(f"no node named {node!r}")
        if on is True and not host.powered:
            fabric.power_on(node)
        elif on is False and host.powered:
            fabric.power_off(node)
        return host.powered

    def serve(session: Session) -> Table:
        table = Table()
        serve_power(table, switch)
        serve_fabric(table, fabric)
        serve_sockets(table, fabric, session)
        return table

    await room.serve(CALLERS, serve)
    link = room.link("apiserver")
    room.hold_lease(FramedApi(link))
    await link.connected()
    publisher = Publisher(
        room.ctx("publisher", fabric=fabric, sockets=fabric),
        fabric.real_sockets,
        options.settings.node_names[0],
        options.publish_host,
        options.publish_ports,
        options.doors,
    )
    room.nursery.start(publisher.run(), name="publisher")
    attachments = Attachments(room.ctx("attachments", fabric=fabric, sockets=fabric))
    room.nursery.start(attachments.run(), name="attachments")
