"""A connection after 101: bytes both ways, with backpressure both ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podwire.apiserver.http.connection import Connection

_UNREAD_BYTES = 256 * 1024
"""What the client may have sent and nobody read, before it has to wait."""


class Upgraded:
    """``Duplex`` over a connection's transport."""

    def __init__(self, connection: Connection, received: bytes) -> None:
        self._connection = connection
        self._unread = bytearray(received)
        self._over = connection.lost
        self._reader: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ the connection's side

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        self._unread += data
        if len(self._unread) > _UNREAD_BYTES:
            self._connection.transport.pause_reading()
        self._wake()

    def eof(self) -> None:
        """No more will come."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # ------------------------------------------------------------ Duplex

    async def read(self) -> bytes:
        """See ``Duplex``. One reader at a time."""
        while not self._unread:
            if self._over:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = bytes(self._unread)
        self._unread.clear()
        if not self._over:
            self._connection.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """See ``Duplex``."""
        connection = self._connection
        await connection.drained()
        if connection.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        connection.transport.write(data)

    def close(self) -> None:
        """See ``Duplex``."""
        self._connection.transport.close()
