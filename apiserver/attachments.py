"""``podwire attach``: a process outside the model becomes an endpoint of a Service.

POST makes the EndpointSlice that says so, DELETE removes those of a Service; whoever may do the
one may do the other. The slice leads to the gateway, where the fabric carries bytes out.
``admission/attachments.py`` guards such slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.api.view import JSON
from podwire.api.views import Service
from podwire.apiserver import answers, calls
from podwire.client.attached import ANNOTATION, MANAGED_BY, AddressError, parse
from podwire.client.counters import Fabric, Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

GATEWAY = "gateway"
FIRST_PORT, LAST_PORT = 40000, 41023
"""Ports of the gateway that attached processes get, the lowest free one first."""
_SLICE = kinds.ENDPOINT_SLICE
_SERVICE_NAME = "kubernetes.io/service-name"


class _Asked(msgspec.Struct, frozen=True):
    namespace: str
    service: str
    address: str = ""
    """The real ``host:port``."""
    port: str = ""
    """The Service's port by number or name; "" for its only one."""


async def handle(server: Apiserver, request: Request, fabric: Fabric) -> Response:
    """POST or DELETE of attachments. Raises ApiError."""
    try:
        asked = decoded(request.body, _Asked)
    except ValueError as error:
        raise ApiError("BadRequest", str(error)) from error
    await server.caches.fresh()
    if request.method == "DELETE":
        return await _detach(server, request, asked)
    return await _attach(server, request, asked, (await fabric.node(GATEWAY)).address)


async def _attach(server: Apiserver, request: Request, asked: _Asked, gateway: str) -> Response:
    entry = server.caches.of(kinds.SERVICE).get(asked.namespace, asked.service)
    if entry is None:
        raise calls.not_found(kinds.SERVICE, asked.service)
    try:
        parse(asked.address)
    except AddressError as error:
        raise ApiError("BadRequest", f"address: {error}") from None
    port = _port(entry.view, asked.port)
    number = _free(server)
    body: JSON = {
        "apiVersion": _SLICE.api_version,
        "kind": _SLICE.kind,
        "metadata": {
            "name": f"{asked.service}-attached-{number}",
            "labels": {
                _SERVICE_NAME: asked.service,
                "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
            },
            "annotations": {ANNOTATION: asked.address},
        },
        "addressType": "IPv6" if ":" in gateway else "IPv4",
        "ports": [{"name": port, "port": number, "protocol": "TCP"}],
        "endpoints": [{"addresses": [gateway], "conditions": {"ready": True}}],
    }
    return await _send(server, request, "POST", _SLICE.path(asked.namespace), body)


async def _detach(server: Apiserver, request: Request, asked: _Asked) -> Response:
    found = [
        entry.name
        for entry in server.caches.of(_SLICE).entries(asked.namespace)
        if entry.view.service_name == asked.service
        and entry.view.metadata.annotations.get(ANNOTATION, "") in _wanted(asked, entry.view)
    ]
    if not found:
        what = f"{asked.namespace}/{asked.service}"
        raise ApiError("NotFound", f"nothing is attached to service {what}")
    for name in found:
        await _send(server, request, "DELETE", _SLICE.path(asked.namespace, name), None)
    return answers.json({"detached": found})


def _wanted(asked: _Asked, piece: Any) -> tuple[str, ...]:
    """The annotations that are meant: of the address that is named, else any."""
    own = piece.metadata.annotations.get(ANNOTATION)
    return (asked.address,) if asked.address else () if own is None else (own,)


async def _send(
    server: Apiserver, request: Request, method: str, path: str, body: JSON | None
) -> Response:
    """As the caller, whose rights count. Raises ApiError."""
    headers = {"content-type": answers.JSON_TYPE, "user-agent": "podwire"}
    data = b"" if body is None else msgspec.json.encode(body)
    answer = await server.handle(Request(method, path, (), headers, data, request.user))
    if answer.status >= 400:
        status = msgspec.json.decode(answer.body)
        raise ApiError(status.get("reason", ""), status.get("message", ""), answer.status)
    return answer


def _port(service: Service, asked: str) -> str:
    """The name of the Service's port that is meant ("" has a name, too). Raises ApiError."""
    ports = service.spec.ports
    if not asked and len(ports) == 1:
        return ports[0].name
    for port in ports:
        if asked and asked in {str(port.port), port.name}:
            return port.name
    listed = ", ".join(f"{p.port} ({p.name})" if p.name else str(p.port) for p in ports)
    name = service.metadata.name
    if not asked:
        raise ApiError("BadRequest", f"service {name} has several ports, name one of: {listed}")
    raise ApiError("BadRequest", f"service {name} has no port {asked}, only: {listed or 'none'}")


def _free(server: Apiserver) -> int:
    """A port of the gateway that nothing attached has. Raises ApiError."""
    taken = {
        port.port
        for entry in server.caches.of(_SLICE).entries()
        if ANNOTATION in entry.view.metadata.annotations
        for port in entry.view.ports
    }
    for number in range(FIRST_PORT, LAST_PORT + 1):
        if number not in taken:
            return number
    raise ApiError("ServiceUnavailable", "too many processes are attached")


def listing(server: Apiserver) -> list[JSON]:
    """What is attached, for ``podwire get endpoints``."""
    found: list[JSON] = []
    for entry in server.caches.of(_SLICE).entries():
        view = entry.view
        real = view.metadata.annotations.get(ANNOTATION)
        if real is None:
            continue
        for endpoint in view.endpoints:
            for port in view.ports:
                host = endpoint.addresses[0]
                host = f"[{host}]" if ":" in host else host
                found.append({
                    "service": f"{entry.namespace}/{view.service_name}", "protocol": "tcp",
                    "address": real, "modelled": f"{host}:{port.port}",
                })  # fmt: skip
    return found
