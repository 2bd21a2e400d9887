"""Clients for tests: raw upgraded connections, SPDY as client-go speaks it, a wire in memory."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from podwire.apiserver.http.spdy.frames import (
    Data,
    Decoder,
    Encoder,
    RstStream,
    SynReply,
    SynStream,
)


class Wire:
    """One end of a connection in memory (Duplex)."""

    def __init__(self, incoming, outgoing):
        self._incoming = incoming
        self._outgoing = outgoing
        self._ended = False
        self.closed = False

    async def read(self):
        """Duplex."""
        if self._ended:
            return b""
        data = await self._incoming.get()
        self._ended = not data
        return data

    async def write(self, data):
        """Duplex."""
        if self.closed:
            raise ConnectionResetError("closed")
        await self._outgoing.put(data)

    def close(self):
        """Duplex."""
        if not self.closed:
            self.closed = True
            self._outgoing.put_nowait(b"")


def wire(depth=0):
    """Two ends; ``depth`` writes fit between them (0: any number)."""
    one, two = asyncio.Queue(), asyncio.Queue(depth)
    return Wire(one, two), Wire(two, one)


class Socket:
    """A TLS connection to the server (Duplex)."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer

    async def read(self):
        """Duplex."""
        return await self._reader.read(65536)

    async def write(self, data):
        """Duplex."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self):
        """Duplex."""
        self._writer.transport.abort()


@asynccontextmanager
async def upgraded(site, path, headers, method="POST"):
    """Ask for another protocol: the answer's status and headers, and the connection."""
    address = urlsplit(site.url)
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(
            address.hostname, address.port, ssl=site.tls()
        )
        lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", "Connection: Upgrade"]
        lines += ["Authorization: Bearer a-made-up-token", "Content-Length: 0"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        answer = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        try:
            yield int(head[0].split()[1]), answer, Socket(reader, writer)
        finally:
            writer.transport.abort()


class SpdyClient:
    """The client's side of SPDY: streams as client-go makes them."""

    def __init__(self, duplex):
        self.duplex = duplex
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.received = {}
        self.ended = set()
        self.frames = []
        self._last = -1

    async def send(self, *frames):
        """Write frames."""
        await self.duplex.write(b"".join(self.encoder.encode(frame) for frame in frames))

    async def open(self, fin=False, **headers):
        """Open a stream and wait for its reply."""
        self._last += 2
        number = self._last
        await self.send(SynStream(number, headers, fin=fin))
        await self.until(lambda: SynReply(number) in self.frames)
        return number

    async def until(self, condition):
        """Read until something is the case, or the server hangs up (EOFError)."""
        while not condition():
            data = await self.duplex.read()
            if not data:
                raise EOFError
            for frame in self.decoder.feed(data):
                self.frames.append(frame)
                if isinstance(frame, Data):
                    held = self.received.get(frame.stream, b"")
                    self.received[frame.stream] = held + frame.data
                    if frame.fin:
                        self.ended.add(frame.stream)
                elif isinstance(frame, RstStream):
                    self.ended.add(frame.stream)

    async def text(self, stream):
        """Everything of a stream, to its end."""
        await self.until(lambda: stream in self.ended)
        return self.received.get(stream, b"")
