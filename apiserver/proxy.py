"""The proxy subresources of pods, services and nodes: HTTP through the modelled network.

Source of behaviour and words: apimachinery pkg/util/proxy (upgradeaware.go, transport.go), upstream
pkg/registry/core/{pod,service,node} (ResourceLocation). The API server has no route to pods: each
connection begins at a node, as a konnectivity agent's does (``KubeletStreams.dial``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import answers, passing
from podwire.apiserver.admission import connect
from podwire.apiserver.calls import Call, not_found
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.rewriting import Links
from podwire.client import http1
from podwire.client.counters import KubeletStreams, Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

KUBELET_PORT = 10250
DIAL_TIMEOUT_S = 30.0
METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


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
            raise passing.unreachable(error) from None
    try:
        stream = await kubelets.dial(place.node, place.address, place.port, DIAL_TIMEOUT_S)
    except ConnectionError as error:
        raise passing.unreachable(error) from None
    with passing.or_aborted(stream):
        reader, head = await passing.ask(stream, _onward(call, place))
        return await passing.answer(stream, reader, head, request.method, _links(call, place))


def _onward(call: Call, place: Location, more: http1.Headers | None = None) -> passing.Onward:
    request = call.request
    return passing.Onward(
        request.method,
        passing.target(call.tail, request.query),
        request.headers.get("host", place.host),
        [*passing.headers(request), *(more or ())],
        request.body,
        place.address if place.tls else "",
    )


def _links(call: Call, place: Location) -> Links:
    path = call.request.path
    prepend = path[: len(path) - len(call.tail)] if call.tail else path
    return Links(prepend.rstrip("/"), place.host, call.request.headers.get("host", ""))


def _kubelets(server: Apiserver) -> KubeletStreams:
    if server.kubelets is None:
        raise passing.unreachable(ConnectionError("no kubelet counter"))
    return server.kubelets


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
    request = call.request
    with passing.or_aborted(stream):
        onward = _onward(call, place, passing.upgrading(request))
        reader, head = await passing.ask(stream, onward)
        return await passing.switched(stream, reader, head, request.method, _links(call, place))


HANDLERS = tuple((verb, "proxy", handle) for verb in METHODS)
"""Verb, subresource and handler, for the server's table."""
