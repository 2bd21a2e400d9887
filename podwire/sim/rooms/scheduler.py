"""The scheduler as a process."""

from __future__ import annotations

from podwire.client.framed.api import FramedApi
from podwire.scheduler.shell import run as run_scheduler
from podwire.sim.rooms.process import RoomProcess

ROOM = "scheduler"
PEERS = ("apiserver",)


async def main(room: RoomProcess) -> None:
    """Schedule pods."""
    link = room.link("apiserver")
    room.hold_lease(FramedApi(link))
    await link.connected()
    room.nursery.start(run_scheduler(room.ctx(ROOM)), name=ROOM)
