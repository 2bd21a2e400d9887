"""Questions asked on a fork of the world: they leave nothing behind in the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.verdict import WalkAnswer, WalkRequest

if TYPE_CHECKING:
    from podwire.fabric.hardware import Fabric


class Questions:
    """Walks and datagrams on forks."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def walk(self, request: WalkRequest) -> WalkAnswer:
        """Walk a packet on a fork."""
        raise NotImplementedError(f"walks are not modelled yet: {request}")

    async def ask_datagram(
        self, node: str, netns: str, address: str, port: int, payload: bytes, timeout_s: float
    ) -> tuple[WalkAnswer, bytes | None]:
        """Ask a UDP program on a fork."""
        raise NotImplementedError("walks are not modelled yet")
