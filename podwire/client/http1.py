"""HTTP/1.1 over the sockets counter: what probes, health ports and modelled programs speak.

Small and strict: a head of at most 32 KiB, bodies of at most 8 MiB, Content-Length and chunked.

**Modelled TLS.** No bytes are encrypted in the model. A client that speaks https sends one line
``PODWIRE-TLS host=<server name>`` before its request; a server says with ``tls=`` whether its port
expects it, and then answers it with ``PODWIRE-TLS ok`` before its first response. So a plain
request to a TLS port fails, and the other way round, as in life.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from podwire.client.counters import Listener, Stream
from podwire.runtime.tasks import Nursery

MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024
TLS_PREFIX = b"PODWIRE-TLS host="
TLS_ACCEPTED = b"PODWIRE-TLS ok\r\n"

REASONS = {
    100: "Continue", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    409: "Conflict", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
    417: "Expectation Failed", 418: "I'm a teapot", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
"""Reason phrases by status."""


class HttpError(Exception):
    """The other side does not speak HTTP as it should. ``status`` is what a server answers."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


Headers = list[tuple[str, str]]
"""Header fields in order, as they were spelled."""


def header(headers: Headers, name: str, default: str = "") -> str:
    """The first field of a name, whatever its letter case."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), default)


@dataclass(slots=True)
class Request:
    """One request as a server sees it; ``peer`` is the client's address and port."""

    method: str
    target: str
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    version: str = "HTTP/1.1"
    peer: tuple[str, int] = ("", 0)
    local: tuple[str, int] = ("", 0)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the first of each name counts."""
        pairs = parse_qsl(self.target.partition("?")[2], keep_blank_values=True)
        return dict(reversed(pairs))

    def header(self, name: str, default: str = "") -> str:
        """The first header of a name."""
        return header(self.headers, name, default)


@dataclass(slots=True)
class Response:
    """One answer. A server adds Content-Length and Connection itself."""

    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=list)
    reason: str = ""
    version: str = "HTTP/1.1"

    def header(self, name: str, default: str = "") -> str:
        """The first header of a name."""
        return header(self.headers, name, default)


def text(body: str, status: int = 200, kind: str = "text/plain; charset=utf-8") -> Response:
    """A short text answer."""
    return Response(status, body.encode(), [("Content-Type", kind)])


class Reader:
    """Reads messages from a connection, keeping what came too early."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._ended = False

    async def _fill(self) -> bool:
        data = b"" if self._ended else await self._stream.recv()
        self._ended = not data
        self._buffer += data
        return bool(data)

    async def line(self) -> bytes:
        """One line without its end; b"" at the end of the stream. Raises HttpError."""
        while (at := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise HttpError("header too large", 431)
            if not await self._fill():
                rest = bytes(self._buffer)
                self._buffer.clear()
                return rest
        found = bytes(self._buffer[:at]).rstrip(b"\r")
        del self._buffer[: at + 1]
        return found

    async def peek(self, prefix: bytes) -> bool:
        """Whether the next bytes are ``prefix``; False at the end of the stream."""
        while len(self._buffer) < len(prefix):
            if not prefix.startswith(self._buffer) or not await self._fill():
                return False
        return self._buffer.startswith(prefix)

    async def exactly(self, n: int) -> bytes:
        """``n`` bytes. Raises HttpError when the stream ends before."""
        while len(self._buffer) < n:
            if not await self._fill():
                raise HttpError("body is cut short")
        found = bytes(self._buffer[:n])
        del self._buffer[:n]
        return found

    async def rest(self) -> bytes:
        """Everything until the stream ends."""
        while await self._fill():
            if len(self._buffer) > MAX_BODY_BYTES:
                raise HttpError("body too large", 413)
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    async def ready(self) -> bool:
        """Wait for the next byte without taking it; False at the end of the stream."""
        return bool(self._buffer) or await self._fill()

    async def some(self, most: int) -> bytes:
        """The next bytes, at most so many; b"" at the end of the stream."""
        if not self._buffer:
            await self._fill()
        found = bytes(self._buffer[:most])
        del self._buffer[:most]
        return found

    def unread(self) -> bytes:
        """Take what was received and not read, for another protocol to read."""
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    async def fields(self) -> Headers:
        """Header fields up to the empty line."""
        found: Headers = []
        total = 0
        while line := await self.line():
            total += len(line)
            if total > MAX_HEAD_BYTES:
                raise HttpError("header too large", 431)
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name != name.strip():
                raise HttpError("malformed header")
            found.append((name, value.strip()))
        return found

    async def body(self, headers: Headers, *, until_end: bool) -> bytes:
        """The body that the headers announce. Raises HttpError."""
        if "chunked" in header(headers, "transfer-encoding").lower():
            return await self._chunked()
        length = header(headers, "content-length")
        if not length:
            return await self.rest() if until_end else b""
        if not (length.isascii() and length.isdigit()):
            raise HttpError("malformed Content-Length")
        if int(length) > MAX_BODY_BYTES:
            raise HttpError("body too large", 413)
        return await self.exactly(int(length))

    async def _chunked(self) -> bytes:
        whole = bytearray()
        while True:
            size = (await self.line()).partition(b";")[0].strip()
            if not size or size.strip(b"0123456789abcdefABCDEF"):
                raise HttpError("malformed chunk")
            n = int(size, 16)
            if len(whole) + n > MAX_BODY_BYTES:
                raise HttpError("body too large", 413)
            if n == 0:
                await self.fields()
                return bytes(whole)
            whole += await self.exactly(n)
            await self.line()


class Body:
    """The body of one message, piece by piece, for those who pass it on.

    ``length`` is what Content-Length says, None when only the end will tell. Raises HttpError for
    framing that is malformed, ambiguous (400) or not modelled (501).
    """

    def __init__(self, reader: Reader, headers: Headers, *, until_end: bool) -> None:
        self._reader = reader
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        coding = header(headers, "transfer-encoding").strip().lower()
        if coding and lengths:
            raise HttpError("Content-Length beside Transfer-Encoding")
        if coding not in {"", "chunked"}:
            raise HttpError(f"transfer coding {coding!r} is not modelled", 501)
        if len(dict.fromkeys(lengths)) > 1 or not all(n.isascii() and n.isdigit() for n in lengths):
            raise HttpError("malformed Content-Length")
        self.chunked = bool(coding)
        self.announced = bool(coding or lengths)
        """Whether the headers speak of a body at all."""
        self.length: int | None = int(lengths[0]) if lengths else None
        if not coding and not lengths and not until_end:
            self.length = 0
        self._left = self.length or 0
        self._over = self.length == 0

    async def piece(self) -> bytes:
        """The next bytes of the body, b"" after the last. Raises HttpError when it is cut short."""
        if self._over:
            return b""
        if self.chunked and self._left == 0:
            await self._next_chunk()
            if self._over:
                return b""
        most = PIECE_BYTES if self._left == 0 else min(self._left, PIECE_BYTES)
        data = await self._reader.some(most)
        if not data:
            self._over = True
            if self.chunked or self.length is not None:
                raise HttpError("body is cut short")
            return b""
        if self.chunked or self.length is not None:
            self._left -= len(data)
        if self._left == 0:
            if self.chunked:
                await self._reader.line()
            else:
                self._over = self.length is not None
        return data

    async def _next_chunk(self) -> None:
        size = (await self._reader.line()).partition(b";")[0].strip()
        if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
            raise HttpError("malformed chunk")
        self._left = int(size, 16)
        if self._left == 0:
            await self._reader.fields()
            self._over = True


# ------------------------------------------------------------------------------------------ server

Handler = Callable[[Request], Awaitable[Response]]
"""Answers one request."""


async def read_request(reader: Reader, stream: Stream) -> Request | None:
    """The next request, None when the client is done. Raises HttpError."""
    line = (await reader.line()).decode("latin-1")
    if not line:
        return None
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise HttpError("malformed request line")
    headers = await reader.fields()
    body = await reader.body(headers, until_end=False)
    return Request(parts[0], parts[1], headers, body, parts[2], stream.remote, stream.local)


def encode_response(response: Response, *, head_only: bool = False, close: bool = False) -> bytes:
    """An answer as bytes."""
    reason = response.reason or REASONS.get(response.status, "Unknown")
    lines = [f"{response.version} {response.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if not header(response.headers, "content-length") and response.status not in {204, 304}:
        lines.append(f"Content-Length: {len(response.body)}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return head if head_only else head + response.body


PLAIN_TO_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
"""What Go's net/http tells whoever speaks plain HTTP to its TLS port, before it hangs up."""
PLAIN_STARTS = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO")
"""How Go recognizes that (tlsRecordHeaderLooksLikeHTTP)."""


def go_refusal() -> bytes:
    """``PLAIN_TO_TLS``."""
    return PLAIN_TO_TLS


async def serve_connection(
    stream: Stream,
    handler: Handler,
    *,
    tls: bool = False,
    plain: Callable[[], bytes] = go_refusal,
) -> None:
    """Answer the requests of one connection until either side ends it; ``plain`` is what plain
    HTTP is told on a port of TLS.
    """
    reader = Reader(stream)
    try:
        if tls:
            if not await reader.peek(TLS_PREFIX):
                for start in PLAIN_STARTS:
                    if await reader.peek(start):
                        await _say_and_close(stream, plain())
                        return
                stream.abort()
                return
            await reader.line()
            await stream.send(TLS_ACCEPTED)
        while request := await read_request(reader, stream):
            response = await handler(request)
            asked = request.header("connection").lower()
            keep = asked != "close" and (request.version == "HTTP/1.1" or asked == "keep-alive")
            head_only = request.method == "HEAD"
            await stream.send(encode_response(response, head_only=head_only, close=not keep))
            if not keep:
                break
        await stream.close()
    except HttpError as error:
        body = text(f"{error.status} {REASONS.get(error.status, 'Bad Request')}", error.status)
        await _say_and_close(stream, encode_response(body, close=True))
    except (OSError, EOFError):
        stream.abort()


async def _say_and_close(stream: Stream, data: bytes) -> None:
    try:
        await stream.send(data)
        await stream.close()
    except OSError:
        stream.abort()


async def serve(
    listener: Listener,
    handler: Handler,
    *,
    tls: bool = False,
    plain: Callable[[], bytes] = go_refusal,
) -> None:
    """Accept and answer until the listener is closed or this task is cancelled."""
    async with Nursery() as connections:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                return
            name = f"http {stream.remote[0]}:{stream.remote[1]}"
            connections.start(_connection(stream, handler, tls, plain), name=name)


async def _connection(
    stream: Stream, handler: Handler, tls: bool, plain: Callable[[], bytes]
) -> None:
    try:
        await serve_connection(stream, handler, tls=tls, plain=plain)
    except BaseException:
        stream.abort()
        raise


# ------------------------------------------------------------------------------------------ client


def encode_request(
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    tls_name: str = "",
) -> bytes:
    """A request as bytes; ``tls_name`` puts the modelled TLS line before it."""
    fields = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if not header(fields, "host"):
        fields.insert(0, ("Host", host))
    if body and not header(fields, "content-length"):
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    tls = TLS_PREFIX + tls_name.encode() + b"\r\n" if tls_name else b""
    return tls + head + body


async def read_response(reader: Reader, method: str = "GET") -> Response:
    """The answer to a request. Raises HttpError (status 0 in it when nothing came at all)."""
    found = await read_response_head(reader)
    bodiless = method == "HEAD" or found.status in {204, 304}
    if not bodiless:
        found.body = await reader.body(found.headers, until_end=True)
    return found


async def read_response_head(reader: Reader) -> Response:
    """The head of the answer to a request, after any 100. Raises HttpError as read_response."""
    while True:
        line = (await reader.line()).decode("latin-1")
        if not line:
            raise HttpError("empty reply", 0)
        version, _, rest = line.partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/") or not (code.isascii() and code.isdigit()):
            raise HttpError("not an HTTP answer", 1)
        headers = await reader.fields()
        if int(code) != 100:
            break
    return Response(int(code), b"", headers, reason, version)


async def read_tls(reader: Reader) -> None:
    """The server's answer to the modelled TLS line. Raises HttpError (status 2): it speaks none."""
    if not await reader.peek(TLS_ACCEPTED):
        raise HttpError("wrong version number", 2)
    await reader.line()


async def fetch(
    stream: Stream,
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    tls_name: str = "",
) -> Response:
    """One request on a fresh connection. Raises HttpError, OSError; does not close."""
    await stream.send(encode_request(method, target, host, headers, body, tls_name=tls_name))
    reader = Reader(stream)
    if tls_name:
        await read_tls(reader)
    return await read_response(reader, method)
