"""The HTTPS listener: aiohttp requests in, counters.Request to the server, bytes out."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from podwire.api.status import ApiError
from podwire.apiserver.http.authn import Authenticator, peer_certificate
from podwire.apiserver.http.headers import combined
from podwire.client.counters import Api, Frame, Request, Response

MAX_BODY_BYTES = 3 * 1024 * 1024
"""Upstream's limit of a request body (apiserver MaxRequestBodyBytes)."""

_COALESCE_BYTES = 256 * 1024
_SHUTDOWN_S = 2.0
Upgrade = Callable[[web.BaseRequest, Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves an ``Api`` over TLS on one address.

    ``upgrade`` takes WebSocket requests (exec). Listens on loopback unless told otherwise.
    """

    def __init__(
        self,
        api: Api,
        authenticator: Authenticator,
        upgrade: Upgrade,
        tls: ssl.SSLContext,
        log: FilteringBoundLogger,
    ) -> None:
        self._api = api
        self._authenticator = authenticator
        self._upgrade = upgrade
        self._tls = tls
        self._log = log
        self._runner: web.ServerRunner | None = None
        self.address = ("", 0)
        """Where it listens, once started."""

    async def start(self, host: str, port: int, *, listening: socket.socket | None = None) -> None:
        """Listen; ``listening`` is a socket that does already. Raises OSError when the port is
        taken.
        """
        server = web.Server(
            self._handle,
            handler_cancellation=True,  # a client that went away ends its watch
            access_log=None,
            keepalive_timeout=3600.0,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site: web.BaseSite
        if listening is not None:
            site = web.SockSite(self._runner, listening, ssl_context=self._tls, backlog=1024)
        else:
            site = web.TCPSite(self._runner, host, port, ssl_context=self._tls, backlog=1024)
        await site.start()
        self.address = self._runner.addresses[0][:2]

    async def stop(self) -> None:
        """Stop listening and end the connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            translated = await self._translate(request)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._upgrade(request, translated)
            return await self._answer(request, await self._api.send(translated))
        except ApiError as error:
            return _plain(_status_response(error))

    async def _translate(self, request: web.BaseRequest) -> Request:
        user = self._authenticator.user(
            _peer_certificate(request), request.headers.get("Authorization", "")
        )
        path = request.rel_url.path
        if len(path) > 1 and path.endswith("/"):
            path = path.rstrip("/")
        return Request(
            request.method,
            path,
            tuple(request.rel_url.query.items()),
            combined(request.headers.items()),
            await _read_body(request),
            user,
        )

    async def _answer(self, request: web.BaseRequest, response: Response) -> web.StreamResponse:
        if response.stream is None:
            return _plain(response)
        stream = web.StreamResponse(status=response.status, headers=response.headers)
        stream.enable_chunked_encoding()
        await stream.prepare(request)  # clients wait for the headers before the first event
        frames = response.stream
        try:
            async for chunk in _coalesced(frames):
                await stream.write(chunk)
            await stream.write_eof()
        except ConnectionError:
            self._log.debug("watch client went away", path=request.path)
        finally:
            close = getattr(frames, "aclose", None)
            if close is not None:
                await close()
        return stream


async def _coalesced(frames: Any) -> Any:
    """Join what is ready in this turn into one write: the system call is what costs."""
    pending = getattr(frames, "pending", None)
    async for frame in frames:
        assert isinstance(frame, Frame)
        if pending is None:
            yield frame.data
            continue
        parts = [frame.data]
        size = len(frame.data)
        while size < _COALESCE_BYTES and (more := pending()) is not None:
            parts.append(more.data)
            size += len(more.data)
        yield parts[0] if len(parts) == 1 else b"".join(parts)


async def _read_body(request: web.BaseRequest) -> bytes:
    """The body, bounded. Raises ApiError 413."""
    if not request.can_read_body:
        return b""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ApiError:
    return ApiError(
        "RequestEntityTooLarge",
        f"Request entity too large: limit is {MAX_BODY_BYTES}",
    )


def _peer_certificate(request: web.BaseRequest) -> dict[str, Any] | None:
    if request.transport is None:
        raise ConnectionResetError
    tls = request.transport.get_extra_info("ssl_object")
    return peer_certificate(tls) if tls is not None else None


def _plain(response: Response) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def _status_response(error: ApiError) -> Response:
    return Response(
        error.code, msgspec.json.encode(error.status()), {"Content-Type": "application/json"}
    )


def tls_context(certificate_file: str, key_file: str, ca_pem: bytes) -> ssl.SSLContext:
    """Server TLS that asks for, but does not insist on, a client certificate of our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    context.load_verify_locations(cadata=ca_pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
