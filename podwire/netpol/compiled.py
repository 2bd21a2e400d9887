"""A NetworkPolicy with its selectors compiled: once per policy, asked for every pod."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podwire.api import selectors
from podwire.api.podports import resolve_port
from podwire.api.selectors import Selector
from podwire.api.views import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Pod
from podwire.netpol.verdict import EGRESS, INGRESS

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of ``from`` or ``to``."""

    pods: Selector | None = None
    namespaces: Selector | None = None
    """None: only the policy's own namespace."""
    block: Network | None = None
    excepted: tuple[Network, ...] = ()
    impossible: bool = False
    """An entry without any field selects nothing."""

    def selects(self, pod: Pod, labels_of_namespace: dict[str, str], own_namespace: str) -> bool:
        """Whether a pod is this peer (blocks apart)."""
        if self.block is not None or self.impossible:
            return False
        if self.namespaces is None:
            if pod.metadata.namespace != own_namespace:
                return False
        elif not self.namespaces.matches(labels_of_namespace):
            return False
        return self.pods is None or self.pods.matches(pod.metadata.labels)

    def covers(self, address: Address) -> bool:
        """Whether an address lies in the block and in none of its exceptions."""
        if self.block is None or address not in self.block:
            return False
        return all(address not in network for network in self.excepted)


@dataclass(frozen=True, slots=True)
class Port:
    """One entry of ``ports``. ``first`` None and no name: every port of the protocol."""

    protocol: str
    first: int | None = None
    last: int | None = None
    name: str = ""

    def matches(self, protocol: str, port: int, destination: Pod | None) -> bool:
        """Whether a packet to a port matches; names resolve on the destination pod."""
        if protocol != self.protocol:
            return False
        if self.name:
            if destination is None:
                return False
            return resolve_port(destination, self.name, self.protocol) == port
        if self.first is None:
            return True
        return self.first <= port <= (self.last or self.first)

    def __str__(self) -> str:
        if self.name:
            return f"{self.name}/{self.protocol}"
        if self.first is None:
            return f"any/{self.protocol}"
        span = f"-{self.last}" if self.last is not None else ""
        return f"{self.first}{span}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One ingress or egress rule; empty tuples admit all peers, all ports."""

    name: str
    """``ingress[0]``."""
    peers: tuple[Peer, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy."""

    key: str
    namespace: str
    pods: Selector
    types: tuple[str, ...]
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]

    def isolates(self, pod: Pod, direction: str) -> bool:
        """Whether the policy selects the pod for a direction (host-network pods never)."""
        return (
            direction in self.types
            and pod.metadata.namespace == self.namespace
            and not pod.spec.host_network
            and self.pods.matches(pod.metadata.labels)
        )

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """The rules of a direction."""
        return self.ingress if direction == INGRESS else self.egress


def compile_policy(policy: NetworkPolicy) -> Policy:
    """Compile; policyTypes default as the API server defaults them."""
    spec = policy.spec
    types = tuple(spec.policy_types) or ((INGRESS, EGRESS) if spec.egress else (INGRESS,))
    return Policy(
        key=policy.key,
        namespace=policy.metadata.namespace,
        pods=selectors.compile(spec.pod_selector),
        types=types,
        ingress=tuple(
            Rule(f"ingress[{i}]", _peers(rule.from_), _ports(rule.ports))
            for i, rule in enumerate(spec.ingress)
        ),
        egress=tuple(
            Rule(f"egress[{i}]", _peers(rule.to), _ports(rule.ports))
            for i, rule in enumerate(spec.egress)
        ),
    )


def _peers(peers: list[NetworkPolicyPeer]) -> tuple[Peer, ...]:
    found = []
    for peer in peers:
        if peer.ip_block is not None:
            block = ip_network(peer.ip_block.cidr, strict=False)
            excepted = tuple(ip_network(c, strict=False) for c in peer.ip_block.except_)
            found.append(Peer(block=block, excepted=excepted))
        elif peer.pod_selector is None and peer.namespace_selector is None:
            found.append(Peer(impossible=True))
        else:
            found.append(
                Peer(
                    pods=selectors.compile(peer.pod_selector) if peer.pod_selector else None,
                    namespaces=(
                        selectors.compile(peer.namespace_selector)
                        if peer.namespace_selector
                        else None
                    ),
                )
            )
    return tuple(found)


def _ports(ports: list[NetworkPolicyPort]) -> tuple[Port, ...]:
    found = []
    for port in ports:
        protocol = port.protocol or "TCP"
        if isinstance(port.port, str):
            found.append(Port(protocol, name=port.port))
        else:
            found.append(Port(protocol, port.port, port.end_port))
    return tuple(found)


def address(text: str) -> Address:
    """An address. Raises ValueError."""
    return ip_address(text)
