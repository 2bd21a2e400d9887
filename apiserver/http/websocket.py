"""WebSocket (RFC 6455), the server's side, over a Duplex. ``wsproto`` knows the frames."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Sequence

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from podwire.api.status import ApiError
from podwire.apiserver.http.duplex import Duplex
from podwire.client.counters import Request

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of one message: our peers send 32 KiB at a time."""
LINGER_S = 5.0
"""How long a peer has to answer a close."""


def offered(request: Request) -> list[str]:
    """The sub-protocols that a client offers, in its order."""
    header = request.headers.get("sec-websocket-protocol", "")
    return [name.strip() for name in header.split(",") if name.strip()]


def asked_for(request: Request) -> bool:
    """Whether a request wants to become a WebSocket."""
    connection = request.headers.get("connection", "").lower()
    return "upgrade" in connection and request.headers.get("upgrade", "").lower() == "websocket"


def accept(request: Request, protocols: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The sub-protocol chosen ("" when the client offers none and that is among ``protocols``),
    and the headers of the 101. Raises ApiError BadRequest.
    """
    names = offered(request) or [""]
    chosen = next((name for name in names if name in protocols), None)
    if chosen is None:
        known = " or ".join(name for name in protocols if name)
        raise _refused(f"no WebSocket sub-protocol of {', '.join(names)!r} is known; use {known}")
    key = request.headers.get("sec-websocket-key", "")
    try:
        complete = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        complete = False
    if not complete or request.headers.get("sec-websocket-version", "") != "13":
        raise _refused("the WebSocket handshake is incomplete")
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": generate_accept_token(key.encode()).decode(),
    }
    if chosen:
        headers["Sec-WebSocket-Protocol"] = chosen
    return chosen, headers


def _refused(why: str) -> ApiError:
    return ApiError("BadRequest", f"unable to upgrade: {why}")


class WebSocket:
    """Messages both ways. Pings are answered while somebody receives."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._connection = Connection(ConnectionType.SERVER)
        self._turn = asyncio.Lock()
        self._arrived: deque[bytes] = deque()
        self._partial = bytearray()

    async def receive(self) -> bytes | None:
        """The next message, text as UTF-8; None when the peer closed or is gone."""
        while not self._arrived:
            if self._connection.state in {ConnectionState.CLOSED, ConnectionState.REMOTE_CLOSING}:
                return None
            try:
                data = await self._duplex.read()
                if not data:
                    return None
                if not await self._take(data):
                    return None
            except ConnectionError:
                return None
        return self._arrived.popleft()

    async def _take(self, data: bytes) -> bool:
        """Bytes arrived; whether the conversation goes on."""
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, Message):
                    part = event.data
                    self._partial += part.encode() if isinstance(part, str) else part
                    if len(self._partial) > MAX_MESSAGE_BYTES:
                        await self._close(CloseReason.MESSAGE_TOO_BIG)
                        return False
                    if event.message_finished:
                        self._arrived.append(bytes(self._partial))
                        self._partial.clear()
                elif isinstance(event, Ping):
                    if self._connection.state is ConnectionState.OPEN:
                        await self._write(self._connection.send(event.response()))
                elif isinstance(event, CloseConnection):
                    if self._connection.state is ConnectionState.REMOTE_CLOSING:
                        await self._write(self._connection.send(event.response()))
                    await self._close(event.code)  # of an open one: the peer's frames are broken
                    return bool(self._arrived)
        except RemoteProtocolError as error:
            hint = error.event_hint
            code = hint.code if isinstance(hint, CloseConnection) else CloseReason.PROTOCOL_ERROR
            await self._close(code)
            return False
        return True

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one message; waits while the peer is slow. Raises ConnectionError."""
        event: TextMessage | BytesMessage
        event = TextMessage(data=data.decode()) if text else BytesMessage(data=data)
        try:
            framed = self._connection.send(event)
        except LocalProtocolError:
            raise ConnectionAbortedError("the WebSocket is closed") from None
        await self._write(framed)

    async def _write(self, framed: bytes) -> None:
        async with self._turn:
            await self._duplex.write(framed)

    async def _close(self, code: int, reason: str = "") -> None:
        if self._connection.state is ConnectionState.OPEN:
            await self._write(self._connection.send(CloseConnection(code=code, reason=reason)))

    async def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Say goodbye and wait a moment for the peer's; the connection ends in any case."""
        try:
            await self._close(code, reason)
            async with asyncio.timeout(LINGER_S):
                while await self.receive() is not None:
                    pass
        except (ConnectionError, TimeoutError):
            pass  # a peer that is gone needs no goodbye
        finally:
            self._duplex.close()


class Tunnel:
    """A WebSocket as a Duplex: bytes, however they were cut into messages."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """See ``Duplex``."""
        while (data := await self._socket.receive()) is not None:
            if data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """See ``Duplex``."""
        await self._socket.send(data)

    def close(self) -> None:
        """Nothing: who made the WebSocket closes it."""
