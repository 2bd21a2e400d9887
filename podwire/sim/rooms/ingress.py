"""The Ingress controller as a process."""

from __future__ import annotations

from podwire import ingress
from podwire.sim.rooms.agents import PEERS, host_programs
from podwire.sim.rooms.process import RoomProcess

ROOM = "ingress"
__all__ = ["PEERS", "ROOM", "main"]


async def main(room: RoomProcess) -> None:
    """Serve ingress-nginx."""
    await host_programs(room, lambda ctx: [ingress.host(ctx)], None)
