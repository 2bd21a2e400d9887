"""A terminal's line discipline, for ``exec -it``: echo, line editing, Ctrl-C, CR LF.

kubectl puts the user's own terminal into raw mode, so this side echoes and collects lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from podwire.runtime.tasks import Event, Nursery

_INTERRUPT, _END, _ERASE, _KILL = 0x03, 0x04, (0x7F, 0x08), 0x15
INTERRUPTED = 130
MAX_LINE_BYTES = 4095
"""What is typed beyond it is dropped, as Linux' n_tty does."""
MAX_LINES = 256
"""When as many wait to be read, no more is taken from the client."""


class Tty:
    """Between a client's raw bytes and a command's cooked ones."""

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], None]
    ) -> None:
        self._read = read
        self._write = write
        self._line = bytearray()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = Event()
        self._ended = False
        self._foreground: asyncio.Task[int] | None = None

    def write(self, data: bytes) -> None:
        """Output of the command: a newline becomes CR LF."""
        self._write(data.replace(b"\n", b"\r\n"))

    async def read(self) -> bytes:
        """The next line, b"" at the end."""
        if self._ended and self._lines.empty():
            return b""
        line = await self._lines.get()
        self._room.set()
        return line

    async def pump(self) -> None:
        """Take the client's bytes until they end."""
        while data := await self._read():
            for byte in data:
                self._key(byte)
            while self._lines.qsize() > MAX_LINES:
                self._room.clear()
                await self._room.wait()
        self._finish()

    def _finish(self) -> None:
        self._ended = True
        self._lines.put_nowait(b"")

    def _key(self, byte: int) -> None:
        if byte == _INTERRUPT:
            self._line.clear()
            self._write(b"^C\r\n")
            if self._foreground is not None:
                self._foreground.cancel()
            else:
                self._lines.put_nowait(b"\n")
        elif byte == _END:
            if self._line:
                self._lines.put_nowait(bytes(self._line))
                self._line.clear()
            else:
                self._finish()
        elif byte in {0x0D, 0x0A}:
            self._write(b"\r\n")
            self._lines.put_nowait(bytes(self._line) + b"\n")
            self._line.clear()
        elif byte in _ERASE:
            if self._line:
                del self._line[-1:]
                self._write(b"\b \b")
        elif byte == _KILL:
            self._write(b"\b \b" * len(self._line))
            self._line.clear()
        elif (byte >= 0x20 or byte == 0x09) and len(self._line) < MAX_LINE_BYTES:
            self._line.append(byte)
            self._write(bytes((byte,)))

    async def foreground(self, work: Awaitable[int]) -> int:
        """Run something that Ctrl-C ends (status 130)."""

        async def body() -> int:
            return await work

        try:
            async with Nursery() as nursery:
                self._foreground = nursery.start(body(), name="foreground of a terminal")
                task = self._foreground
        finally:
            self._foreground = None
        return INTERRUPTED if task.cancelled() else task.result()
