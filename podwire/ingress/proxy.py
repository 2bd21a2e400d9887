"""The data path: requests of one client connection, each decided by ``l7`` and passed on.

Source: nginx's http and proxy modules as ingress-nginx v1.15.1 configures them (nginx.tmpl,
internal/ingress/controller/config): headers, timeouts, sizes, log format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from podwire.client import http1
from podwire.client.counters import Process, Stream
from podwire.client.http1 import Body, HttpError, Reader, header
from podwire.ingress.core import REASONS, error_page
from podwire.ingress.upstreams import (
    CLIENT_TIMEOUT_S,
    LAST_CHUNK,
    REPLAYED_BYTES,
    Attempt,
    Balancer,
    Failed,
    Upload,
    chunk,
    exchange,
)
from podwire.l7.options import DEFAULTS
from podwire.l7.route import Decision, decide
from podwire.l7.table import Table
from podwire.runtime.ports import Clock, Rng
from podwire.runtime.tasks import Nursery

KEEPALIVE_S = 75.0
KEEPALIVE_REQUESTS = 1000
MAX_TARGET_BYTES = 8 * 1024
"""large_client_header_buffers: a request line of more is answered with 414."""
HSTS = "max-age=31536000; includeSubDomains"
_HOP = (
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "content-length", "expect", "proxy",
)  # fmt: skip
_REPLACED = (
    "host", "x-request-id", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port",
    "x-forwarded-proto", "x-forwarded-scheme", "x-scheme", "x-original-forwarded-for",
)  # fmt: skip
_HIDDEN = (*_HOP, "server", "date", "strict-transport-security")
_NOT_IDEMPOTENT = ("POST", "LOCK", "PATCH")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Door:
    """What all connections of the controller share; ``table`` is replaced by each sync."""

    process: Process
    clock: Clock
    rng: Rng
    balancer: Balancer
    table: Table
    error: Callable[[str], None]
    """Writes to nginx's error log."""

    def now(self) -> datetime:
        """The time, for the log and Date."""
        return _EPOCH + timedelta(microseconds=self.clock.now_ns() // 1000)


@dataclass(slots=True)
class _Exchange:
    """One request, and what the access log tells of it."""

    method: str
    target: str
    version: str
    headers: http1.Headers
    authority: str
    id: str
    began_ns: int
    decision: Decision | None = None
    status: int = 0
    sent_bytes: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    keep: bool = True

    def header(self, name: str, default: str = "") -> str:
        return header(self.headers, name, default)


class Connection:
    """One client's connection. ``secure`` tells whether TLS was terminated in front of it."""

    def __init__(self, door: Door, stream: Stream, reader: Reader, *, secure: bool) -> None:
        self._door = door
        self._stream = stream
        self._reader = reader
        self._scheme = "https" if secure else "http"
        self.idle = True
        """Whether it waits for a request."""
        self.draining = False
        """Set to end after the request at hand."""
        self.ended = False
        """Whether it was closed while it waited for a request."""

    async def serve(self) -> None:
        """Answer requests until either side ends it."""
        try:
            for _ in range(KEEPALIVE_REQUESTS):
                self.idle = True
                if self.draining or not await self._wait():
                    break
                self.idle = False
                if not await self._one():
                    break
            await self._stream.close()
        except OSError:
            self._stream.abort()

    async def end(self) -> None:
        """Close it while it waits for a request."""
        self.ended = True
        await self._stream.close()

    async def _wait(self) -> bool:
        """Whether another request begins in time."""
        try:
            async with asyncio.timeout(KEEPALIVE_S):
                return await self._reader.ready()
        except TimeoutError:
            return False

    async def _one(self) -> bool:
        """Answer one request; whether the connection goes on."""
        door = self._door
        asked = _Exchange("-", "-", "HTTP/1.1", [], "", door.rng.bytes(16).hex(),
                          door.clock.monotonic_ns())  # fmt: skip
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                await self._read_head(asked)
            await self._answer(asked)
        except (TimeoutError, HttpError) as error:
            if asked.status:  # the answer is under way already: only a reset tells
                self._stream.abort()
                return False
            if isinstance(error, TimeoutError):
                error = HttpError("", 408)
            known = error.status if error.status in REASONS else 400
            await self._refuse(asked, known, str(error), close=True)
        finally:
            self._log(asked)
        return asked.keep and not self.draining

    # ------------------------------------------------------------------ reading

    async def _read_head(self, asked: _Exchange) -> None:
        """Request line and headers. Raises HttpError."""
        line = (await self._reader.line()).decode("latin-1")
        if len(line) > MAX_TARGET_BYTES:
            raise HttpError("request line too long", 414)
        parts = line.split(" ")
        plain = not any(ord(c) < 0x21 or c == "\x7f" for part in parts for c in part)
        if len(parts) != 3 or not plain or parts[2] not in {"HTTP/1.0", "HTTP/1.1"}:
            raise HttpError("malformed request line")
        asked.method, asked.target, asked.version = parts
        asked.headers = await self._reader.fields()
        if any(ord(c) < 0x20 and c != "\t" for _, value in asked.headers for c in value):
            raise HttpError("control character in a header")
        hosts = [value for name, value in asked.headers if name.lower() == "host"]
        if len(hosts) > 1 or (not hosts and asked.version == "HTTP/1.1"):
            raise HttpError("client sent no Host header, or several")
        asked.authority = hosts[0] if hosts else ""
        asked.id = asked.header("x-request-id") or asked.id
        if "://" in asked.target.partition("?")[0]:  # absolute form, as to a proxy
            place, slash, path = asked.target.partition("://")[2].partition("/")
            asked.authority, asked.target = place, f"{slash or '/'}{path}"
        wish = asked.header("connection").lower()
        asked.keep = "close" not in wish and (asked.version == "HTTP/1.1" or "keep-alive" in wish)

    # ------------------------------------------------------------------ answering

    async def _answer(self, asked: _Exchange) -> None:
        """Decide and carry out. Raises HttpError, TimeoutError, OSError."""
        body = Body(self._reader, asked.headers, until_end=False)
        decision = asked.decision = decide(
            self._door.table, self._scheme, asked.authority, asked.target
        )
        upgrade = asked.header("upgrade").lower()
        if upgrade and upgrade != "h2c" and decision.status == 0:
            self._door.error(f"podwire: upgrade to {upgrade!r} is not modelled")
            await self._refuse(asked, 501, "upgrades are not modelled", close=True)
            return
        own = decision.location.options if decision.location is not None else DEFAULTS
        if own.body_bytes and (body.length or 0) > own.body_bytes:
            raise HttpError("client intended to send too large body", 413)
        if decision.status:
            close = body.chunked or (body.length or 0) > REPLAYED_BYTES
            close = close or bool(asked.header("expect"))
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                while not close and await body.piece():
                    pass  # a small body is discarded, so that the connection can go on
            await self._refuse(asked, decision.status, decision.reason, close=close)
            return
        if asked.header("expect").lower() == "100-continue" and asked.version == "HTTP/1.1":
            await self._stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        upload = Upload(body, own.body_bytes)
        await upload.begin()
        await self._proxy(asked, decision, upload)

    async def _proxy(self, asked: _Exchange, decision: Decision, upload: Upload) -> None:
        """Ask endpoints until one answers. Raises HttpError, OSError."""
        assert decision.upstream is not None
        assert decision.location is not None
        own = decision.location.options
        head = self._request_head(asked, decision, upload)
        failure: Failed | None = None
        while failure is None or self._another(asked, own.tries, failure, upload):
            endpoint = self._door.balancer.next(decision.upstream)
            attempt = Attempt(endpoint)
            asked.attempts.append(attempt)
            async with Nursery() as sending:
                try:
                    answer = await exchange(
                        self._door.process, endpoint, head, upload, asked.method,
                        own.connect_timeout_s, own.read_timeout_s, sending,
                    )  # fmt: skip
                except Failed as failed:
                    attempt.status, failure = failed.status, failed
                    self._door.error(
                        f"{failed}, client: {self._stream.remote[0]}, server: "
                        f"{decision.server.host}, upstream: "
                        f'"http://{endpoint}{decision.target}"'
                    )
                    sending.cancel()
                    continue
                attempt.status = answer.head.status
                try:
                    await self._relay(asked, answer.head, answer.body, own.read_timeout_s)
                except BaseException:
                    answer.stream.abort()
                    raise
                finally:
                    sending.cancel()
                await answer.stream.close()
                if not upload.complete:
                    asked.keep = False  # some of the request lies unread
                return
        await self._refuse(asked, failure.status, str(failure), close=not upload.complete)

    def _another(self, asked: _Exchange, tries: int, failure: Failed, upload: Upload) -> bool:
        """Whether nginx would pass the request to the next endpoint."""
        if tries and len(asked.attempts) >= tries:
            return False
        if not tries and len(asked.attempts) >= len(
            asked.decision.upstream.endpoints if asked.decision and asked.decision.upstream else ()
        ):
            return False
        return not upload.spent and not (failure.sent and asked.method in _NOT_IDEMPOTENT)

    def _request_head(self, asked: _Exchange, decision: Decision, upload: Upload) -> bytes:
        assert decision.location is not None
        port = "443" if self._scheme == "https" else "80"
        client = self._stream.remote[0]
        fields = [
            ("Host", decision.location.options.upstream_vhost or asked.authority),
            ("X-Request-ID", asked.id),
            ("X-Real-IP", client),
            ("X-Forwarded-For", client),
            ("X-Forwarded-Host", asked.authority),
            ("X-Forwarded-Port", port),
            ("X-Forwarded-Proto", self._scheme),
            ("X-Forwarded-Scheme", self._scheme),
            ("X-Scheme", self._scheme),
        ]
        if original := asked.header("x-forwarded-for"):
            fields.append(("X-Original-Forwarded-For", original))
        fields += upload.headers()
        fields += [
            (name, value)
            for name, value in asked.headers
            if name.lower() not in _HOP and name.lower() not in _REPLACED
        ]
        return _head(f"{asked.method} {decision.target} HTTP/1.1", fields)

    # ------------------------------------------------------------------ the way back

    async def _relay(
        self, asked: _Exchange, head: http1.Response, body: Body, patience_s: float
    ) -> None:
        """Pass an answer on, piece by piece. Raises HttpError, TimeoutError, OSError."""
        bodiless = asked.method == "HEAD" or head.status in {204, 304}
        length = header(head.headers, "content-length") if bodiless else body.length
        chunked = not bodiless and body.length is None and asked.version == "HTTP/1.1"
        if not bodiless and body.length is None and not chunked:
            asked.keep = False  # HTTP/1.0: the end tells the length
        fields = [(n, v) for n, v in head.headers if n.lower() not in _HIDDEN]
        if length not in {None, ""}:
            fields.insert(0, ("Content-Length", str(length)))
        if chunked:
            fields.insert(0, ("Transfer-Encoding", "chunked"))
        await self._begin(asked, head.status, head.reason, fields)
        if bodiless:
            return
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    data = await body.piece()
            except TimeoutError:
                raise HttpError("upstream timed out while reading upstream", 504) from None
            if not data:
                break
            asked.sent_bytes += len(data)
            await self._stream.send(chunk(data) if chunked else data)
        if chunked:
            await self._stream.send(LAST_CHUNK)

    async def _begin(
        self, asked: _Exchange, status: int, reason: str, fields: http1.Headers
    ) -> None:
        asked.status = status
        going = asked.keep and not self.draining
        start = [
            ("Date", f"{self._door.now():%a, %d %b %Y %H:%M:%S} GMT"),
            *fields,
            ("Connection", "keep-alive" if going else "close"),
        ]
        if self._scheme == "https":
            start.append(("Strict-Transport-Security", HSTS))
        text = reason or REASONS.get(status) or http1.REASONS.get(status, "")
        await self._stream.send(_head(f"HTTP/1.1 {status} {text}", start))

    async def _refuse(
        self, asked: _Exchange, status: int, why: str = "", *, close: bool = False
    ) -> None:
        """Answer with a page of nginx's own."""
        if why and status >= 500:
            self._door.error(f"{status}: {why}")
        asked.keep = asked.keep and not close
        page = error_page(status)
        fields = [("Content-Type", "text/html"), ("Content-Length", str(len(page)))]
        if asked.decision is not None and asked.decision.redirect and status == 308:
            fields.append(("Location", asked.decision.redirect))
        await self._begin(asked, status, REASONS[status], fields)
        if asked.method != "HEAD":
            asked.sent_bytes = len(page)
            await self._stream.send(page)

    # ------------------------------------------------------------------ the log

    def _log(self, asked: _Exchange) -> None:
        """One line of the format ``upstreaminfo``."""
        door = self._door
        seconds = (door.clock.monotonic_ns() - asked.began_ns) / 1e9
        upstream = asked.decision.upstream if asked.decision is not None else None
        where = ", ".join(str(a.endpoint) for a in asked.attempts)
        told = ", ".join(str(a.status or "-") for a in asked.attempts)
        request = f"{asked.method} {asked.target} {asked.version}" if asked.headers else ""
        door.process.out(
            f"{self._stream.remote[0]} - - [{door.now():%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{_escaped(request)}" {asked.status or 499} {asked.sent_bytes} '
            f'"{_escaped(asked.header("referer", "-"))}" '
            f'"{_escaped(asked.header("user-agent", "-"))}" '
            f"{len(request)} {seconds:.3f} [{upstream.name if upstream else ''}] [] "
            f"{where or '-'} {asked.sent_bytes if where else '-'} "
            f"{f'{seconds:.3f}' if where else '-'} {told or '-'} {asked.id}"
        )


def _escaped(text: str) -> str:
    """As nginx escapes variables in its log."""
    return text.replace("\\", "\\x5C").replace('"', "\\x22")


def _head(first: str, fields: http1.Headers) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
