"""Nodes as machines when fabric, kubelets and API server are processes of their own."""

from __future__ import annotations

import asyncio

from podwire.api.status import ApiError
from podwire.apiserver.machines import POWER_OFF, MachineState
from podwire.client.framed.kubelets import FramedKubelets
from podwire.client.framed.machines import POWER
from podwire.client.framed.session import Connection


class FramedMachines:
    """Power is the fabric's, kubelets are their room's. One switch at a time."""

    def __init__(self, fabric: Connection, kubelets: FramedKubelets) -> None:
        self._fabric = fabric
        self._kubelets = kubelets
        self._busy = asyncio.Lock()

    async def stop_kubelet(self, node: str) -> MachineState:
        """See ``apiserver.machines.Machines``; ApiError 503 when its room is away."""
        async with self._busy:
            powered = await self._power(node, None)
            return MachineState(node, powered, await self._kubelet(node, run=False))

    async def start_kubelet(self, node: str) -> MachineState:
        """See ``apiserver.machines.Machines``; ApiError 503 when its room is away."""
        async with self._busy:
            if not await self._power(node, None):
                raise ConnectionError(f"node {node} has no power")
            return MachineState(node, True, await self._kubelet(node, run=True))

    async def power_off(self, node: str, *, graceful: bool = False) -> MachineState:
        """See ``apiserver.machines.Machines``; ApiError 503 when a room is away."""
        if graceful and await self._kubelet(node, run=None):
            await self._kubelets.run(node, POWER_OFF)
        async with self._busy:
            await self._power(node, on=False)
            return MachineState(node, False, await self._kubelet(node, run=False))

    async def power_on(self, node: str) -> MachineState:
        """See ``apiserver.machines.Machines``; ApiError 503 when a room is away."""
        async with self._busy:
            was = await self._power(node, None)
            await self._power(node, on=True)
            run = None if was else True
            return MachineState(node, True, await self._kubelet(node, run=run))

    async def _power(self, node: str, on: bool | None) -> bool:
        try:
            powered: bool = await self._fabric.session().call(POWER, node, on)
        except ConnectionError as error:
            raise ApiError("ServiceUnavailable", f"the fabric is away: {error}") from error
        return powered

    async def _kubelet(self, node: str, run: bool | None) -> bool:
        try:
            return await self._kubelets.switch(node, run)
        except ConnectionError as error:
            if run is None:
                return False
            raise ApiError("ServiceUnavailable", f"its kubelet room is away: {error}") from error
