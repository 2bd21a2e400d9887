"""The controllers as a process."""

from __future__ import annotations

from podwire.client.framed.api import FramedApi
from podwire.controllers.config import ControllersConfig
from podwire.controllers.shell import run as run_controllers
from podwire.sim import certs
from podwire.sim.rooms.process import RoomProcess

ROOM = "controllers"
PEERS = ("apiserver",)


async def main(room: RoomProcess) -> None:
    """Run every controller."""
    link = room.link("apiserver")
    room.hold_lease(FramedApi(link))
    await link.connected()
    signer = certs.signer(room.options.pki, room.env)
    config = ControllersConfig(
        sign=signer.sign,
        sign_token=certs.issuer(room.options.pki).sign_for_secret,
        root_ca=room.identity.ca_file.read_text(),
        cluster_cidr=room.options.settings.pod_cidrs,
    )
    room.nursery.start(run_controllers(room.ctx(ROOM, config)), name=ROOM)
