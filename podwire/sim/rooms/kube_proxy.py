"""kube-proxy as a process: one program per node."""

from __future__ import annotations

from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.shell import host
from podwire.sim.rooms.agents import PEERS, host_programs
from podwire.sim.rooms.process import RoomProcess

ROOM = "kube-proxy"
__all__ = ["PEERS", "ROOM", "main"]


async def main(room: RoomProcess) -> None:
    """Serve kube-proxy; its programs share what they render."""
    shared = Shared()
    await host_programs(room, lambda ctx: [host(ctx, shared)], None)
