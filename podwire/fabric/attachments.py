"""``Attachments``: modelled ports of the gateway that lead to real sockets (``podwire attach``).

The way out that publications are the way in: an EndpointSlice that says that it is attached gets a
listener at its address, and each connection is joined to a real one. Only in real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from podwire.api import kinds
from podwire.api.views import EndpointSlice
from podwire.client.api import Client
from podwire.client.attached import address_of
from podwire.client.counters import Listener, Stream
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.fabric.publications import join
from podwire.fabric.publisher import GATEWAY
from podwire.runtime.tasks import Nursery

CONNECT_TIMEOUT_S = 10.0


class Door(NamedTuple):
    """A modelled port of the gateway, and the real address behind it."""

    port: int
    real: tuple[str, int]


class Attachments:
    """Opens a door for every attached EndpointSlice. ``run`` goes on until cancelled."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._open: dict[Door, tuple[Listener, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follow the EndpointSlices."""
        informers = Informers(Client(self._ctx.api), self._ctx)
        changes: asyncio.Queue[Callable[[], Any]] = asyncio.Queue()

        async with Nursery() as nursery:

            def changed(old: EndpointSlice | None, new: EndpointSlice | None) -> None:
                before, after = _doors(old), _doors(new)
                for door in before:
                    if door not in after:
                        changes.put_nowait(partial(self._close, door))
                for door in after:
                    if door not in before:
                        changes.put_nowait(partial(self._listen, nursery, door))

            informers.informer(kinds.ENDPOINT_SLICE).on_change(changed)
            nursery.start(informers.run(), name="attachments informers")
            while True:
                await (await changes.get())()

    async def _listen(self, nursery: Nursery, door: Door) -> None:
        try:
            listener = await self._ctx.sockets.listen(GATEWAY, "", "", door.port)
        except OSError as error:
            self._ctx.log.warning("not attached", port=door.port, why=str(error))
            return
        name = f"attached :{door.port}"
        self._open[door] = (listener, nursery.start(self._serve(listener, door), name=name))
        self._ctx.log.info("attached", port=door.port, real="{}:{}".format(*door.real))

    async def _close(self, door: Door) -> None:
        known = self._open.pop(door, None)
        if known is not None:
            known[0].close()
            known[1].cancel()

    async def _serve(self, listener: Listener, door: Door) -> None:
        async with Nursery() as connections:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    return
                connections.start(self._carry(stream, door), name=f"attached to :{door.port}")

    async def _carry(self, stream: Stream, door: Door) -> None:
        """Join one connection to a real one; what fails there is a reset here."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*door.real)
        except OSError as error:  # TimeoutError is one
            self._ctx.log.info("attached process is not there", port=door.port, why=str(error))
            stream.abort()
            return
        except BaseException:
            stream.abort()
            raise
        try:
            await join(reader, writer, stream)
        except OSError:
            writer.transport.abort()
        finally:
            writer.close()


def _doors(piece: EndpointSlice | None) -> list[Door]:
    if piece is None:
        return []
    real = address_of(piece.metadata.annotations)
    return [] if real is None else [Door(port.port, real) for port in piece.ports if port.port]
