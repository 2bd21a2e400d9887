"""The machines of a cluster: their power, and whether their kubelets run.

What a person does with a power button and ``systemctl``; chaos, tests and ``podwire node`` use it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from podwire.apiserver.machines import POWER_OFF, MachineState

if TYPE_CHECKING:
    from podwire.sim.cluster import Cluster


class Machines:
    """Every call is idempotent and returns when it is done; one at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._busy = asyncio.Lock()

    def _require(self, node: str) -> None:
        if node not in self._cluster.settings.node_names:
            raise LookupError(f"no node named {node!r}")

    def state(self, node: str) -> MachineState:
        """What a node is like now. Raises LookupError for an unknown one."""
        self._require(node)
        room = self._cluster.rooms.get(f"kubelet/{node}")
        return MachineState(
            node=node,
            powered=self._cluster.fabric.hosts[node].powered,
            kubelet=room is not None and not room.task.done(),
        )

    async def stop_kubelet(self, node: str) -> MachineState:
        """The kubelet process ends, and its programs with it; the kernel goes on."""
        async with self._busy:
            await self._stop(node)
        return self.state(node)

    async def _stop(self, node: str) -> None:
        if self.state(node).kubelet:
            self._cluster.env.trace.record("kubelet", node, "stop")
            await self._cluster.stop_room(f"kubelet/{node}")

    async def start_kubelet(self, node: str) -> MachineState:
        """It starts. Raises ConnectionError when the node has no power."""
        async with self._busy:
            self._start(node)
        return self.state(node)

    def _start(self, node: str) -> None:
        state = self.state(node)
        if not state.powered:
            raise ConnectionError(f"node {node} has no power")
        if not state.kubelet:
            self._cluster.env.trace.record("kubelet", node, "start")
            self._cluster.start_kubelet(node)

    async def power_off(self, node: str, *, graceful: bool = False) -> MachineState:
        """Pull the plug: kernel, kubelet and programs are gone, the disk stays.

        ``graceful``: the kubelet ends its pods before.
        """
        if graceful and self.state(node).kubelet:
            await self._cluster.streams.run(node, POWER_OFF)
        async with self._busy:
            if self.state(node).powered:
                self._cluster.fabric.power_off(node)
            await self._stop(node)
        return self.state(node)

    async def power_on(self, node: str) -> MachineState:
        """Boot, with a new boot id; the kubelet starts. A running node goes on running."""
        async with self._busy:
            if not self.state(node).powered:
                self._cluster.fabric.power_on(node)
                self._start(node)
        return self.state(node)
