"""Answers onto a connection: whole, in chunks, gzipped, or as a stream of frames.

Source of the compression: apiserver endpoints/handlers/responsewriters (gzip, level 1, above
128 KiB, never for watches).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api.status import ApiError
from podwire.apiserver import answers
from podwire.apiserver.http.parser import Incoming
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.http.connection import Connection

GZIP_BYTES = 128 * 1024
"""Bodies beyond this are compressed for those who accept it."""

_TURN_S = 0.02
"""How long one body may be made and written before others get their turn."""
_COALESCE_BYTES = 64 * 1024
"""How much of a body or a stream is joined into one write."""

_CHUNKED = "Transfer-Encoding: chunked\r\n"
_CLOSE = "Connection: close\r\n"
_BODILESS = (204, 304)
_LAST_CHUNK = b"0\r\n\r\n"


def status(error: ApiError) -> Response:
    """An ApiError as the Status that tells it."""
    return Response(
        error.code, msgspec.json.encode(error.status()), {"Content-Type": "application/json"}
    )


async def answer(connection: Connection, incoming: Incoming, response: Response) -> None:
    """Write the answer to a request. Raises ConnectionError when the client went away."""
    if not connection.writable:
        await connection.drained()
    if connection.closing:
        incoming.keep_alive = False
    if response.stream is not None:
        await _stream(connection, incoming, response)
        return
    chunks = response.chunks
    if chunks is None:
        body = response.body
        if len(body) <= GZIP_BYTES or incoming.method == "HEAD":
            whole(connection, incoming, response, body)
            return
        chunks = _cut(body)
    try:
        start, more = await _beginning(chunks)
    except Exception:  # nothing is written yet, so that it can be told
        connection.server.log.exception("answer failed", target=incoming.target)
        response, more = status(ApiError("InternalError", answers.FAILED)), False
        start = response.body
    if more:
        await _chunks(connection, incoming, response, chain((start,), chunks))
    else:
        whole(connection, incoming, response, start)


async def _beginning(chunks: Iterable[bytes]) -> tuple[bytes, bool]:
    """The first chunks of a body, beyond GZIP_BYTES if there are so many, and whether there are."""
    start: list[bytes] = []
    size, turn = 0, _Turn()
    for chunk in chunks:
        start.append(chunk)
        size += len(chunk)
        if size > GZIP_BYTES:
            return b"".join(start), True
        await turn.over()
    return b"".join(start), False


def whole(connection: Connection, incoming: Incoming, response: Response, body: bytes) -> None:
    """Write an answer whose body is there; the connection is writable."""
    framing = "" if response.status in _BODILESS else f"Content-Length: {len(body)}\r\n"
    if not incoming.keep_alive:
        framing += _CLOSE
    elif incoming.one_zero:
        framing += "Connection: keep-alive\r\n"
    head = connection.server.heads.make(
        response.status, response.headers, incoming.headers, framing
    )
    if incoming.method == "HEAD" or response.status in _BODILESS:
        connection.transport.write(head)
    else:
        connection.transport.write(head + body)


async def _chunks(
    connection: Connection, incoming: Incoming, response: Response, chunks: Iterable[bytes]
) -> None:
    framing = _framing(incoming)
    headers = response.headers
    if _accepts_gzip(incoming) and "content-encoding" not in headers:
        vary = ", ".join(filter(None, (headers.get("vary"), "Accept-Encoding")))
        headers = {**headers, "content-encoding": "gzip", "vary": vary}
        chunks = _gzipped(chunks)
    transport = connection.transport
    transport.write(
        connection.server.heads.make(response.status, headers, incoming.headers, framing)
    )
    if incoming.method == "HEAD":
        return
    parts: list[bytes] = []
    size, turn = 0, _Turn()

    def joined() -> bytes:
        return b"".join(parts) if incoming.one_zero else _chunk(parts, size)

    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= _COALESCE_BYTES:
            transport.write(joined())
            parts, size = [], 0
            await connection.drained()
        await turn.over()
    if size:
        transport.write(joined())
    if not incoming.one_zero:
        transport.write(_LAST_CHUNK)


class _Turn:
    """The time that making and writing one body may take at a stretch."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._due_s = self._clock() + _TURN_S

    async def over(self) -> None:
        """Let others have theirs, if this one is over."""
        if self._clock() >= self._due_s:
            await asyncio.sleep(0)
            self._due_s = self._clock() + _TURN_S


def _framing(incoming: Incoming) -> str:
    """Chunks, or for HTTP/1.0 the end of the connection."""
    if incoming.one_zero:
        incoming.keep_alive = False
        return _CLOSE
    return _CHUNKED if incoming.keep_alive else _CHUNKED + _CLOSE


def _cut(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), GZIP_BYTES):
        yield body[at : at + GZIP_BYTES]


def _accepts_gzip(incoming: Incoming) -> bool:
    accepted = incoming.headers.get("accept-encoding")
    if not accepted:
        return False
    for part in accepted.split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding == "gzip":
            return weight.strip("0.") != "q="  # q=0.000 is a refusal
    return False


def _gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    for chunk in chunks:
        yield deflate.compress(chunk)
    yield deflate.flush()


# ------------------------------------------------------------------------------------- streams


async def _stream(connection: Connection, incoming: Incoming, response: Response) -> None:
    frames: Any = response.stream
    framing = _framing(incoming)
    try:
        # Clients wait for the head before the first event.
        connection.transport.write(
            connection.server.heads.make(
                response.status, response.headers, incoming.headers, framing
            )
        )
        if incoming.method == "HEAD":
            return
        if hasattr(frames, "attach"):
            pump = Pump(connection, frames, chunked=not incoming.one_zero)
            await pump.run()
        else:
            await _read(connection, frames, chunked=not incoming.one_zero)
        if not incoming.one_zero:
            connection.transport.write(_LAST_CHUNK)
    finally:
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()


async def _read(connection: Connection, frames: Any, *, chunked: bool) -> None:
    """A stream that is an iterator; what it has ready in one turn shares a chunk."""
    pending = getattr(frames, "pending", None)
    async for frame in frames:
        parts = [frame.data]
        size = len(frame.data)
        while pending is not None and size < _COALESCE_BYTES and (more := pending()) is not None:
            parts.append(more.data)
            size += len(more.data)
        connection.transport.write(_chunk(parts, size) if chunked else b"".join(parts))
        await connection.drained()


def _chunk(parts: list[bytes], size: int) -> bytes:
    return b"".join((b"%x\r\n" % size, *parts, b"\r\n"))


class Pump:
    """Moves what a ready-driven stream has into a connection, without a task's wake per event.

    The stream has ``attach(wake)`` (call ``wake`` when something is queued or it ended),
    ``take(limit_bytes)`` (the bytes of what is queued, as a list, up to about the limit) and
    ``over`` (whether nothing will come any more and nothing is queued).
    """

    def __init__(self, connection: Connection, frames: Any, *, chunked: bool) -> None:
        self._connection = connection
        self._frames = frames
        self._chunked = chunked
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until the stream is over. Raises ConnectionError when the client goes away."""
        connection = self._connection
        wake = partial(connection.server.flusher.want, self)
        connection.on_writable = wake
        self._frames.attach(wake)
        wake()
        try:
            await self._done
        finally:
            connection.on_writable = None
            self._frames.attach(None)

    def turn(self) -> bool:
        """``flush``; a stream that fails ends its own connection and no other one's turn."""
        try:
            return self._flush()
        except Exception as error:  # noqa: BLE001  raised again by whoever waits in run
            if not self._done.done():
                self._done.set_exception(error)
            return False

    def _flush(self) -> bool:
        """Write what is ready and fits; whether there is more that could be written now."""
        connection, frames = self._connection, self._frames
        if self._done.done() or connection.lost or not connection.writable:
            return False
        parts = frames.take(_COALESCE_BYTES)
        if parts:
            joined = connection.server.flusher.joined if self._chunked else b"".join
            connection.transport.write(joined(parts))
        if frames.over:
            self._done.set_result(None)
            return False
        return bool(parts) and connection.writable and bool(frames.queued)


class Flusher:
    """Gives all streams their turn together: what several turns of the loop queued for a stream
    becomes one write, because the system call and the TLS record are what costs.

    The first event after a pause goes out in the next turn; while events keep coming, rounds of
    writes begin ``interval_s`` after the last one ended, or as long after it as it took: at most
    half of the time is spent on writing, and the more there is to write, the more is joined.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float = 0.004) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._wanting: dict[Pump, None] = {}
        self._parts: list[bytes] = []
        self._joined = b""
        self._scheduled = False
        self._next_s = 0.0

    def want(self, pump: Pump) -> None:
        """Flush a pump in the next round."""
        self._wanting[pump] = None
        if not self._scheduled:
            self._schedule(self._next_s)

    def joined(self, parts: list[bytes]) -> bytes:
        """Events as one chunk; who watches the same mostly has the same to be told in a round."""
        if parts != self._parts:
            self._parts, self._joined = parts, _chunk(parts, sum(map(len, parts)))
        return self._joined

    def _schedule(self, due_s: float) -> None:
        self._scheduled = True
        if due_s <= self._loop.time():
            self._loop.call_soon(self._round)
        else:
            self._loop.call_at(due_s, self._round)

    def _round(self) -> None:
        self._scheduled = False
        pumps, self._wanting = self._wanting, {}
        began_s = self._loop.time()
        again = [pump for pump in pumps if pump.turn()]
        self._parts, self._joined = [], b""
        now_s = self._loop.time()
        self._next_s = now_s + max(self._interval_s, now_s - began_s)
        if again:
            self._wanting.update(dict.fromkeys(again))
            if not self._scheduled:
                self._schedule(now_s)
