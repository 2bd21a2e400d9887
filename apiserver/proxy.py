"""The proxy subresources of pods, services and nodes: HTTP through the modelled network.

Source of behaviour and words: apimachinery pkg/util/proxy (upgradeaware.go, transport.go), upstream
pkg/registry/core/{pod,service,node} (ResourceLocation). The API server has no route to pods: each
connection begins at a node, as a konnectivity agent's does (``KubeletStreams.dial``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import answers
from podwire.apiserver.admission import connect
from podwire.apiserver.calls import Call, not_found
from podwire.apiserver.http.duplex import Duplex, Switch
from podwire.apiserver.http.headers import combined
from podwire.apiserver.rewriting import MAX_HTML_BYTES, REWRITTEN_ENCODINGS, Links
from podwire.client import http1
from podwire.client.counters import Frame, KubeletStreams, Request, Response, Stream
from podwire.runtime.tasks import first

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

KUBELET_PORT = 10250
DIAL_TIMEOUT_S = 30.0
WHOLE_BYTES = 64 * 1024
"""Answers up to this size keep their Content-Length; longer ones are streamed."""
PATH_SAFE = "%/:@!$&'()*+,;=-._~"
METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}

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
class Location:
    """Where a proxied request goes: from which node, and to which address."""

    node: str
    address: str
    port: int
    tls: bool = False

    @property
    def host(self) -> str:
        """As a Host header names it."""
        default = 443 if self.tls else 80
        return self.address if self.port == default else f"{self.address}:{self.port}"


# ---------------------------------------------------------------- where to


def split(id: str, what: str) -> tuple[str, str, str]:
    """``[scheme:]name[:port]`` as scheme, name and port. Raises ApiError BadRequest."""
    parts = id.split(":")
    scheme, name, port = "", "", ""
    if len(parts) == 1:
        name = parts[0]
    elif len(parts) == 2:
        name, port = parts
    elif len(parts) == 3:
        scheme, name, port = parts
    if not name or len(parts) > 3 or scheme not in {"", "http", "https"}:
        raise ApiError("BadRequest", f'invalid {what} request "{id}"')
    return scheme, name, port


async def locate(server: Apiserver, call: Call) -> Location:
    """Where a call's request goes, if admission lets it. Raises ApiError."""
    await connect.admit(server, call)
    await server.caches.fresh()
    scheme, name, port = split(call.name, call.kind.singular)
    find = {kinds.POD: _pod, kinds.SERVICE: _service}.get(call.kind, _node)
    place = find(server, replace(call, name=name), port, tls=scheme == "https")
    if not _may_be_reached(place.address):
        raise ApiError("BadRequest", "address not allowed")
    return place


def _may_be_reached(address: str) -> bool:
    """Whether an address is nobody's own (Go's IsGlobalUnicast); of names the node judges.

    Source: upstream pkg/proxy/util (IsProxyableIP).
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return bool(address)
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _pod(server: Apiserver, call: Call, port: str, *, tls: bool) -> Location:
    entry = server.caches.of(kinds.POD).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    pod = entry.view
    declared = [p.container_port for c in pod.spec.containers for p in c.ports]
    number = _number(port) if port else declared[0] if declared else 443 if tls else 80
    return Location(pod.spec.node_name, pod.status.pod_ip, number, tls)


def _service(server: Apiserver, call: Call, port: str, *, tls: bool) -> Location:
    """An endpoint of the port, drawn at random."""
    entry = server.caches.of(kinds.SERVICE).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    if port.isdecimal():
        named = next((p.name for p in entry.view.spec.ports if p.port == int(port)), None)
        if named is None:
            why = f'no service port {port} found for service "{call.name}"'
            raise ApiError("ServiceUnavailable", why)
        port = named
    found: list[Location] = []
    for piece in server.caches.of(kinds.ENDPOINT_SLICE).entries(call.namespace):
        view = piece.view
        if view.service_name != call.name:
            continue
        numbers = [p.port for p in view.ports if p.name == port and p.port]
        for endpoint in view.endpoints:
            if numbers and endpoint.addresses and endpoint.conditions.ready is not False:
                node = endpoint.node_name or _any_node(server)
                found.append(Location(node, endpoint.addresses[0], numbers[0], tls))
    if not found:
        why = f'no endpoints available for service "{call.name}"'
        raise ApiError("ServiceUnavailable", why)
    return found[server.watch_rng.below(len(found))]


def _any_node(server: Apiserver) -> str:
    """For endpoints that are on no node: the first one there is."""
    names = sorted(entry.view.metadata.name for entry in server.caches.of(kinds.NODE).entries())
    return names[0] if names else ""


def _node(server: Apiserver, call: Call, port: str, *, tls: bool) -> Location:
    entry = server.caches.of(kinds.NODE).get("", call.name)
    if entry is None:
        raise not_found(kinds.NODE, call.name)
    addresses = [a.address for a in entry.view.status.addresses if a.type == "InternalIP"]
    number = _number(port) if port else KUBELET_PORT
    return Location(call.name, addresses[0] if addresses else call.name, number, tls)


def _is_kubelet(call: Call, place: Location) -> bool:
    return call.kind is kinds.NODE and place.port == KUBELET_PORT


def _number(port: str) -> int:
    if port.isdecimal() and 0 < int(port) < 65536:
        return int(port)
    why = f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port"
    raise ApiError("ServiceUnavailable", why)


# ---------------------------------------------------------------- plain requests


async def handle(server: Apiserver, call: Call) -> Response:
    """Any method on ``.../proxy`` and below it. Raises ApiError."""
    request = call.request
    if not call.tail and request.method in {"GET", "HEAD"}:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return Response(301, b"", {"location": f"{request.path}/{query}"})
    place = await locate(server, call)
    kubelets = _kubelets(server)
    if _is_kubelet(call, place):
        asked = Request(request.method, call.tail or "/", request.query, {}, request.body)
        try:
            return await kubelets.http(place.node, asked)
        except ConnectionError as error:
            raise _unreachable(error) from None
    try:
        stream = await kubelets.dial(place.node, place.address, place.port, DIAL_TIMEOUT_S)
    except ConnectionError as error:
        raise _unreachable(error) from None
    with _or_aborted(stream):
        reader, head = await _ask(stream, call, place, _headers(call))
        return await _answer(stream, reader, head, request.method, _links(call, place))


@contextmanager
def _or_aborted(stream: Stream) -> Iterator[None]:
    """An exchange with a backend: its connection does not outlive a failure. Raises ApiError."""
    try:
        yield
    except (http1.HttpError, OSError) as error:
        stream.abort()
        raise _unreachable(_broken(error)) from None
    except BaseException:
        stream.abort()
        raise


async def _ask(
    stream: Stream, call: Call, place: Location, headers: http1.Headers
) -> tuple[http1.Reader, http1.Response]:
    """Send the request; the head of the answer. Raises HttpError, OSError."""
    request = call.request
    target = quote(call.tail or "/", safe=PATH_SAFE)
    if request.query:
        target += f"?{urlencode(request.query)}"
    host = request.headers.get("host", place.host)
    reader = http1.Reader(stream)
    await stream.send(
        http1.encode_request(
            request.method, target, host, headers, request.body,
            tls_name=place.address if place.tls else "",
        )
    )  # fmt: skip
    if place.tls:
        await http1.read_tls(reader)
    return reader, await http1.read_response_head(reader)


async def _answer(
    stream: Stream, reader: http1.Reader, head: http1.Response, method: str, links: Links
) -> Response:
    """The backend's answer as the client gets it. Raises HttpError, OSError."""
    headers = _returned(head, links)
    if method == "HEAD" or head.status in {204, 304}:
        await stream.close()
        return Response(head.status, b"", headers)
    body = http1.Body(reader, head.headers, until_end=True)
    kind = headers.get("content-type", "").partition(";")[0].strip()
    encoding = headers.get("content-encoding", "")
    if kind == "text/html" and "location" not in headers and encoding in REWRITTEN_ENCODINGS:
        page = await _whole(body, MAX_HTML_BYTES)
        await stream.close()
        try:
            return Response(head.status, links.body(page, encoding), headers)
        except ValueError as error:
            raise http1.HttpError(str(error), 502) from None
    if body.length is not None and body.length <= WHOLE_BYTES:
        whole = await _whole(body, WHOLE_BYTES)
        await stream.close()
        return Response(head.status, whole, headers)
    answer = Response(head.status, b"", headers)
    answer.stream = _Pieces(stream, body)
    return answer


async def _whole(body: http1.Body, limit_bytes: int) -> bytes:
    whole = bytearray()
    while piece := await body.piece():
        whole += piece
        if len(whole) > limit_bytes:
            raise http1.HttpError(f"more than {limit_bytes} bytes of HTML", 502)
    return bytes(whole)


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


def _links(call: Call, place: Location) -> Links:
    path = call.request.path
    prepend = path[: len(path) - len(call.tail)] if call.tail else path
    return Links(prepend.rstrip("/"), place.host, call.request.headers.get("host", ""))


def _headers(call: Call) -> http1.Headers:
    """The client's headers without those that end here, and whom they came from."""
    given = call.request.headers
    listed = [name.strip().lower() for name in given.get("connection", "").split(",")]
    drop = {*_HOP_BY_HOP, *_OWN, "host", FORWARDED_FOR, *listed}
    headers = [
        (name.title(), value)
        for name, value in given.items()
        if name not in drop and not name.startswith("impersonate-")
    ]
    forwarded = quote(call.request.path, safe=PATH_SAFE)
    way = [hop for hop in (given.get(FORWARDED_FOR), call.request.client) if hop]
    if way:
        headers.append((FORWARDED_FOR.title(), ", ".join(way)))
    return [*headers, ("X-Forwarded-Uri", forwarded)]


def _returned(head: http1.Response, links: Links) -> dict[str, str]:
    listed = [name.strip().lower() for name in head.header("connection").split(",")]
    drop = {*_HOP_BY_HOP, *_CORS, "content-length", "date", *listed}  # the server dates answers
    headers = {k: v for k, v in combined(head.headers).items() if k not in drop}
    if "location" in headers:
        headers["location"] = links.url(headers["location"])
    return headers


def _kubelets(server: Apiserver) -> KubeletStreams:
    if server.kubelets is None:
        raise _unreachable(ConnectionError("no kubelet counter"))
    return server.kubelets


def _unreachable(error: Exception) -> ApiError:
    return ApiError("ServiceUnavailable", f"error trying to reach service: {error}")


def _broken(error: Exception) -> Exception:
    """What happened to a connection that was there, in Go's words."""
    if isinstance(error, http1.HttpError):
        words = {0: "EOF", 2: "tls: first record does not look like a TLS handshake"}
        return ConnectionError(words.get(error.status, f"malformed HTTP response: {error}"))
    if isinstance(error, ConnectionResetError):
        return ConnectionError("read: connection reset by peer")
    return error


# ---------------------------------------------------------------- upgrades


async def upgrade(server: Apiserver, call: Call) -> Switch | Response:
    """A request for another protocol, passed on to the backend. Raises ApiError."""
    place = await locate(server, call)
    if _is_kubelet(call, place):
        return await handle(server, call)  # none of its modelled endpoints upgrades
    try:
        stream = await _kubelets(server).dial(place.node, place.address, place.port, DIAL_TIMEOUT_S)
    except ConnectionError as error:
        return answers.error(ApiError("", str(error), 500))
    given = call.request.headers
    headers = _headers(call)
    headers += [("Connection", "Upgrade"), ("Upgrade", given.get("upgrade", ""))]
    with _or_aborted(stream):
        reader, head = await _ask(stream, call, place, headers)
        if head.status == 101:
            names = {name.title(): value for name, value in combined(head.headers).items()}
            return Switch(names, partial(_joined, stream=stream, early=reader.unread()))
        if head.status < 400:
            stream.abort()
            why = f"invalid upgrade response: status code {head.status}"
            return answers.error(ApiError("", why, 500))
        return await _answer(stream, reader, head, call.request.method, _links(call, place))


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


HANDLERS = tuple((verb, "proxy", handle) for verb in METHODS)
"""Verb, subresource and handler, for the server's table."""
