"""What the modes share that make a piece of each service port: when one piece does for all nodes,
and what a step from some pieces to others tells.

A piece is what one service port contributes to a kernel's state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

from podwire.api.views import EndpointSlice
from podwire.kube_proxy.conntrack import Wanted
from podwire.kube_proxy.core import Proxier, versions
from podwire.kube_proxy.model import Endpoint, ServicePort, endpoints_of, has_hints, service_ports


class Piece(Protocol):
    """What every mode's pieces tell."""

    @property
    def port(self) -> ServicePort:
        """The service port."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of the port's, whether this node uses them or not."""

    @property
    def no_local(self) -> tuple[bool, bool]:
        """Whether internal, external traffic meets no local endpoint though there are others."""


P = TypeVar("P", bound=Piece)


def differs_by_node(port: ServicePort, slices: Sequence[EndpointSlice], node: str) -> bool:
    """Whether other nodes' piece of a port may differ from that of ``node``."""
    if port.uses_local or port.source_ranges:
        return True
    hints = any(e.hints for s in slices for e in s.endpoints)
    return hints and has_hints(endpoints_of(port, slices, node))


def port_pieces(
    state: Proxier,
    key: str,
    shaping: tuple[Hashable, ...],
    render: Callable[[ServicePort, tuple[Endpoint, ...], bool], P],
) -> tuple[P, ...]:
    """The pieces of a Service, () when there is none; each rendered once for all nodes that it is
    the same for. ``shaping``: the mode's name, and what of its settings pieces depend on.
    ``render`` gets the port, its endpoints, and whether other nodes' piece may differ.
    """
    service = state.services.get(key)
    ports = service_ports(service, state.family) if service is not None else ()
    if service is None or not ports:
        return ()
    slices = state.slices_of(key)
    revision = versions(service, slices)
    made = []
    for index, port in enumerate(ports):
        by_node = differs_by_node(port, slices, state.node.name)
        here = state.node if by_node else None

        def build(port: ServicePort = port, by_node: bool = by_node) -> P:
            return render(port, endpoints_of(port, slices, state.node.name), by_node)

        cached = (*shaping, revision, index, here) if revision else None
        made.append(state.shared.piece(cached, build))
    return tuple(made)


def no_local(
    start: tuple[int, int], gone: Iterable[Piece], came: Iterable[Piece]
) -> tuple[int, int]:
    """How many ports' internal, and external, traffic meets no local endpoint after a step."""
    internal, external = start
    for group, sign in ((gone, -1), (came, 1)):
        for piece in group:
            internal += sign * piece.no_local[0]
            external += sign * piece.no_local[1]
    return internal, external


def no_local_gauges(counts: tuple[int, int]) -> dict[str, float]:
    """The same as upstream's metrics, for ``Sync.gauges``."""
    name = "sync_proxy_rules_no_local_endpoints_total"
    return {
        f'{name}{{traffic_policy="{policy}"}}': float(count)
        for policy, count in zip(("internal", "external"), counts, strict=True)
    }


def udp_wanted(changed: Iterable[Piece]) -> Wanted | None:
    """Where UDP flows of the pieces that changed may lead; None when none of them is UDP's."""
    wanted = Wanted()
    for piece in changed:
        wanted.add(piece.port, piece.endpoints)
    return wanted or None
