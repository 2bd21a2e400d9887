"""SPDY/3.1 frames as values, and bytes to frames and back. No I/O; every length is bounded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from podwire.apiserver.http.spdy.dictionary import DICTIONARY

VERSION = 3
FIN, UNIDIRECTIONAL = 0x01, 0x02
MAX_CONTROL_BYTES = 64 * 1024
"""Of one control frame: our peers' headers are some hundred bytes."""
MAX_HEADERS_BYTES = 8 * 1024
"""Of one header block, inflated: a stream keeps its headers, and there may be many streams."""
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS = 1, 2, 3, 4
_PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 6, 7, 8, 9
_HEAD_BYTES = 8
_ID = 0x7FFFFFFF

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Statuses of RST_STREAM."""

Headers = dict[str, str]
"""Names in lower case; several values of a name are joined by NUL."""


class SpdyError(ConnectionError):
    """The peer's bytes are no SPDY/3.1, or exceed a bound: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """A stream begins."""

    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """A stream is accepted."""

    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class MoreHeaders:
    """More headers of a stream."""

    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    """A stream ends at once, both ways."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What the peer prefers: (id, flags, value)."""

    entries: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back by who did not begin it: clients' ids are odd."""

    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No more streams."""

    last_stream: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """The peer takes so many more bytes; stream 0 is the connection."""

    stream: int
    delta: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream. A long frame arrives as several of these; ``fin`` stands on the last."""

    stream: int
    data: bytes
    fin: bool = False


Frame = (
    SynStream | SynReply | MoreHeaders | RstStream | Settings | Ping | GoAway | WindowUpdate | Data
)


class Encoder:
    """Frames to bytes, in the order in which they are sent: header compression has a memory."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """One frame's bytes. Raises ValueError for data beyond 16 MiB."""
        match frame:
            case Data():
                if len(frame.data) > 0xFFFFFF:
                    raise ValueError("more than 16 MiB do not fit into a frame")
                head = (frame.stream & _ID, (FIN if frame.fin else 0) << 24 | len(frame.data))
                return struct.pack(">II", *head) + frame.data
            case SynStream():
                flags = (FIN if frame.fin else 0) | (UNIDIRECTIONAL if frame.unidirectional else 0)
                fixed = struct.pack(">IIBB", frame.stream, frame.associated, frame.priority << 5, 0)
                return _control(_SYN_STREAM, flags, fixed + self._block(frame.headers))
            case SynReply() | MoreHeaders():
                kind = _SYN_REPLY if isinstance(frame, SynReply) else _HEADERS
                fixed = struct.pack(">I", frame.stream)
                return _control(
                    kind, FIN if frame.fin else 0, fixed + self._block(frame.headers)
                )  # fmt: skip
            case RstStream():
                return _control(_RST_STREAM, 0, struct.pack(">II", frame.stream, frame.status))
            case Settings():
                body = struct.pack(">I", len(frame.entries))
                for number, flags, value in frame.entries:
                    body += struct.pack(">II", flags << 24 | number, value)
                return _control(_SETTINGS, 0, body)
            case Ping():
                return _control(_PING, 0, struct.pack(">I", frame.id))
            case GoAway():
                return _control(_GOAWAY, 0, struct.pack(">II", frame.last_stream, frame.status))
            case WindowUpdate():
                return _control(_WINDOW_UPDATE, 0, struct.pack(">II", frame.stream, frame.delta))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode("utf-8", "surrogateescape")
                plain += struct.pack(">I", len(data)) + data
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(body)) + body


class Decoder:
    """Bytes to frames. Raises SpdyError; it cannot be used afterwards."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._stream = 0
        self._left = 0
        self._fin = False
        self._in_data = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, and the pieces of data that have come."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            if self._in_data:
                if self._left and not self._buffer:
                    return frames
                frames.append(self._piece())
                continue
            if len(self._buffer) < _HEAD_BYTES:
                return frames
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if not first & 0x80000000:
                del self._buffer[:_HEAD_BYTES]
                self._stream, self._left = first, length
                self._fin, self._in_data = bool(second >> 24 & FIN), True
                continue
            version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
            if version != VERSION:
                raise SpdyError(f"SPDY version {version} is not 3")
            if length > MAX_CONTROL_BYTES:
                raise SpdyError(f"a control frame of {length} bytes")
            if len(self._buffer) < _HEAD_BYTES + length:
                return frames
            body = bytes(self._buffer[_HEAD_BYTES : _HEAD_BYTES + length])
            del self._buffer[: _HEAD_BYTES + length]
            frame = self._control(kind, second >> 24, body)
            if frame is not None:
                frames.append(frame)

    def _piece(self) -> Data:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(data)
        self._in_data = self._left > 0
        return Data(self._stream, data, self._fin and not self._in_data)

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        try:
            return self._parsed(kind, flags, body)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a malformed frame of type {kind}: {error}") from None

    def _parsed(self, kind: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & FIN)
        (stream,) = struct.unpack_from(">I", body) if body else (0,)
        stream &= _ID
        match kind:
            case 1:
                associated, priority = struct.unpack_from(">IB", body, 4)
                headers = self._headers(body[10:])
                one_way = bool(flags & UNIDIRECTIONAL)
                return SynStream(stream, headers, fin, one_way, associated & _ID, priority >> 5)
            case 2:
                return SynReply(stream, self._headers(body[4:]), fin)
            case 8:
                return MoreHeaders(stream, self._headers(body[4:]), fin)
            case 3:
                return RstStream(stream, *struct.unpack_from(">I", body, 4))
            case 4:
                return self._settings(body)
            case 6:
                return Ping(*struct.unpack(">I", body))
            case 7:
                return GoAway(stream, *struct.unpack_from(">I", body, 4))
            case 9:
                (delta,) = struct.unpack_from(">I", body, 4)
                return WindowUpdate(stream, delta & _ID)
        return None  # types that are not known are ignored (draft 3.1, 2.2.1)

    @staticmethod
    def _settings(body: bytes) -> Settings:
        (count,) = struct.unpack_from(">I", body)
        if len(body) != 4 + 8 * count:
            raise SpdyError("a malformed SETTINGS frame")
        entries = []
        for at in range(4, len(body), 8):
            first, value = struct.unpack_from(">II", body, at)
            entries.append((first & 0xFFFFFF, first >> 24, value))
        return Settings(tuple(entries))

    def _headers(self, block: bytes) -> Headers:
        plain = self._inflate.decompress(block, MAX_HEADERS_BYTES + 1)
        if len(plain) > MAX_HEADERS_BYTES or self._inflate.unconsumed_tail:
            raise SpdyError(f"more than {MAX_HEADERS_BYTES} bytes of headers")
        (count,) = struct.unpack_from(">I", plain)
        if 8 * count > len(plain):
            raise SpdyError("a header block is cut short")
        at, texts = 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            at += 4
            if at + length > len(plain):
                raise SpdyError("a header block is cut short")
            texts.append(plain[at : at + length].decode("utf-8", "surrogateescape"))
            at += length
        if at != len(plain):
            raise SpdyError("a header block has a tail")
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}
