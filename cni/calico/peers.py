"""Who a policy means: pods and blocks as sorted lists of networks, ports as matches.

Rules enumerate addresses of one family, so everything here ends in CIDRs of it. Exceptions of a
block are subtracted from it, which leaves plain networks and needs no negated match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from podwire.api import selectors
from podwire.api.podports import resolve_port
from podwire.api.views import IPBlock, Namespace, NetworkPolicyPeer, NetworkPolicyPort, Pod

NAME_LABEL = "kubernetes.io/metadata.name"
GONE = ("Succeeded", "Failed")

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod of the pod network that has an address."""

    key: str
    namespace: str
    ip: str
    node: str
    pod: Pod

    @property
    def network(self) -> Network:
        """Its address as a network of that alone."""
        return ip_network(self.ip)


def workloads(pods: Iterable[Pod], version: int = 4) -> list[Workload]:
    """The pods that policies can select or mean, by their address of a family; sorted by key."""
    found = [
        Workload(p.key, p.metadata.namespace, address_of(p, version), p.spec.node_name, p)
        for p in pods
        if is_workload(p) and address_of(p, version)
    ]
    return sorted(found, key=lambda w: w.key)


def is_workload(pod: Pod) -> bool:
    """Whether a pod has an address of its own and still runs."""
    return bool(pod.status.pod_ip) and not pod.spec.host_network and pod.status.phase not in GONE


def addresses(pod: Pod) -> list[str]:
    """All addresses of a pod, the primary one first."""
    status = pod.status
    return [one.ip for one in status.pod_ips] or ([status.pod_ip] if status.pod_ip else [])


def address_of(pod: Pod, version: int) -> str:
    """A pod's address of a family, or ""."""
    return next((ip for ip in addresses(pod) if (":" in ip) == (version == 6)), "")


@dataclass(frozen=True, slots=True)
class World:
    """What selectors are asked about: all workloads and the labels of namespaces."""

    workloads: Sequence[Workload]
    labels: dict[str, dict[str, str]]
    version: int = 4
    """The family of all addresses here."""

    def selected(self, peer: NetworkPolicyPeer, own_namespace: str) -> list[Workload]:
        """The workloads of a selector peer."""
        pods = selectors.compile(peer.pod_selector) if peer.pod_selector is not None else None
        chosen = {own_namespace}
        if peer.namespace_selector is not None:
            wanted = selectors.compile(peer.namespace_selector)
            chosen = {w.namespace for w in self.workloads if wanted.matches(self._of(w.namespace))}
        return [
            w
            for w in self.workloads
            if w.namespace in chosen and (pods is None or pods.matches(w.pod.metadata.labels))
        ]

    def _of(self, namespace: str) -> dict[str, str]:
        return self.labels.get(namespace) or {NAME_LABEL: namespace}


def namespace_labels(namespaces: Iterable[Namespace]) -> dict[str, dict[str, str]]:
    """Labels by namespace, the immutable name label included."""
    return {n.metadata.name: {NAME_LABEL: n.metadata.name, **n.metadata.labels} for n in namespaces}


def networks(
    peers: Sequence[NetworkPolicyPeer], own_namespace: str, world: World
) -> list[Network] | None:
    """The addresses of a rule's peers, sorted and without doubles; None means anyone."""
    if not peers:
        return None
    found: dict[Network, None] = {}
    for peer in peers:
        if peer.ip_block is not None:
            found.update(dict.fromkeys(without(peer.ip_block, world.version)))
        elif peer.pod_selector is not None or peer.namespace_selector is not None:
            found.update({w.network: None for w in world.selected(peer, own_namespace)})
    return in_order(found)


def in_order(networks: Iterable[Network]) -> list[Network]:
    """Networks of one family, sorted."""
    return sorted(networks, key=lambda n: (int(n.network_address), n.prefixlen))


def without(block: IPBlock, version: int = 4) -> list[Network]:
    """A block minus its exceptions, as networks; one of the other family is empty here."""
    whole = ip_network(block.cidr, strict=False)
    left = [whole] if whole.version == version else []
    for text in block.except_:
        hole = ip_network(text, strict=False)
        left = [part for network in left for part in _minus(network, hole)]
    return in_order(left)


def _minus(network: Network, hole: Network) -> list[Network]:
    if isinstance(network, IPv4Network) and isinstance(hole, IPv4Network):
        return _left_of(network, hole)
    if isinstance(network, IPv6Network) and isinstance(hole, IPv6Network):
        return _left_of(network, hole)
    return [network]


N = TypeVar("N", IPv4Network, IPv6Network)


def _left_of(network: N, hole: N) -> list[Network]:
    if network.subnet_of(hole):
        return []
    if hole.subnet_of(network):
        return list(network.address_exclude(hole))
    return [network]


@dataclass(frozen=True, slots=True)
class PortMatch:
    """A protocol, its ports as iptables writes them, and the destinations it is limited to."""

    protocol: str
    ports: str = ""
    destinations: tuple[Network, ...] | None = None


def port_matches(
    ports: Sequence[NetworkPolicyPort], destinations: Sequence[Workload]
) -> list[PortMatch | None]:
    """The matches of a rule's ports; [None] means any protocol and port.

    A named port is as many matches as the destinations have numbers for it.
    """
    if not ports:
        return [None]
    found: list[PortMatch | None] = []
    for port in ports:
        protocol = (port.protocol or "TCP").lower()
        if isinstance(port.port, str):
            found.extend(_named(port.port, protocol, destinations))
        elif port.port is None:
            found.append(PortMatch(protocol))
        else:
            end = f":{port.end_port}" if port.end_port is not None else ""
            found.append(PortMatch(protocol, f"{port.port}{end}"))
    return found


def _named(name: str, protocol: str, destinations: Sequence[Workload]) -> list[PortMatch]:
    by_number: dict[int, list[Network]] = {}
    for workload in destinations:
        number = resolve_port(workload.pod, name, protocol.upper())
        if number is not None:
            by_number.setdefault(number, []).append(workload.network)
    return [
        PortMatch(protocol, str(number), tuple(in_order(ips)))
        for number, ips in sorted(by_number.items())
    ]


def inside(destinations: Iterable[Network], allowed: Sequence[Network]) -> list[Network]:
    """The single addresses of ``destinations`` that lie in any of ``allowed``."""
    return [
        one for one in destinations if any(one.network_address in network for network in allowed)
    ]
