"""What the modes share that make a piece of each service port: what of it is the same on all nodes,
and what a step from some pieces to others tells.

A piece is what one service port contributes to a kernel's state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Protocol, TypeVar

from podwire.api.views import EndpointSlice, Service
from podwire.kube_proxy.conntrack import Wanted
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.model import (
    Endpoint,
    NodeFacts,
    ServicePort,
    endpoints_of,
    has_hints,
    service_ports,
)


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
Render = Callable[[ServicePort, tuple[Endpoint, ...]], P]


class Prepared:
    """A Service with its slices as all nodes see it, and what was rendered of it.

    Nodes that see the same of it (``sight``) share the rendering: a Service with a Local policy is
    one thing to every node without an endpoint of it.
    """

    __slots__ = (
        "_made", "_nodes", "_zones", "by_node", "endpoints", "family", "ports", "service", "slices",
    )  # fmt: skip

    def __init__(self, service: Service, slices: tuple[EndpointSlice, ...], family: str) -> None:
        self.service, self.slices, self.family = service, slices, family
        self.ports = service_ports(service, family)
        self.endpoints = tuple(endpoints_of(port, slices) for port in self.ports)
        self._nodes: dict[str, None] = {}
        """Nodes that see a Service of their own: they have endpoints of it, or are hinted at."""
        self._zones = False
        for port, endpoints in zip(self.ports, self.endpoints, strict=True):
            if has_hints(endpoints):
                self._zones = True
                self._nodes.update(dict.fromkeys(n for e in endpoints for n in e.node_hints))
            if port.uses_local:
                self._nodes.update(dict.fromkeys(e.node for e in endpoints))
        ranged = any(port.source_ranges for port in self.ports)
        self.by_node = bool(self._zones or ranged or any(p.uses_local for p in self.ports))
        """Whether nodes may see different things."""
        self._made: dict[Hashable, Any] = {}

    def is_of(self, slices: tuple[EndpointSlice, ...]) -> bool:
        """Whether it was prepared of these very slices."""
        own = self.slices
        return len(own) == len(slices) and all(map(_is, own, slices))

    @property
    def n_endpoints(self) -> int:
        """Of all ports."""
        return sum(map(len, self.endpoints))

    def sight(self, node: NodeFacts) -> Hashable:
        """What a node sees of it: equal for nodes whose pieces are equal."""
        if not self.by_node:
            return None
        return (
            node.name if node.name in self._nodes else "",
            node.zone if self._zones else "",
            tuple(admits_node(port, node) for port in self.ports),
        )

    def pieces(
        self,
        node: NodeFacts,
        shaping: Hashable,
        render: Callable[[ServicePort, tuple[Endpoint, ...]], P],
    ) -> tuple[P, ...]:
        """Its pieces on a node, rendered once for all that see the same. ``shaping``: the mode's
        name, and what of its settings pieces depend on.
        """
        key = (shaping, self.sight(node))
        made: tuple[P, ...] | None = self._made.get(key)
        if made is None:
            endpoints = self.endpoints
            if node.name in self._nodes:  # of two of one address the node's own counts
                endpoints = tuple(endpoints_of(p, self.slices, node.name) for p in self.ports)
            made = self._made[key] = tuple(map(render, self.ports, endpoints))
        return made


def _is(one: object, other: object) -> bool:
    return one is other


def admits_node(port: ServicePort, node: NodeFacts) -> bool:
    """Whether the source ranges of a port hold the node's own (primary) address: its packets to
    the load balancer carry that as their source.
    """
    if not port.source_ranges:
        return False
    family = "ipv6" if ":" in port.cluster_ip else "ipv4"
    own = node.addresses_of(family)[:1]
    return bool(own) and _in_ranges(own[0], port.source_ranges)


@lru_cache(maxsize=1 << 16)
def _in_ranges(ip: str, ranges: tuple[str, ...]) -> bool:
    address = ip_address(ip)
    return any(address in ip_network(cidr, strict=False) for cidr in ranges)


def prepared(state: Proxier, key: str) -> Prepared | None:
    """A Service of the proxier's tables as all nodes see it; None when there is none."""
    service = state.services.get(key)
    if service is None:
        return None
    slices = state.slices_of(key)
    return state.shared.prepared(
        state.family, service, slices, lambda: Prepared(service, slices, state.family)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """All Services of some tables: made once for all nodes that hold these tables."""

    same: dict[str, Prepared]
    """Those that are the same on all nodes, in order."""
    by_node: dict[str, Prepared]
    """Those that are not."""
    n_endpoints: int


def base(state: Proxier) -> Base:
    """The Services of a proxier's tables."""
    services, slices = state.services, state.slices
    key = ("base", state.family, id(services), id(slices))
    return state.shared.text(key, (services, slices), lambda: _base(state))


def _base(state: Proxier) -> Base:
    same: dict[str, Prepared] = {}
    by_node: dict[str, Prepared] = {}
    total = 0
    for key in state.services:
        one = prepared(state, key)
        if one is not None and one.ports:
            (by_node if one.by_node else same)[key] = one
            total += one.n_endpoints
    return Base(same, by_node, total)


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
