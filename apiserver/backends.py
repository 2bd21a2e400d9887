"""Where a Service leads that the API server itself calls: a webhook's, an extension server's.

To one of its ready endpoints. A modelled one is dialled from its node, as konnectivity does it; one
that ``podwire attach`` put there is a process of the developer's, reached directly. Source:
kube-apiserver's service resolver (apiserver pkg/util/proxy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.views import Service
from podwire.client.attached import address_of
from podwire.runtime.ports import Rng

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

DIAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Backend:
    """An endpoint. ``real`` is the address of an attached one."""

    node: str
    address: str
    port: int
    real: tuple[str, int] | None = None


def shown(server: Apiserver, namespace: str, name: str, port: int) -> str:
    """``host:port`` as errors name a Service: by its cluster address."""
    entry = server.caches.of(kinds.SERVICE).get(namespace, name)
    host = entry.view.spec.cluster_ip if entry is not None else ""
    host = f"[{host}]" if ":" in host else host or f"{name}.{namespace}.svc"
    return f"{host}:{port}"


def locate(server: Apiserver, rng: Rng, namespace: str, name: str, port: int) -> Backend:
    """A ready endpoint of a Service's port, drawn. Raises ConnectionError in Go's words."""
    found = ready(server, namespace, name, port)
    if not found:
        at = shown(server, namespace, name, port)
        raise ConnectionError(f"dial tcp {at}: connect: connection refused")
    return found[rng.below(len(found))] if len(found) > 1 else found[0]


def ready(server: Apiserver, namespace: str, name: str, port: int) -> list[Backend]:
    """All ready endpoints of a Service's port. Raises ConnectionError."""
    caches = server.caches
    entry = caches.of(kinds.SERVICE).get(namespace, name)
    if entry is None:
        raise ConnectionError(f'service "{name}" not found')
    service: Service = entry.view
    named = next((p.name for p in service.spec.ports if p.port == port), None)
    if named is None:
        raise ConnectionError(f'no service port {port} found for service "{name}"')
    found: list[Backend] = []
    for piece in caches.of(kinds.ENDPOINT_SLICE).entries(namespace):
        view = piece.view
        if view.service_name != name:
            continue
        real = address_of(view.metadata.annotations)
        ports = [p.port for p in view.ports if p.name == named and p.port]
        for endpoint in view.endpoints:
            if ports and endpoint.addresses and endpoint.conditions.ready is not False:
                node = endpoint.node_name or _any_node(server)
                found.append(Backend(node, endpoint.addresses[0], ports[0], real))
    return found


def _any_node(server: Apiserver) -> str:
    """For endpoints that are on no node: the first one there is."""
    entries = server.caches.of(kinds.NODE).entries()
    return entries[0].name if entries else ""
