"""What one service port contributes: virtual servers, set entries, addresses to hold.

Source: pkg/proxy/ipvs/proxier.go (syncProxyRules, syncService, syncEndpoint).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from podwire.kube_proxy.model import (
    Choice,
    Endpoint,
    NodeFacts,
    ServicePort,
    categorize,
    host_port,
)
from podwire.kube_proxy.modes.ipvs import sets
from podwire.kube_proxy.modes.ipvs.settings import Settings
from podwire.kube_proxy.pieces import admits_node

OPTIONS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
Entry = tuple[str, str]
"""A set and an element of it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A virtual server. ``ip`` may be ``sets.NODE``: one for each of the node's addresses."""

    protocol: str
    ip: str
    port: int
    flags: str
    """``-s rr -p 10800``."""
    dests: tuple[str, ...]
    """Real servers, ``ip:port``."""

    def option(self, ip: str = "") -> str:
        """``-t 10.96.0.10:80``."""
        return f"{OPTIONS[self.protocol]} {host_port(ip or self.ip, self.port)}"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Shared between nodes, compared by identity."""

    port: ServicePort
    servers: tuple[Server, ...]
    entries: tuple[Entry, ...]
    binds: tuple[str, ...]
    """External and load balancer addresses: held unless another device of the node has them."""
    guarded: tuple[tuple[str, str, int], ...]
    """Load balancer addresses that this node itself must not reach: (ip, protocol, port)."""
    endpoints: tuple[Endpoint, ...]
    loops: dict[str, tuple[str, ...]]
    """By node: entries of KUBE-LOOP-BACK for the endpoints there."""
    no_local: tuple[bool, bool]
    """Whether internal, external traffic wanted a local endpoint in vain."""


def render(
    port: ServicePort, endpoints: tuple[Endpoint, ...], node: NodeFacts, settings: Settings
) -> Piece:
    """All that a service port means."""
    return _Writer(port, endpoints, node, settings).piece()


class _Writer:
    def __init__(
        self,
        port: ServicePort,
        endpoints: tuple[Endpoint, ...],
        node: NodeFacts,
        settings: Settings,
    ) -> None:
        self.port, self.node, self.settings, self.endpoints = port, node, settings, endpoints
        self.choice: Choice = categorize(port, endpoints, node)
        self.servers: list[Server] = []
        self.entries: list[Entry] = []
        self.binds: list[str] = []
        self.guarded: list[tuple[str, str, int]] = []
        self.missed = [False, False]
        flags = f"-s {settings.scheduler}"
        if port.affinity_s:
            flags += f" -p {port.affinity_s}"
        if settings.scheduler == "mh":
            flags += " -b mh-port"
        self.flags = flags

    def piece(self) -> Piece:
        """Run through the kinds of traffic in upstream's order."""
        port = self.port
        self._cluster_ip()
        for ip in port.external_ips:
            local = port.external_local
            self._at(sets.EXTERNAL_IP_LOCAL if local else sets.EXTERNAL_IP, ip)
            self._server(ip, port.port, only_local=local)
            self.binds.append(ip)
        for ip in port.lb_ips:
            self._load_balancer(ip)
        if port.node_port:
            self._node_port()
        if port.health_check_node_port:
            self.entries.append((sets.HEALTH_CHECK, str(port.health_check_node_port)))
        return Piece(
            port=port,
            servers=tuple(self.servers),
            entries=tuple(self.entries),
            binds=tuple(self.binds),
            guarded=tuple(self.guarded),
            endpoints=self.endpoints,
            loops=self._loops(),
            no_local=(self.missed[0], self.missed[1]),
        )

    def _at(self, name: str, ip: str) -> str:
        entry = f"{ip},{self.port.protocol}:{self.port.port}"
        self.entries.append((name, entry))
        return entry

    def _server(self, ip: str, port: int, *, only_local: bool) -> None:
        choice = self.choice
        chosen = choice.cluster
        if only_local:
            # with no local endpoint the others are used: local pods reach the Service all the same
            chosen = choice.local or choice.cluster
            if not choice.local and choice.any:
                self.missed[0] |= self.port.internal_local
                self.missed[1] |= self.port.external_local
        dests = tuple(endpoint.text for endpoint in chosen)
        self.servers.append(Server(self.port.protocol, ip, port, self.flags, dests))

    def _cluster_ip(self) -> None:
        port = self.port
        self._at(sets.CLUSTER_IP, port.cluster_ip)
        self._server(port.cluster_ip, port.port, only_local=port.internal_local)
        self.entries.append((sets.IPVS_IPS, port.cluster_ip))

    def _load_balancer(self, ip: str) -> None:
        port = self.port
        entry = self._at(sets.LOAD_BALANCER, ip)
        if port.external_local:
            self.entries.append((sets.LOAD_BALANCER_LOCAL, entry))
        if port.source_ranges:
            self.entries.append((sets.LOAD_BALANCER_FW, entry))
            for source in port.source_ranges:
                network = ip_network(source, strict=False)
                self.entries.append((sets.SOURCE_CIDR, f"{entry},{network}"))
            if admits_node(port, self.node):
                # the node's own packets to a load balancer carry its address as their source
                self.entries.append((sets.SOURCE_IP, f"{entry},{ip}"))
            else:
                self.guarded.append((ip, port.protocol, port.port))
        self._server(ip, port.port, only_local=port.external_local)
        self.binds.append(ip)

    def _node_port(self) -> None:
        port = self.port
        entry = str(port.node_port)
        if port.protocol == "sctp":
            entry = f"{sets.NODE},sctp:{port.node_port}"
        self.entries.append((sets.NODE_PORT[port.protocol], entry))
        if port.external_local:
            self.entries.append((sets.NODE_PORT_LOCAL[port.protocol], entry))
        self._server(sets.NODE, port.node_port, only_local=port.external_local)

    def _loops(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for e in self.endpoints:
            if e.node:
                entry = f"{e.ip},{self.port.protocol}:{e.port},{e.ip}"
                found.setdefault(e.node, []).append(entry)
        return {node: tuple(entries) for node, entries in found.items()}
