"""postgres as a port with a protocol: who connects is let in, queries are not modelled."""

from __future__ import annotations

import struct

from podwire.client.counters import Stream
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command

VERSION = "18.0"
PORT = 5432
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
MAX_MESSAGE_BYTES = 64 * 1024


async def run(command: Command) -> int:
    """``postgres``: refuses to start without POSTGRES_PASSWORD, as the image's entrypoint does."""
    given = command.variables
    trusts = given.get("POSTGRES_HOST_AUTH_METHOD") == "trust"
    if not given.get("POSTGRES_PASSWORD") and not trusts:
        command.err(
            "Error: Database is uninitialized and superuser password is not specified.\n"
            "       You must specify POSTGRES_PASSWORD to a non-empty value for the\n"
            "       superuser.\n"
        )
        return 1
    async with Server(command) as server:
        try:
            await server.tcp(PORT, _talk)
        except OSError as error:
            command.err(f'LOG:  could not bind IPv4 address "0.0.0.0": {in_use(error)}\n')
            return 1
        command.err(f"LOG:  starting PostgreSQL {VERSION}\n")
        command.err(f'LOG:  listening on IPv4 address "0.0.0.0", port {PORT}\n')
        command.err("LOG:  database system is ready to accept connections\n")
        await server.until_signal()
        command.err("LOG:  database system is shut down\n")
    return 0


class _Messages:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""

    async def take(self, size: int) -> bytes:
        """Just so many bytes; b"" when the client went."""
        while len(self._buffer) < size:
            data = await self._stream.recv()
            if not data:
                return b""
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def body(self) -> bytes:
        """A length and what it counts, without the length; b"" at the end or when absurd."""
        head = await self.take(4)
        size = struct.unpack("!I", head)[0] - 4 if head else 0
        return await self.take(size) if 0 < size <= MAX_MESSAGE_BYTES else b""


async def _talk(stream: Stream) -> None:
    messages = _Messages(stream)
    while body := await messages.body():
        code = struct.unpack("!I", body[:4])[0] if len(body) >= 4 else CANCEL_REQUEST
        if code in {SSL_REQUEST, GSS_REQUEST}:
            await stream.send(b"N")
            continue
        if code == CANCEL_REQUEST:
            return
        break
    else:
        return
    ready = _message(b"Z", b"I")
    version = b"server_version\0" + VERSION.encode() + b"\0"
    hello = _message(b"R", struct.pack("!I", 0)) + _message(b"S", version)
    await stream.send(hello + _message(b"K", struct.pack("!II", 1, 1)) + ready)
    while kind := await messages.take(1):
        await messages.body()
        if kind == b"X":
            return
        fields = b"SERROR\0VERROR\0C0A000\0Mnot modelled: queries\0\0"
        await stream.send(_message(b"E", fields) + ready)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
