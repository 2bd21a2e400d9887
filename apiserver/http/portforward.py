"""port-forward in its three dialects: SPDY streams (directly or through a WebSocket tunnel), and
WebSocket channels.

Source: kubelet pkg/cri/streaming/portforward (httpstream.go, websocket.go); of the tunnel KEP-4006.
Each connection is a pair: data, and errors as text. ``connect`` opens the pod's end of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from podwire.api.status import ApiError
from podwire.apiserver.calls import Query
from podwire.apiserver.http.duplex import Duplex
from podwire.apiserver.http.spdy.connection import SpdyConnection, SpdyStream
from podwire.apiserver.http.spdy.frames import PROTOCOL_ERROR
from podwire.apiserver.http.websocket import Tunnel, WebSocket
from podwire.client.counters import Stream
from podwire.runtime.ports import Clock
from podwire.runtime.tasks import Nursery, first

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "")
MAX_PORTS = 100
GRACE_S = 1.0
"""How long a connection of which one direction has ended may be idle. containerd
(sandbox_portforward) gives the other direction just this long, at the speed of a real machine.
"""
MAX_WAITING_CHUNKS = 64
"""Of one WebSocket channel: beyond them nothing more is read."""

Connect = Callable[[int], Awaitable[Stream]]
"""Connects to a port of the pod. Raises ApiError with the text to show, ConnectionError."""


class Pair(Protocol):
    """One forwarded connection, as the client sees it."""

    async def read(self) -> bytes:
        """Bytes for the pod, b"" once the client sends no more."""

    async def write(self, data: bytes) -> None:
        """Bytes from the pod. Raises ConnectionError."""

    async def end(self) -> None:
        """The pod sends no more. Raises ConnectionError."""

    async def complain(self, text: str) -> None:
        """Tell an error. Raises ConnectionError."""

    async def gone(self) -> None:
        """Wait until the client gave the connection up."""


async def forward(pair: Pair, port: int, connect: Connect, clock: Clock) -> None:
    """Carry one connection from its beginning to its end. Raises ConnectionError (the client's)."""
    try:
        stream = await connect(port)
    except ApiError as error:
        await pair.complain(error.message)
        return
    except ConnectionError as error:
        await pair.complain(f"error forwarding port {port} to pod: error dialing backend: {error}")
        return
    trouble: list[str] = []
    try:
        await first(_both(pair, stream, clock, trouble), pair.gone())
    except BaseException:
        stream.abort()
        raise
    with suppress(OSError):  # what the pod does with it now is nobody's business here
        await stream.close()
    if trouble:
        await pair.complain(f"error forwarding port {port} to pod: {trouble[0]}")


async def _both(pair: Pair, stream: Stream, clock: Clock, trouble: list[str]) -> None:
    moved_bytes = 0

    async def inward() -> None:
        nonlocal moved_bytes
        try:
            while data := await pair.read():
                await stream.send(data)
                moved_bytes += len(data)
            await stream.close()
        except OSError as error:
            trouble.append(_words(stream, "write", error))

    async def outward() -> None:
        nonlocal moved_bytes
        while True:
            try:
                data = await stream.recv()
            except OSError as error:
                trouble.append(_words(stream, "read", error))
                return
            if not data:
                await pair.end()
                return
            await pair.write(data)
            moved_bytes += len(data)

    async with Nursery() as nursery:
        halves = [nursery.start(inward(), name="forward inward"),
                  nursery.start(outward(), name="forward outward")]  # fmt: skip
        await first(*(_done(half) for half in halves))
        before = -1
        while before != moved_bytes and not all(half.done() for half in halves):
            before = moved_bytes
            await first(_all(halves), clock.sleep(GRACE_S))
        nursery.cancel()


async def _done(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        await asyncio.shield(task)


def _words(stream: Stream, verb: str, error: OSError) -> str:
    """A failed read or write in Go's words."""
    local, remote = (f"{address}:{port}" for address, port in (stream.local, stream.remote))
    why = (error.strerror or str(error) or "i/o timeout").lower()
    return f"{verb} tcp4 {local}->{remote}: {verb}: {why}"


# ---------------------------------------------------------------- SPDY


class _StreamPair:
    """A data and an error stream with the same request id."""

    def __init__(self) -> None:
        self.data: SpdyStream | None = None
        self.error: SpdyStream | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self) -> bytes:
        assert self.data is not None, "pairs that are served are complete"
        data = await self.data.read()
        if not data and self.data.was_reset and not self._gone.done():
            self._gone.set_result(None)
        return data

    async def write(self, data: bytes) -> None:
        assert self.data is not None, "pairs that are served are complete"
        await self.data.write(data)
        if self.data.was_reset and not self._gone.done():
            self._gone.set_result(None)

    async def end(self) -> None:
        if self.data is not None:
            await self.data.finish()

    async def complain(self, text: str) -> None:
        if self.error is not None:
            await self.error.write(text.encode())

    async def gone(self) -> None:
        await self._gone

    async def finish(self) -> None:
        """Both streams end: the client waits for the error stream's end."""
        for stream in (self.data, self.error):
            if stream is not None:
                await stream.finish()


class _Forwarder:
    """The forwarded connections of one SPDY connection."""

    def __init__(self, connection: SpdyConnection, connect: Connect, clock: Clock) -> None:
        self._connection = connection
        self._connect = connect
        self._clock = clock
        self._pairs: dict[str, _StreamPair] = {}

    async def run(self) -> None:
        """Serve until the client is gone."""
        async with Nursery() as nursery:
            while (stream := await self._connection.accept()) is not None:
                await self._take(stream, nursery)
            nursery.cancel()

    async def _take(self, stream: SpdyStream, nursery: Nursery) -> None:
        kind = stream.headers.get("streamtype", "").lower()
        port = stream.headers.get("port", "")
        if kind not in {"data", "error"} or not port.isdecimal() or not 0 < int(port) < 65536:
            await self._connection.reset(stream, PROTOCOL_ERROR)
            return
        # Clients before request ids opened the error stream first, and data next to it.
        request = stream.headers.get("requestid") or str(stream.id - 2 * (kind == "data"))
        pair = self._pairs.setdefault(request, _StreamPair())
        if getattr(pair, kind) is not None:
            await self._connection.reset(stream, PROTOCOL_ERROR)
            return
        setattr(pair, kind, stream)
        if pair.data is not None and pair.error is not None:
            del self._pairs[request]
            nursery.start(self._serve(pair, int(port)), name=f"forward {port}")

    async def _serve(self, pair: _StreamPair, port: int) -> None:
        try:
            await forward(pair, port, self._connect, self._clock)
            await pair.finish()
        except ConnectionError:
            pass  # the whole connection is gone, and ``run`` ends with it


async def serve_spdy(duplex: Duplex, connect: Connect, clock: Clock) -> None:
    """Forward over SPDY until the client leaves."""
    connection = SpdyConnection(duplex)
    try:
        async with Nursery() as nursery:
            nursery.start(connection.run(), name="spdy")
            await _Forwarder(connection, connect, clock).run()
    except ConnectionError:
        pass  # the client left
    finally:
        duplex.close()


async def serve_tunnel(duplex: Duplex, connect: Connect, clock: Clock) -> None:
    """Forward over SPDY inside a WebSocket."""
    socket = WebSocket(duplex)
    await serve_spdy(Tunnel(socket), connect, clock)
    await socket.close()


# ---------------------------------------------------------------- WebSocket channels


def ports(query: Query) -> list[int]:
    """The ports asked for, in order: repeated, or joined by commas. Raises ApiError."""
    given = query.all("ports") or query.all("port")
    if not given:
        raise ApiError("BadRequest", 'query parameter "port" is required')
    found: list[int] = []
    for text in given:
        if not text:
            raise ApiError("BadRequest", 'query parameter "port" cannot be empty')
        for part in text.split(","):
            if not part.isdecimal() or len(part) > 5 or int(part) > 65535:
                raise ApiError("BadRequest", f'unable to parse "{text}" as a port: invalid syntax')
            if int(part) < 1:
                raise ApiError("BadRequest", f'port "{part}" must be > 0')
            found.append(int(part))
    if len(found) > MAX_PORTS:
        raise ApiError("BadRequest", f"more than {MAX_PORTS} ports")
    return found


class _ChannelPair:
    """Channel 2i carries data, 2i+1 errors."""

    def __init__(self, socket: WebSocket, index: int) -> None:
        self._socket = socket
        self._index = index
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING_CHUNKS)
        self.over = False

    async def read(self) -> bytes:
        return await self.arrived.get()

    async def write(self, data: bytes) -> None:
        await self._send(2 * self._index, data)

    async def end(self) -> None:
        """A channel has no end of its own."""

    def close(self) -> None:
        """Nobody reads any more: what waits is dropped, and so is what still comes."""
        self.over = True
        while not self.arrived.empty():
            self.arrived.get_nowait()

    async def complain(self, text: str) -> None:
        await self._send(2 * self._index + 1, text.encode())

    async def gone(self) -> None:
        """A channel has no end of its own: the whole connection is given up."""
        await asyncio.get_running_loop().create_future()

    async def begin(self, port: int) -> None:
        """Say which port each channel is for."""
        for channel in (2 * self._index, 2 * self._index + 1):
            await self._send(channel, port.to_bytes(2, "little"))

    async def _send(self, channel: int, data: bytes) -> None:
        await self._socket.send(bytes((channel,)) + data)


async def serve_channels(
    duplex: Duplex, wanted: Sequence[int], connect: Connect, clock: Clock
) -> None:
    """Forward over WebSocket channels until every connection, or the client, is over."""
    socket = WebSocket(duplex)
    pairs = [_ChannelPair(socket, index) for index in range(len(wanted))]

    async def serve(pair: _ChannelPair, port: int) -> None:
        await forward(pair, port, connect, clock)
        pair.close()

    async def every() -> None:
        async with Nursery() as nursery:
            for pair, port in zip(pairs, wanted, strict=True):
                nursery.start(serve(pair, port), name=f"forward {port}")

    try:
        for pair, port in zip(pairs, wanted, strict=True):
            await pair.begin(port)
        await first(every(), _distribute(socket, pairs))
        await socket.close()
    except ConnectionError:
        pass  # the client left
    finally:
        duplex.close()


async def _distribute(socket: WebSocket, pairs: Sequence[_ChannelPair]) -> None:
    """Give each channel what arrives for it, until the client is gone."""
    while (message := await socket.receive()) is not None:
        if len(message) > 1 and message[0] % 2 == 0 and message[0] // 2 < len(pairs):
            pair = pairs[message[0] // 2]
            if not pair.over:
                await pair.arrived.put(message[1:])
