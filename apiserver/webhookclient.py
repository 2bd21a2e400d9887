"""Calling a webhook: by URL, or by a Service whose endpoints are modelled or attached.

A ``clientConfig`` of an admission webhook or of a CRD's conversion says where. A URL leads to the
real world. A Service leads to one of its ready endpoints (``backends.py``): the TLS of a modelled
one is modelled, so that certificates are not looked at; that of an attached one is real.
Source: apiserver pkg/util/webhook (client.go).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podwire.api.view import JSON
from podwire.apiserver import backends
from podwire.apiserver.http.outgoing import Outgoing, Peer
from podwire.client import http1

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


class CallError(Exception):
    """A webhook could not be called, or did not answer as it must; Go's words."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a clientConfig leads."""

    url: str
    """As errors show it, without the query."""
    host: str
    path: str
    server_name: str
    port: int
    ca: bytes
    namespace: str = ""
    service: str = ""
    """"" when the URL is the real one."""


def target_of(config: JSON) -> Target:
    """Read a clientConfig. Raises CallError."""
    service = config.get("service") or {}
    bundle = config.get("caBundle") or ""
    if not service and not config.get("url"):
        raise CallError("webhook configuration must have either service or URL")
    path = (service.get("path") or "/") if service else ""
    return _target(
        config.get("url") or "", service.get("namespace") or "", service.get("name") or "",
        service.get("port") or 443, path, bundle,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _target(url: str, namespace: str, name: str, port: int, path: str, bundle: str) -> Target:
    try:
        ca = base64.b64decode(bundle, validate=True)
    except binascii.Error:
        raise CallError("unable to load root certificates: illegal base64 data") from None
    if name:
        server_name = f"{name}.{namespace}.svc"
        host = f"{server_name}:{port}"
        return Target(f"https://{host}{path}", host, path, server_name, port, ca, namespace, name)
    try:
        found = urlsplit(url)
        port = found.port or 443
    except ValueError as error:
        raise CallError(f"Unparsable URL: {error}") from None
    path = found.path or "/"
    host = found.netloc.rpartition("@")[2]
    return Target(f"https://{host}{path}", host, path, found.hostname or "", port, ca)


class WebhookClient:
    """Calls webhooks for one API server."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._outgoing = Outgoing(server.world.clock)
        self._rng = server.world.rng.child("webhooks")

    async def post(self, target: Target, body: bytes, timeout_s: float) -> bytes:
        """The body of the answer. Raises CallError."""
        query = f"timeout={-int(-timeout_s // 1)}s"
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._posted(target, f"{target.path}?{query}", body)
        except TimeoutError:
            raise self._failed(target, query, "context deadline exceeded") from None
        except http1.HttpError as error:
            words = {0: "EOF", 2: "tls: first record does not look like a TLS handshake"}
            why = words.get(error.status, f"malformed HTTP response: {error}")
            raise self._failed(target, query, why) from None
        except OSError as error:
            why = (
                "read: connection reset by peer" if isinstance(error, ConnectionResetError) else ""
            )
            raise self._failed(target, query, why or str(error)) from None
        if not 200 <= answer.status <= 206:
            raise CallError(_refused(answer.status, answer.body))
        return answer.body

    def close(self) -> None:
        """End what is kept open."""
        self._outgoing.close()

    @staticmethod
    def _failed(target: Target, query: str, why: str) -> CallError:
        return CallError(f'Post "{target.url}?{query}": {why}')

    async def _posted(self, target: Target, path: str, body: bytes) -> http1.Response:
        if not target.service:
            peer = Peer(target.server_name, target.port, target.server_name, target.ca)
            return await self._outgoing.post(peer, path, target.host, body)
        backend = backends.locate(
            self._server, self._rng, target.namespace, target.service, target.port
        )
        if backend.real is not None:
            peer = Peer(*backend.real, target.server_name, target.ca)
            return await self._outgoing.post(peer, path, target.host, body)
        if self._server.kubelets is None:
            raise ConnectionError("no kubelet counter")
        try:
            stream = await self._server.kubelets.dial(
                backend.node, backend.address, backend.port, backends.DIAL_S
            )
        except OSError as error:
            # upstream dials the Service's own address and never learns of the endpoint's
            own = backends.shown(self._server, target.namespace, target.service, target.port)
            raise OSError(str(error).replace(f"{backend.address}:{backend.port}", own)) from None
        try:
            headers = {"Content-Type": "application/json", "Connection": "close"}
            return await http1.fetch(
                stream, "POST", path, target.host, headers, body, tls_name=target.server_name
            )
        finally:
            stream.abort()


_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    415: "the body of the request was in an unknown format",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, "
    "but may still be processing the request",
}  # fmt: skip


def _refused(status: int, body: bytes) -> str:
    """What client-go makes of an answer that is not 200 (errors.NewGenericServerResponse)."""
    text = body.decode("utf-8", "replace").strip()
    if status == 403:
        return f"forbidden: {text}" if text else "unknown"
    if status in _REFUSALS:
        return _REFUSALS[status]
    if status >= 500:
        said = text.replace('"', '\\"') or "unknown"
        return f'an error on the server ("{said}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"
