"""The log of one container instance: bounded, with times and streams, readable while it grows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from podwire.api.times import NS, TimeError, parse_time
from podwire.client.counters import LogOptions
from podwire.kubelet.text import nano_time
from podwire.runtime.ports import Clock

LIMIT_BYTES = 1_000_000
"""What is kept of one instance's log; older lines are dropped (upstream rotates at 10 MiB)."""


class ContainerLog:
    """Lines with their time in nanoseconds and their stream (stdout, stderr); a very long line is
    several of them, of which only the last has an end.
    """

    def __init__(self, clock: Clock, limit_bytes: int = LIMIT_BYTES) -> None:
        self._clock = clock
        self._limit = limit_bytes
        self._lines: Sequence[tuple[int, str, bytes]] = ()
        self._first = 0
        self._size = 0
        self._ended = False
        self._readers: list[asyncio.Future[None]] = []

    def write(self, stream: str, line: str) -> None:
        """Append what a program wrote (several lines become several)."""
        for part in line.split("\n"):
            self._append(stream, part.encode() + b"\n")
        self._wake()

    def write_part(self, stream: str, part: str) -> None:
        """Append a piece of a line that goes on."""
        self._append(stream, part.encode())
        self._wake()

    def _append(self, stream: str, data: bytes) -> None:
        lines = self._lines
        if not isinstance(lines, deque):  # most containers never print
            lines = self._lines = deque()
        lines.append((self._clock.now_ns(), stream, data))
        self._size += len(data)
        while self._size > self._limit and len(lines) > 1:
            self._size -= len(lines.popleft()[2])
            self._first += 1

    def end(self) -> None:
        """The container ended: followers stop after the last line."""
        self._ended = True
        self._wake()

    def text(self) -> str:
        """Everything kept, for messages and tests."""
        return b"".join(line for _, _, line in self._lines).decode(errors="replace")

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """The lines that ``options`` ask for; with follow, until the container ends."""
        left = options.limit_bytes
        at = self._start(options)
        while True:
            at = max(at, self._first)
            chunk = b"".join(
                self._render(i - self._first, timestamps=options.timestamps)
                for i in range(at, self._first + len(self._lines))
            )
            at = self._first + len(self._lines)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if self._ended or not options.follow or left == 0:
                return
            if at < self._first + len(self._lines):
                continue  # lines came while the reader was busy
            more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(more)
            await more

    def _start(self, options: LogOptions) -> int:
        since = 0
        if options.since_seconds is not None:
            since = self._clock.now_ns() - options.since_seconds * NS
        elif options.since_time:
            try:
                since = parse_time(options.since_time)
            except TimeError:
                since = 0
        at = self._first
        for time_ns, _, _ in self._lines:
            if time_ns >= since:
                break
            at += 1
        end = self._first + len(self._lines)
        return at if options.tail_lines is None else max(at, end - options.tail_lines)

    def _render(self, index: int, *, timestamps: bool) -> bytes:
        time_ns, _, data = self._lines[index]
        if timestamps and (index == 0 or self._lines[index - 1][2].endswith(b"\n")):
            return f"{nano_time(time_ns)} ".encode() + data
        return data
