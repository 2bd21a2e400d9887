"""The standard streams of a program in a container: what it prints, what it is given to read.

``Outbox`` holds what nobody has taken yet, ``Inbox`` what the program has not read yet; both are
bounded. ``Stdio`` is process 1's: its output goes to the log and to whoever is attached.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator

from podwire.api.status import ApiError
from podwire.kubelet.logs import ContainerLog
from podwire.runtime.tasks import Event

STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
PATIENT_BYTES = 256 * 1024
"""As much output may wait before a program that asks is held back."""
MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""As much may wait of a program that never asks."""
MAX_STDIN_BYTES = 1024 * 1024
"""As much input may wait: whoever sends more waits for the program."""
PART_BYTES = 16 * 1024
"""A longer line is logged in parts while it is printed (containerd's max_container_log_line_size).
"""
LOST = "the client reads too slowly: {} bytes wait for it"


class Outbox:
    """Output on its way to a client: (stream, bytes) until the end."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._news = Event()
        self._taken = Event()

    def put(self, stream: int, data: bytes) -> None:
        """Add output. Raises OSError (ENOBUFS) once when far too much waits; the rest is lost."""
        if self._ended or self._broken or not data:
            return
        if self._size + len(data) > MAX_UNREAD_BYTES:
            self._broken = True
            raise OSError(errno.ENOBUFS, f"more than {MAX_UNREAD_BYTES} bytes wait: not modelled")
        self._chunks.append((stream, data))
        self._size += len(data)
        self._news.set()

    @property
    def waiting_bytes(self) -> int:
        """What nobody has taken yet."""
        return self._size

    def end(self) -> None:
        """No more output will come."""
        self._ended = True
        self._news.set()
        self._taken.set()

    async def drained(self) -> None:
        """Wait while the client is slow."""
        while self._size > PATIENT_BYTES and not self._ended:
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> tuple[int, bytes] | None:
        """The next output; None at the end."""
        while not self._chunks:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        stream, data = self._chunks.popleft()
        self._size -= len(data)
        self._taken.set()
        return stream, data


class Inbox:
    """Input on its way to a program."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._closed = False
        self._news = Event()
        self._taken = Event()

    async def send(self, data: bytes) -> None:
        """Add input, b"" ends it. Waits while the program has too much to read already."""
        if self._closed:
            return
        if not data:
            self.close()
            return
        while self._size and self._size + len(data) > MAX_STDIN_BYTES and not self._closed:
            self._taken.clear()
            await self._taken.wait()
        self._chunks.append(data)
        self._size += len(data)
        self._news.set()

    def close(self) -> None:
        """No more input will come; nobody who sends waits any longer."""
        self._closed = True
        self._news.set()
        self._taken.set()

    async def read(self) -> bytes:
        """The next input, b"" at its end (and ever after)."""
        while not self._chunks:
            if self._closed:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._chunks.pop(0)
        self._size -= len(data)
        self._taken.set()
        return data


class Stdio:
    """Process 1's streams. ``stdin``, ``stdin_once`` and ``tty`` are the container's fields."""

    def __init__(
        self, log: ContainerLog, *, stdin: bool = False, stdin_once: bool = False, tty: bool = False
    ) -> None:
        self.log = log
        self.stdin = stdin
        self.stdin_once = stdin_once
        self.tty = tty
        self.size = (0, 0)
        """Columns and rows of the terminal, as the last client who was attached told."""
        self.inbox = Inbox()
        if not stdin:
            self.inbox.close()
        self._unfinished = {STDOUT: b"", STDERR: b""}
        self._attached: dict[Attachment, None] = {}

    def write(self, stream: int, data: bytes) -> None:
        """The program prints: to the log by whole lines, to those attached at once."""
        stream = STDOUT if self.tty else stream
        for attached in list(self._attached):
            attached.shown(stream, data)
        *lines, rest = (self._unfinished[stream] + data).split(b"\n")
        for line in lines:
            self._log(stream, line)
        while len(rest) > PART_BYTES:
            cut = PART_BYTES
            while rest[cut] & 0xC0 == 0x80 and cut > PART_BYTES - 3:
                cut -= 1  # a character stays whole
            self.log.write_part(_NAMES[stream], rest[:cut].decode(errors="replace"))
            rest = rest[cut:]
        self._unfinished[stream] = rest

    def line(self, stream: int, text: str) -> None:
        """The program prints a line."""
        self.write(stream, text.encode(errors="surrogateescape") + b"\n")

    def _log(self, stream: int, line: bytes) -> None:
        self.log.write(_NAMES[stream], line.decode(errors="replace"))

    async def read(self) -> bytes:
        """The program's next input, b"" at its end."""
        return await self.inbox.read()

    def end(self) -> None:
        """The program is over: an unfinished line is logged, those attached are let go."""
        for stream, rest in self._unfinished.items():
            if rest:
                self._log(stream, rest)
        self._unfinished = {STDOUT: b"", STDERR: b""}
        self.inbox.close()
        for attached in list(self._attached):
            attached.detach()

    def attach(self, *, stdin: bool) -> Attachment:
        """Show a client what the program prints from now on."""
        attached = Attachment(self, stdin=stdin and self.stdin)
        self._attached[attached] = None
        return attached

    def forget(self, attached: Attachment) -> None:
        """A client was let go. With stdinOnce the first one's input was all there is."""
        self._attached.pop(attached, None)
        if attached.feeds and self.stdin_once:
            self.inbox.close()


class Attachment:
    """A client attached to process 1 (counters.ExecSession)."""

    def __init__(self, stdio: Stdio, *, stdin: bool) -> None:
        self._stdio = stdio
        self._outbox = Outbox()
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.feeds = stdin
        """Whether its input reaches the program."""

    def shown(self, stream: int, data: bytes) -> None:
        """The program printed something. Who does not read is let go: the program goes on."""
        if self._outbox.waiting_bytes + len(data) <= MAX_UNREAD_BYTES // 4:
            self._outbox.put(stream, data)
            return
        why = LOST.format(self._outbox.waiting_bytes)
        if not self._over.done():
            self._over.set_exception(ApiError("InternalError", f"Internal error occurred: {why}"))
            self._over.exception()  # told to whoever waits; nobody may
        self.detach()

    def detach(self) -> None:
        """Let the client go."""
        self._stdio.forget(self)
        self._outbox.end()
        if not self._over.done():
            self._over.set_result(0)

    async def send_stdin(self, data: bytes) -> None:
        """Bytes for the program; b"" when the client has no more.

        As containerd does: with stdinOnce and no terminal that closes the program's stdin and its
        output is awaited; otherwise the client is let go.
        """
        if not self.feeds:
            return
        if data:
            await self._stdio.inbox.send(data)
        elif self._stdio.stdin_once and not self._stdio.tty:
            self._stdio.inbox.close()
        else:
            self.detach()

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size."""
        self._stdio.size = (columns, rows)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout) and (2, stderr) bytes until the client is let go."""
        while (item := await self._outbox.take()) is not None:
            yield item

    async def wait(self) -> int:
        """0 once the client was let go. Raises ApiError when it read too slowly."""
        return await asyncio.shield(self._over)

    def cancel(self) -> None:
        """The client went away."""
        self.detach()
