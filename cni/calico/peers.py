"""Who a policy means: pods and blocks as sorted lists of networks, ports as matches.

Rules enumerate addresses, so everything here ends in CIDRs. Exceptions of a block are subtracted
from it, which leaves plain networks and needs no negated match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from podwire.api import selectors
from podwire.api.podports import resolve_port
from podwire.api.views import IPBlock, Namespace, NetworkPolicyPeer, NetworkPolicyPort, Pod

NAME_LABEL = "kubernetes.io/metadata.name"
GONE = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod of the pod network that has an address."""

    key: str
    namespace: str
    ip: str
    node: str
    pod: Pod


def workloads(pods: Iterable[Pod]) -> list[Workload]:
    """The pods that policies can select or mean, sorted by key."""
    found = [
        Workload(p.key, p.metadata.namespace, p.status.pod_ip, p.spec.node_name, p)
        for p in pods
        if is_workload(p)
    ]
    return sorted(found, key=lambda w: w.key)


def is_workload(pod: Pod) -> bool:
    """Whether a pod has an address of its own and still runs."""
    ip = pod.status.pod_ip
    return bool(ip) and ":" not in ip and not pod.spec.host_network and (
        pod.status.phase not in GONE
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """What selectors are asked about: all workloads and the labels of namespaces."""

    workloads: Sequence[Workload]
    labels: dict[str, dict[str, str]]

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
) -> list[IPv4Network] | None:
    """The addresses of a rule's peers, sorted and without doubles; None means anyone."""
    if not peers:
        return None
    found: dict[IPv4Network, None] = {}
    for peer in peers:
        if peer.ip_block is not None:
            found.update(dict.fromkeys(without(peer.ip_block)))
        elif peer.pod_selector is not None or peer.namespace_selector is not None:
            found.update({IPv4Network(w.ip): None for w in world.selected(peer, own_namespace)})
    return sorted(found)


def without(block: IPBlock) -> list[IPv4Network]:
    """A block minus its exceptions, as networks; IPv6 blocks are empty here."""
    if ":" in block.cidr:
        return []
    left = [IPv4Network(block.cidr, strict=False)]
    for text in block.except_:
        if ":" in text:
            continue
        hole = IPv4Network(text, strict=False)
        left = [part for network in left for part in _minus(network, hole)]
    return sorted(left)


def _minus(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
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
    destinations: tuple[IPv4Network, ...] | None = None


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
    by_number: dict[int, list[IPv4Network]] = {}
    for workload in destinations:
        number = resolve_port(workload.pod, name, protocol.upper())
        if number is not None:
            by_number.setdefault(number, []).append(IPv4Network(workload.ip))
    return [
        PortMatch(protocol, str(number), tuple(sorted(ips)))
        for number, ips in sorted(by_number.items())
    ]


def inside(
    destinations: Iterable[IPv4Network], allowed: Sequence[IPv4Network]
) -> list[IPv4Network]:
    """The single addresses of ``destinations`` that lie in any of ``allowed``."""
    return [
        one for one in destinations
        if any(IPv4Address(one.network_address) in network for network in allowed)
    ]  # fmt: skip
