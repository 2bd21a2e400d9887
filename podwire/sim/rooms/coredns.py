"""CoreDNS as a process."""

from __future__ import annotations

from podwire import coredns
from podwire.sim.rooms.agents import PEERS, host_programs
from podwire.sim.rooms.process import RoomProcess

ROOM = "coredns"
__all__ = ["PEERS", "ROOM", "main"]


async def main(room: RoomProcess) -> None:
    """Serve CoreDNS."""
    await host_programs(room, lambda ctx: [coredns.host(ctx)], None)
