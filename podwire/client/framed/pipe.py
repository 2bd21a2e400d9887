"""Two sessions joined in memory: every counter through encode and decode, without a socket.

Tests hold the framed bindings to the direct ones with it, in virtual time.
"""

from __future__ import annotations

import asyncio

from structlog.typing import FilteringBoundLogger

from podwire.client.framed.session import Serve, Session
from podwire.runtime.ports import Clock


class _End:
    """The carrier of one side: what one turn wrote arrives in the next."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.other: Session | None = None

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if self.other is not None:
            self.other.feed(b"".join(parts))

    async def drained(self) -> None:
        """A pipe is never full: a stream's credit bounds what is in it."""

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self._cut)

    def _cut(self) -> None:
        self._flush()
        if self.other is not None:
            self.other.lose(ConnectionResetError("the peer closed the connection"))


class PipeEnd:
    """One side as a ``Connection``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def up(self) -> bool:
        """Whether nobody closed the pipe."""
        return self._session.error is None

    def session(self) -> Session:
        """The session. Raises ConnectionError when the pipe is closed."""
        if self._session.error is not None:
            raise ConnectionError(str(self._session.error))
        return self._session

    async def connected(self) -> Session:
        """The session at once; of a closed pipe never."""
        if not self.up:
            await asyncio.get_running_loop().create_future()
        return self._session

    async def restored(self) -> None:
        """Never: a pipe is not mended."""
        await asyncio.get_running_loop().create_future()


def pipe(
    clock: Clock,
    log: FilteringBoundLogger,
    rooms: tuple[str, str],
    serve: tuple[Serve | None, Serve | None],
) -> tuple[PipeEnd, PipeEnd]:
    """Join two rooms; each serves what its ``serve`` enters into a table."""
    ends = (_End(), _End())
    sessions = [
        Session(end, clock, log, room, table)
        for end, room, table in zip(ends, rooms, serve, strict=True)
    ]
    ends[0].other, ends[1].other = sessions[1], sessions[0]
    for session in sessions:
        session.start()
    return PipeEnd(sessions[0]), PipeEnd(sessions[1])
