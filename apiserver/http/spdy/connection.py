"""Streams over one SPDY connection: the client opens them, both sides write.

What the client sends waits here until it is read, up to a bound for the whole connection; beyond
it nothing more is read from the wire, so a slow reader slows its client and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque

from podwire.apiserver.http.duplex import Duplex
from podwire.apiserver.http.spdy.frames import (
    INVALID_STREAM,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Headers,
    MoreHeaders,
    Ping,
    RstStream,
    SynReply,
    SynStream,
    WindowUpdate,
)

MAX_STREAMS = 2000
"""Open at a time: a port-forward has two for each of its connections."""
MAX_UNREAD_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 32 * 1024
"""Of data in one frame sent."""


class SpdyStream:
    """One stream: bytes both ways, and the headers that opened it."""

    def __init__(self, connection: SpdyConnection, id: int, headers: Headers) -> None:
        self._connection = connection
        self.id = id
        self.headers = headers
        self._chunks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.ended = False
        """The client sends no more."""
        self.finished = False
        """We send no more."""
        self.was_reset = False

    async def read(self) -> bytes:
        """The next bytes, b"" once the client sends no more (or is gone)."""
        while not self._chunks:
            if self.ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._chunks.popleft()
        await self._connection.consumed(self, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes; they are lost when the client reset the stream. Raises ConnectionError."""
        for at in range(0, len(data), PIECE_BYTES):
            if self.finished:
                return
            await self._connection.send(Data(self.id, data[at : at + PIECE_BYTES]))

    async def finish(self) -> None:
        """Send no more. Raises ConnectionError."""
        if not self.finished:
            self.finished = True
            await self._connection.send(Data(self.id, b"", fin=True))
            self._connection.settle(self)

    # -- for the connection

    def arrived(self, data: bytes, *, fin: bool) -> None:
        """The client sent something."""
        if data and not self.ended:
            self._chunks.append(data)
        if fin:
            self.ended = True
        self._news.set()

    def lost(self) -> int:
        """The client reset the stream, or is gone; how many bytes were not read."""
        unread = sum(len(chunk) for chunk in self._chunks)
        self._chunks.clear()
        self.ended = self.finished = self.was_reset = True
        self._news.set()
        return unread


class SpdyConnection:
    """The server's end of one connection; ``run`` reads it, ``accept`` gives the new streams."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._streams: dict[int, SpdyStream] = {}
        self._new: deque[SpdyStream] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        self._unread = 0
        self._last_id = 0
        self._going = False
        self._over = False

    async def run(self) -> None:
        """Read until the client is gone or sends what is no SPDY; streams end with it."""
        try:
            while data := await self._duplex.read():
                for frame in self._decoder.feed(data):
                    await self._take(frame)
                while self._unread > MAX_UNREAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except ConnectionError:
            pass  # whoever uses a stream sees its end
        finally:
            self._over = True
            for stream in list(self._streams.values()):
                stream.lost()
            self._streams.clear()
            self._news.set()

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opened (it is told so); None when it is gone."""
        while not self._new:
            if self._over:
                return None
            self._news.clear()
            await self._news.wait()
        return self._new.popleft()

    async def reset(self, stream: SpdyStream, status: int = PROTOCOL_ERROR) -> None:
        """End a stream at once. Raises ConnectionError."""
        self._forget(stream)
        await self.send(RstStream(stream.id, status))

    async def go_away(self) -> None:
        """Tell the client that no more streams are served. Raises ConnectionError."""
        self._going = True
        await self.send(GoAway(self._last_id))

    async def send(self, frame: Frame) -> None:
        """Write a frame; waits while the client is slow. Raises ConnectionError."""
        async with self._turn:  # header compression binds the order on the wire
            await self._duplex.write(self._encoder.encode(frame))

    async def consumed(self, stream: SpdyStream, count: int) -> None:
        """Bytes were read: the client may send as many more."""
        self._unread -= count
        self._room.set()
        if self._over or stream.was_reset:
            return
        try:
            await self.send(WindowUpdate(stream.id, count))
            await self.send(WindowUpdate(0, count))
        except ConnectionError:
            pass  # the bytes are there all the same; ``run`` sees the end

    def settle(self, stream: SpdyStream) -> None:
        """Forget a stream that has ended both ways."""
        if stream.ended and stream.finished:
            self._streams.pop(stream.id, None)

    def _forget(self, stream: SpdyStream) -> None:
        self._unread -= stream.lost()
        self._streams.pop(stream.id, None)
        self._room.set()

    # ------------------------------------------------------------ what arrives

    async def _take(self, frame: Frame) -> None:
        match frame:
            case SynStream():
                await self._open(frame)
            case Data() | MoreHeaders():
                await self._continue(frame)
            case RstStream():
                stream = self._streams.get(frame.stream)
                if stream is not None:
                    self._forget(stream)
            case Ping():
                if frame.id % 2:
                    await self.send(frame)
            case GoAway():
                self._going = True
            case _:
                pass  # settings and windows bind nobody here; replies answer nothing we asked

    async def _open(self, frame: SynStream) -> None:
        if frame.stream <= self._last_id or frame.stream % 2 == 0:
            await self.send(RstStream(frame.stream, PROTOCOL_ERROR))
            return
        self._last_id = frame.stream
        if self._going or len(self._streams) >= MAX_STREAMS:
            await self.send(RstStream(frame.stream, REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream, frame.headers)
        stream.ended, stream.finished = frame.fin, frame.unidirectional
        self._streams[stream.id] = stream
        await self.send(SynReply(stream.id))  # a client loses data that comes before it
        self._new.append(stream)
        self._news.set()

    async def _continue(self, frame: Data | MoreHeaders) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            if isinstance(frame, Data) and frame.data and frame.stream > self._last_id:
                await self.send(RstStream(frame.stream, INVALID_STREAM))
            return
        data = frame.data if isinstance(frame, Data) and not stream.ended else b""
        self._unread += len(data)
        stream.arrived(data, fin=frame.fin)
        self.settle(stream)
