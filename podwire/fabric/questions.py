"""Questions asked on a fork of the world: they leave nothing behind in the live one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from podwire.dataplane import walk as walks
from podwire.dataplane.journey import Journey, arrival
from podwire.dataplane.packet import answer_to, replace
from podwire.dataplane.verdict import WalkAnswer, WalkRequest
from podwire.dataplane.walk import Arrival
from podwire.fabric.space import EPHEMERAL_HIGH, EPHEMERAL_LOW
from podwire.fabric.udp import headers_bytes

if TYPE_CHECKING:
    from podwire.fabric.hardware import Fabric
    from podwire.fabric.udp import UdpSocket


class Questions:
    """Walks and datagrams on forks. Their chance is a stream of its own: asking changes no
    history.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._rng = fabric.rng.child("questions")
        self._port = EPHEMERAL_LOW

    def walk(self, request: WalkRequest) -> WalkAnswer:
        """Walk a packet on a fork."""
        return self._ask(request)[0]

    def _ask(self, request: WalkRequest) -> tuple[WalkAnswer, Arrival | None]:
        fabric = self._fabric
        return walks.ask(fabric.world, request, self._rng, fabric.clock.monotonic_ns())

    async def ask_datagram(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        payload: bytes,
        timeout_s: float,
        draw: float | None = None,
    ) -> tuple[WalkAnswer, bytes | None]:
        """Walk a datagram there and its answer back; in between, the live program answers.

        No payload comes back when either way fails, when what was reached is no modelled
        program, or when it does not answer in time.
        """
        request = WalkRequest(
            node=node,
            netns=netns,
            protocol="udp",
            src_port=self._source_port(node, netns),
            dst=address,
            dst_port=port,
            size_bytes=len(payload) + headers_bytes(address),
            draw=draw,
        )
        answer, reached = self._ask(request)
        socket = self._socket(reached) if reached is not None else None
        if reached is None or socket is None:
            return answer, None
        question = reached.packet
        reply = socket.arrived_on_fork(payload, question.src, question.src_port)
        try:
            async with asyncio.timeout(timeout_s):
                data = await reply
        except TimeoutError:
            return answer, None
        if data is None or not _comes_back(reached, data, (node, netns)):
            return answer, None
        return answer, data

    def _source_port(self, node: str, netns: str) -> int:
        """A port that no live socket has and no other question uses at the same time."""
        space = self._fabric.sockets.space(node, netns)
        while True:
            port = self._port
            self._port = port + 1 if port < EPHEMERAL_HIGH else EPHEMERAL_LOW
            if space is None or not space.is_bound("udp", port):
                return port

    def _socket(self, reached: Arrival) -> UdpSocket | None:
        """The live socket that a datagram reached on a fork."""
        space = self._fabric.sockets.space(reached.node, reached.netns)
        if space is None:
            return None
        return space.udp_for(reached.packet.dst, reached.packet.dst_port)


def _comes_back(reached: Arrival, data: bytes, origin: tuple[str, str]) -> bool:
    """Carry a program's answer through the fork that its question went through."""
    size_bytes = len(data) + headers_bytes(reached.packet.dst)
    packet = replace(
        answer_to(reached.packet), size_bytes=size_bytes, dont_fragment=False, payload=data
    )
    back = Journey(reached.world, reached.now_ns)
    back.send(reached.node, reached.netns, packet)
    return arrival(back, origin) is not None
