"""Counter 1 over a session: requests, answers and watch streams."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import msgspec

from podwire.api.status import ApiError
from podwire.client import identity
from podwire.client.counters import Api, Frame, Request, Response, User
from podwire.client.framed.calls import Items
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection, Session

Speaker = Callable[[str, str], User | None]
"""The user that a room means by a name, None where it may not speak for it."""

_JOINED_BYTES = 256 * 1024


class Head(msgspec.Struct, array_like=True, frozen=True):
    """An answer without its stream."""

    status: int
    body: bytes
    headers: dict[str, str]


SEND = Method("api.send", tuple[Request], result=Head, item=list[bytes])


def serve_api(
    table: Table, api: Api, session: Session, speaker: Speaker = identity.speaker
) -> None:
    """Let a room call the API; a request that names no user is the room's own.

    A room speaks only for those whose work it does, whatever user its request names.
    """

    async def send(request: Request) -> tuple[Head, AsyncIterator[list[bytes]] | None]:
        user: User | None = identity.room_user(session.peer)
        if request.user is not None:
            user = speaker(session.peer, request.user.name)
            if user is None:
                raise _foreign(session.peer, request.user)
        response = await api.send(replace(request, user=user))
        return parted(response)

    table.stream(SEND, send)


def _foreign(room: str, user: User) -> ApiError:
    message = f'the room "{room}" may not speak as user "{user.name}"'
    return ApiError("Forbidden", f"forbidden: {message}")


def parted(response: Response) -> tuple[Head, AsyncIterator[list[bytes]] | None]:
    """An answer as what crosses: its head, and the frames of its stream if it has one."""
    head = Head(response.status, response.body, response.headers)
    return head, _joined(response.stream) if response.stream is not None else None


def joined(head: Head, items: Items | None) -> Response:
    """The answer that crossed."""
    stream = _Frames(items) if items is not None else None
    return Response(head.status, head.body, head.headers, stream)


async def _joined(frames: AsyncIterator[Frame]) -> AsyncIterator[list[bytes]]:
    """What is ready in the same turn travels in one item."""
    pending = getattr(frames, "pending", None)
    try:
        async for frame in frames:
            batch, size = [frame.data], len(frame.data)
            while pending is not None and size < _JOINED_BYTES and (more := pending()) is not None:
                batch.append(more.data)
                size += len(more.data)
            yield batch
    finally:
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()


class _Frames:
    """A watch's frames as they arrive."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._batch: list[bytes] = []

    def __aiter__(self) -> _Frames:
        return self

    async def __anext__(self) -> Frame:
        while not self._batch:
            self._batch = await self._items.__anext__()
            self._batch.reverse()
        return Frame(self._batch.pop())

    async def aclose(self) -> None:
        """The reader goes away: the server's stream ends too."""
        await self._items.aclose()


class FramedApi:
    """Counter 1 at the other end of a link."""

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def send(self, request: Request) -> Response:
        """Perform one request. Raises ConnectionError while the API server is away, ApiError (413)
        for what is too large to cross: a list is then to be read in pages.
        """
        try:
            head, items = await self._link.session().stream(SEND, request)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise ApiError("RequestEntityTooLarge", f"{error.strerror}: set a limit") from None
        return joined(head, items)

    async def restored(self) -> None:
        """Wait until an API server that was lost answers again."""
        await self._link.restored()
