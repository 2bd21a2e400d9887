"""gRPC's unary calls over the sockets counter.

HTTP/2 is `h2`'s; here are messages and statuses. Bounded: one message of at
most 64 KiB a call, 100 calls at a time on a connection. No TLS, no compression, no streams.
Source: grpc.github.io (PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Self
from urllib.parse import quote, unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from podwire.client.counters import Listener, Stream
from podwire.client.grpc import Code, GrpcError, Handler
from podwire.runtime.tasks import Nursery

MAX_MESSAGE_BYTES = 64 * 1024
_PREFIX = struct.Struct(">?I")


class Client:
    """A connection to a server. Call ``open`` first; one call at a time."""

    def __init__(self, stream: Stream, authority: str, user_agent: str) -> None:
        self._stream = stream
        self._authority = authority
        self._user_agent = user_agent
        self._h2 = H2Connection(H2Configuration())

    async def open(self) -> Self:
        """Greet, and wait for the server's greeting. Raises ConnectionError, GrpcError."""
        self._h2.initiate_connection()
        await _flush(self._h2, self._stream)
        while not any(isinstance(e, RemoteSettingsChanged) for e in await self._events()):
            pass
        return self

    async def call(self, path: str, message: bytes) -> bytes:
        """The answer to one message. Raises ConnectionError, GrpcError."""
        h2, number = self._h2, self._h2.get_next_available_stream_id()
        head = [
            (":method", "POST"), (":scheme", "http"), (":path", path),
            (":authority", self._authority), ("content-type", "application/grpc"),
            ("user-agent", self._user_agent), ("te", "trailers"),
        ]  # fmt: skip
        h2.send_headers(number, head)
        h2.send_data(number, _framed(message), end_stream=True)
        await _flush(h2, self._stream)
        data = b""
        told: dict[str, str] = {}
        while True:
            for event in await self._events():
                if isinstance(event, ResponseReceived | TrailersReceived):
                    told.update(_text(event.headers))
                elif isinstance(event, DataReceived):
                    data += _counted(h2, event, len(data))
                elif isinstance(event, StreamReset):
                    raise GrpcError(Code.Internal, "stream terminated by RST_STREAM")
                elif isinstance(event, StreamEnded):
                    return _answer(told, data)

    async def _events(self) -> list[Event]:
        data = await self._stream.recv()
        if not data:
            raise GrpcError(Code.Unavailable, "error reading from server: EOF")
        try:
            events: list[Event] = self._h2.receive_data(data)
        except ProtocolError as error:
            raise GrpcError(Code.Unavailable, f"error reading server preface: {error}") from error
        await _flush(self._h2, self._stream)
        if any(isinstance(event, ConnectionTerminated) for event in events):
            raise GrpcError(Code.Unavailable, "the server closed the connection")
        return events


def _answer(told: dict[str, str], data: bytes) -> bytes:
    if told.get(":status") != "200":
        why = f"unexpected HTTP status code received from server: {told.get(':status', '')}"
        raise GrpcError(Code.Unknown, why)
    status = told.get("grpc-status", "")
    if status != "0":
        known = status.isdigit() and int(status) in set(Code)
        code = Code(int(status)) if known else Code.Unknown
        raise GrpcError(code, unquote(told.get("grpc-message", "")))
    return _unframed(data)


async def serve(listener: Listener, handler: Handler) -> None:
    """Serve connections until the listener is closed."""
    async with Nursery() as tasks:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                tasks.cancel()
                return
            tasks.start(_served(stream, handler), name=f"grpc from {stream.remote[0]}")


async def _served(stream: Stream, handler: Handler) -> None:
    try:
        await _Served(stream, handler).run()
        await stream.close()
    except (OSError, ProtocolError):
        stream.abort()
    except BaseException:
        stream.abort()
        raise


class _Served:
    """A connection as the server sees it: calls are answered in the order in which they end."""

    def __init__(self, stream: Stream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._calls: dict[int, tuple[str, bytes]] = {}
        """Paths and data so far of calls whose end has not come."""

    async def run(self) -> None:
        self._h2.initiate_connection()
        await _flush(self._h2, self._stream)
        while data := await self._stream.recv():
            for event in self._h2.receive_data(data):
                if isinstance(event, ConnectionTerminated):
                    return
                await self._take(event)
            await _flush(self._h2, self._stream)

    async def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._calls[event.stream_id] = (_text(event.headers).get(":path", ""), b"")
        elif isinstance(event, StreamReset):
            self._calls.pop(event.stream_id, None)
        elif isinstance(event, DataReceived) and event.stream_id in self._calls:
            path, data = self._calls[event.stream_id]
            try:
                self._calls[event.stream_id] = (path, data + _counted(self._h2, event, len(data)))
            except GrpcError:
                del self._calls[event.stream_id]
                self._h2.reset_stream(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
        elif isinstance(event, StreamEnded) and event.stream_id in self._calls:
            await self._answer(event.stream_id, *self._calls.pop(event.stream_id))

    async def _answer(self, number: int, path: str, data: bytes) -> None:
        h2 = self._h2
        head = [(":status", "200"), ("content-type", "application/grpc")]
        try:
            answer = await self._handler(path, _unframed(data))
        except GrpcError as error:
            told = [
                ("grpc-status", str(error.code.value)), ("grpc-message", quote(error.message, " ")),
            ]  # fmt: skip
            h2.send_headers(number, [*head, *told], end_stream=True)
            return
        h2.send_headers(number, head)
        h2.send_data(number, _framed(answer))
        h2.send_headers(number, [("grpc-status", "0"), ("grpc-message", "")], end_stream=True)


def _counted(h2: H2Connection, event: DataReceived, before: int) -> bytes:
    """Data of a message, acknowledged. Raises GrpcError when it becomes too long."""
    h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    if before + len(event.data) > MAX_MESSAGE_BYTES:
        raise GrpcError(Code.Internal, f"a message of more than {MAX_MESSAGE_BYTES} bytes")
    return bytes(event.data)


def _text(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {
        name.decode(errors="replace"): value.decode(errors="replace") for name, value in headers
    }


async def _flush(h2: H2Connection, stream: Stream) -> None:
    if data := h2.data_to_send():
        await stream.send(data)


def _framed(message: bytes) -> bytes:
    return _PREFIX.pack(False, len(message)) + message


def _unframed(data: bytes) -> bytes:
    """The one message. Raises GrpcError when it is something else (compressed, several, torn)."""
    compressed, size = _PREFIX.unpack_from(data) if len(data) >= _PREFIX.size else (False, -1)
    if compressed or size != len(data) - _PREFIX.size:
        raise GrpcError(Code.Internal, "the body is not one message without compression")
    return data[_PREFIX.size :]
