"""Requests to extension API servers: who asks goes along in headers, for which our certificate
stands. Source: kube-aggregator pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import answers, backends, calls, frontproxy, passing
from podwire.apiserver.aggregation.core import Remote
from podwire.apiserver.http import outgoing
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.rewriting import Links
from podwire.client import http1
from podwire.client.counters import ANONYMOUS, Request, Response, Stream

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

REQUEST_S = 60.0
"""How long an answer may take to begin (upstream's --request-timeout)."""
_TIMED_OUT = "Timeout: request did not complete within the allotted timeout"
_LONG_RUNNING = ("exec", "attach", "portforward", "proxy", "log")


async def handle(server: Apiserver, request: Request, remote: Remote) -> Response:
    """The extension server's answer. Raises ApiError Timeout."""
    asked = calls.asked(request, request.user or ANONYMOUS)
    patient = asked.verb == "watch" or asked.subresource in _LONG_RUNNING
    try:
        async with asyncio.timeout(None if patient else REQUEST_S):
            stream, tls_name = await dial(server, remote)
            with passing.or_aborted(stream):
                onward = _onward(server, request, remote, tls_name)
                reader, head = await passing.ask(stream, onward)
                links = _links(request, onward)
                return await passing.answer(stream, reader, head, request.method, links)
    except TimeoutError:
        raise ApiError("Timeout", _TIMED_OUT) from None
    except ApiError as error:
        return answers.text(f"{error.message}\n", 503)


async def upgrade(server: Apiserver, request: Request, remote: Remote) -> Switch | Response:
    """The same for a request that asks for another protocol."""
    try:
        stream, tls_name = await dial(server, remote)
        with passing.or_aborted(stream):
            onward = _onward(server, request, remote, tls_name, passing.upgrading(request))
            reader, head = await passing.ask(stream, onward)
            links = _links(request, onward)
            return await passing.switched(stream, reader, head, request.method, links)
    except ApiError as error:
        return answers.text(f"{error.message}\n", 503)


async def fetch(
    server: Apiserver, remote: Remote, request: Request, timeout_s: float
) -> http1.Response:
    """The whole answer to a request of the API server's own. Raises ConnectionError in Go's
    words.
    """
    connected = False
    try:
        async with asyncio.timeout(timeout_s):
            stream, tls_name = await _dial(server, remote)
            connected = True
            try:
                onward = _onward(server, request, remote, tls_name)
                onward = replace(onward, headers=[*onward.headers, ("Connection", "close")])
                reader, head = await passing.ask(stream, onward)
                head.body = await reader.body(head.headers, until_end=True)
            finally:
                stream.abort()
    except TimeoutError:
        why = "context deadline exceeded"
        if not connected:
            why = "net/http: request canceled while waiting for connection"
        raise ConnectionError(f"{why} (Client.Timeout exceeded while awaiting headers)") from None
    except (http1.HttpError, OSError) as error:
        raise ConnectionError(str(passing.broken(error))) from None
    return head


async def dial(server: Apiserver, remote: Remote) -> tuple[Stream, str]:
    """A connection to an endpoint, and the server name of its TLS where that is modelled.

    Raises ApiError.
    """
    try:
        async with asyncio.timeout(backends.DIAL_S):
            return await _dial(server, remote)
    except TimeoutError:
        late = ConnectionError(f"dial tcp {_host(server, remote)}: i/o timeout")
        raise passing.unreachable(late) from None
    except OSError as error:
        raise passing.unreachable(error) from None


async def _dial(server: Apiserver, remote: Remote) -> tuple[Stream, str]:
    entry = server.caches.of(kinds.SERVICE).get(remote.namespace, remote.service)
    if entry is not None and entry.view.spec.type == "ExternalName":
        return await _real(server, remote, (entry.view.spec.external_name, remote.port)), ""
    rng = server.watch_rng
    backend = backends.locate(server, rng, remote.namespace, remote.service, remote.port)
    if backend.real is not None:
        return await _real(server, remote, backend.real), ""
    if server.kubelets is None:
        raise ConnectionError("no kubelet counter")
    stream = await server.kubelets.dial(
        backend.node, backend.address, backend.port, backends.DIAL_S
    )
    return stream, remote.server_name


async def _real(server: Apiserver, remote: Remote, address: tuple[str, int]) -> Stream:
    proxy = server.authenticator.front_proxy
    own = proxy.own if proxy is not None else None
    return await outgoing.connect(outgoing.Peer(*address, remote.server_name, remote.ca, own))


def _host(server: Apiserver, remote: Remote) -> str:
    return backends.shown(server, remote.namespace, remote.service, remote.port)


def _onward(
    server: Apiserver,
    request: Request,
    remote: Remote,
    tls_name: str,
    more: http1.Headers | None = None,
) -> passing.Onward:
    headers = passing.headers(request, (frontproxy.PREFIX,))
    headers += frontproxy.headers_of(request.user or ANONYMOUS)
    return passing.Onward(
        request.method, passing.target(request.path, request.query), _host(server, remote),
        [*headers, *(more or ())], request.body, tls_name,
    )  # fmt: skip


def _links(request: Request, onward: passing.Onward) -> Links:
    """A redirect to the extension server itself stays behind this one."""
    return Links("", onward.host, request.headers.get("host", ""))
