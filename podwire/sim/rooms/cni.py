"""The CNI room as a process: plugins for the kubelets, node agents for the pods."""

from __future__ import annotations

from podwire.cni.hosts import hosts
from podwire.cni.runtime import CniPlugins
from podwire.sim.rooms.agents import PEERS, host_programs
from podwire.sim.rooms.process import RoomProcess

ROOM = "cni"
__all__ = ["PEERS", "ROOM", "main"]


async def main(room: RoomProcess) -> None:
    """Serve flannel, calico, and the plugins."""
    await host_programs(room, hosts, lambda ctx: CniPlugins(ctx.fabric, ctx.rng))
