"""HTTP carried on to a backend, and its answer back: what every proxy of the API server does.

Source of behaviour and words: apimachinery pkg/util/proxy (upgradeaware.go, transport.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlencode

from podwire.api.status import ApiError
from podwire.apiserver import answers
from podwire.apiserver.http.duplex import Duplex, Switch
from podwire.apiserver.http.headers import combined
from podwire.apiserver.rewriting import MAX_HTML_BYTES, REWRITTEN_ENCODINGS, Links
from podwire.client import http1
from podwire.client.counters import Frame, Request, Response, Stream
from podwire.runtime.tasks import first

WHOLE_BYTES = 64 * 1024
"""Answers up to this size keep their Content-Length; longer ones are streamed."""
PATH_SAFE = "%/:@!$&'()*+,;=-._~"

FORWARDED_FOR = "x-forwarded-for"
_HOP_BY_HOP = (
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
_OWN = ("authorization", "content-length", "expect")
"""The API server's own business with its client: credentials end here."""
_CORS = (
    "access-control-allow-credentials", "access-control-allow-headers",
    "access-control-allow-methods", "access-control-allow-origin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Onward:
    """What a backend is asked."""

    method: str
    target: str
    """Path and query, escaped."""
    host: str
    headers: http1.Headers
    body: bytes = b""
    tls_name: str = ""
    """Of modelled TLS; "" for none, and where TLS is real."""


def target(path: str, query: tuple[tuple[str, str], ...]) -> str:
    """Path and query as a request line has them."""
    escaped = quote(path or "/", safe=PATH_SAFE)
    return f"{escaped}?{urlencode(query)}" if query else escaped


def headers(request: Request, own: tuple[str, ...] = ()) -> http1.Headers:
    """The client's headers without those that end here (and those that begin with one of ``own``),
    and whom they came from.
    """
    given = request.headers
    listed = [name.strip().lower() for name in given.get("connection", "").split(",")]
    drop = {*_HOP_BY_HOP, *_OWN, "host", FORWARDED_FOR, *listed}
    found = [
        (name.title(), value)
        for name, value in given.items()
        if name not in drop and not name.startswith(("impersonate-", *own))
    ]
    forwarded = quote(request.path, safe=PATH_SAFE)
    way = [hop for hop in (given.get(FORWARDED_FOR), request.client) if hop]
    if way:
        found.append((FORWARDED_FOR.title(), ", ".join(way)))
    return [*found, ("X-Forwarded-Uri", forwarded)]


def upgrading(request: Request) -> http1.Headers:
    """The headers that ask for the client's other protocol."""
    return [("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade", ""))]


@contextmanager
def or_aborted(stream: Stream) -> Iterator[None]:
    """An exchange with a backend: its connection does not outlive a failure. Raises ApiError."""
    try:
        yield
    except (http1.HttpError, OSError) as error:
        stream.abort()
        raise unreachable(broken(error)) from None
    except BaseException:
        stream.abort()
        raise


async def ask(stream: Stream, onward: Onward) -> tuple[http1.Reader, http1.Response]:
    """Send the request; the head of the answer. Raises HttpError, OSError."""
    reader = http1.Reader(stream)
    await stream.send(
        http1.encode_request(
            onward.method, onward.target, onward.host, onward.headers, onward.body,
            tls_name=onward.tls_name,
        )
    )  # fmt: skip
    if onward.tls_name:
        await http1.read_tls(reader)
    return reader, await http1.read_response_head(reader)


async def answer(
    stream: Stream, reader: http1.Reader, head: http1.Response, method: str, links: Links
) -> Response:
    """The backend's answer as the client gets it. Raises HttpError, OSError."""
    if head.status < 200:
        other = head.header("upgrade")
        raise ConnectionError(f'backend tried to switch protocol "{other}" when "" was requested')
    found = _returned(head, links)
    if method == "HEAD" or head.status in {204, 304}:
        await stream.close()
        return Response(head.status, b"", found)
    body = http1.Body(reader, head.headers, until_end=True)
    kind = found.get("content-type", "").partition(";")[0].strip()
    encoding = found.get("content-encoding", "")
    if kind == "text/html" and "location" not in found and encoding in REWRITTEN_ENCODINGS:
        page = await whole(body, MAX_HTML_BYTES)
        await stream.close()
        try:
            return Response(head.status, links.body(page, encoding), found)
        except ValueError as error:
            raise http1.HttpError(str(error), 502) from None
    if body.length is not None and body.length <= WHOLE_BYTES:
        data = await whole(body, WHOLE_BYTES)
        await stream.close()
        return Response(head.status, data, found)
    response = Response(head.status, b"", found)
    response.stream = _Pieces(stream, body)
    return response


async def switched(
    stream: Stream, reader: http1.Reader, head: http1.Response, method: str, links: Links
) -> Switch | Response:
    """The backend's answer to a request for another protocol. Raises HttpError, OSError."""
    if head.status == 101:
        names = {name.title(): value for name, value in combined(head.headers).items()}
        return Switch(names, partial(_joined, stream=stream, early=reader.unread()))
    if head.status < 400:
        stream.abort()
        why = f"invalid upgrade response: status code {head.status}"
        return answers.error(ApiError("", why, 500))
    return await answer(stream, reader, head, method, links)


async def whole(body: http1.Body, limit_bytes: int) -> bytes:
    """All of a body. Raises HttpError when there is more than the limit."""
    found = bytearray()
    while piece := await body.piece():
        found += piece
        if len(found) > limit_bytes:
            raise http1.HttpError(f"more than {limit_bytes} bytes", 502)
    return bytes(found)


class _Pieces:
    """A long answer as frames; closing it ends the backend's connection."""

    def __init__(self, stream: Stream, body: http1.Body) -> None:
        self._stream = stream
        self._body = body

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        try:
            piece = await self._body.piece()
        except (http1.HttpError, OSError):
            self._stream.abort()
            # The client must not take half an answer for a whole one.
            raise ConnectionResetError("the backend broke off") from None
        if not piece:
            await self._stream.close()
            raise StopAsyncIteration
        return Frame(piece)

    async def aclose(self) -> None:
        """The client has all, or went away."""
        self._stream.abort()


def _returned(head: http1.Response, links: Links) -> dict[str, str]:
    listed = [name.strip().lower() for name in head.header("connection").split(",")]
    drop = {*_HOP_BY_HOP, *_CORS, "content-length", "date", *listed}  # the server dates answers
    found = {k: v for k, v in combined(head.headers).items() if k not in drop}
    if "location" in found:
        found["location"] = links.url(found["location"])
    return found


async def _joined(duplex: Duplex, stream: Stream, early: bytes) -> None:
    """Carry bytes both ways until one side ends."""

    async def inward() -> None:
        while data := await duplex.read():
            await stream.send(data)

    async def outward() -> None:
        if early:
            await duplex.write(early)
        while data := await stream.recv():
            await duplex.write(data)

    try:
        await first(inward(), outward())
        await stream.close()
    except OSError:
        stream.abort()
    except asyncio.CancelledError:
        stream.abort()
        raise
    finally:
        duplex.close()


def unreachable(error: Exception) -> ApiError:
    """503, with what went wrong on the way to the backend."""
    return ApiError("ServiceUnavailable", f"error trying to reach service: {error}")


def broken(error: Exception) -> Exception:
    """What happened to a connection that was there, in Go's words."""
    if isinstance(error, http1.HttpError):
        words = {0: "EOF", 2: "tls: first record does not look like a TLS handshake"}
        return ConnectionError(words.get(error.status, f"malformed HTTP response: {error}"))
    if isinstance(error, ConnectionResetError):
        return ConnectionError("read: connection reset by peer")
    return error
