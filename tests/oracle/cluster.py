"""What a random cluster is, and what is asked of it: pure data, made from a seed (``generate``).

A cluster is nodes on one Ethernet segment with a gateway and an external client, pods of a flannel
network, Services with their EndpointSlices, NetworkPolicies, and a list of steps. Steps come in two
kinds: a ``Survey`` asks many questions that do not depend on each other, at once; all others change
state (connections, affinity, rules) and are taken one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.api.views import EndpointSlice, NetworkPolicy, Service

POD_NETWORK, POD_NETWORK6 = "10.244.0.0/16", "fd00:10:244::/48"
GATEWAY, GATEWAY_IP, GATEWAY_IP6 = "gateway", "192.168.50.1", "fd00:50::1"
CLIENT, CLIENT_IP, CLIENT_IP6 = "client", "192.168.50.100", "fd00:50::100"
TCP_PORTS, UDP_PORTS = (8080, 8443), (53, 8080)
"""What every pod serves."""
HOST_PORT = 9100
"""What every node serves itself, at its own address, by TCP and UDP."""
CLOSED_PORT = 9999


def node_name(index: int) -> str:
    """``node-1`` is the first."""
    return f"node-{index}"


def node_ip(index: int) -> str:
    """The node's address on the segment."""
    return f"192.168.50.{10 + index}"


def node_ip6(index: int) -> str:
    """The node's IPv6 address on the segment."""
    return f"fd00:50::{10 + index}"


def pod_cidrs(index: int, *, dual: bool) -> tuple[str, ...]:
    """The networks of a node's pods."""
    v4, v6 = f"10.244.{index}.0/24", f"fd00:10:244:{index}::/64"
    return (v4, v6) if dual else (v4,)


@dataclass(frozen=True)
class Pod:
    """A pod, its namespace (named like it) and its addresses (the second one in dual stack)."""

    name: str
    node: int
    ip: str
    ip6: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Proxy:
    """kube-proxy's configuration."""

    mode: str = "iptables"
    detect_local: str = "ClusterCIDR"
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()


Slices = tuple[EndpointSlice, ...]
"""The EndpointSlices of one Service: at most one of each family."""


class Probe(NamedTuple):
    """A first packet and its answer: from a namespace ("" is the host's) to an address and port.

    ``size_bytes`` is the payload of a UDP datagram that must not be fragmented; 0: a few bytes.
    """

    node: str
    netns: str
    protocol: str
    dst: str
    port: int
    size_bytes: int = 0

    def __str__(self) -> str:
        size = f" ({self.size_bytes} bytes, DF)" if self.size_bytes else ""
        where = self.netns or self.node
        return f"{where} -> {self.protocol} {self.dst} port {self.port}{size}"


@dataclass(frozen=True)
class Survey:
    """Independent questions. Each is asked as often as its possible outcomes want it, and
    ``at_least`` so often: what must be always the same, or evenly spread, shows then.
    """

    title: str
    probes: tuple[Probe, ...]
    at_least: int = 1


@dataclass(frozen=True)
class Ask:
    """A question whose connection counts: conntrack and affinity remember it.

    ``key`` names the TCP connection that stays open for ``Again``; "": it is closed.
    """

    probe: Probe
    src_port: int
    key: str = ""


@dataclass(frozen=True)
class Again:
    """A request on a connection that was opened before."""

    key: str


@dataclass(frozen=True)
class Change:
    """Objects that appear, change, or (None) go; every kube-proxy syncs what changed."""

    title: str
    services: dict[str, Service | None] = field(default_factory=dict)
    slices: dict[str, Slices] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: float


Step = Survey | Ask | Again | Change | Wait


@dataclass(frozen=True)
class Cluster:
    """A cluster at its beginning, and what happens to it."""

    seed: int
    nodes: int
    zones: tuple[str, ...]
    pods: tuple[Pod, ...]
    backend: str
    """flannel's: vxlan, vxlan+direct or host-gw."""
    dual: bool
    """Whether nodes, pods and Services have IPv6 too."""
    hairpin: bool
    bridge_nf: bool
    proxy: Proxy
    tools: str
    """The backend of iptables that loads the text: legacy or nft."""
    entries: dict[str, int]
    """Load balancer and external addresses, and the node that the outside sends each to."""
    services: dict[str, Service]
    slices: dict[str, Slices]
    policies: tuple[NetworkPolicy, ...]
    steps: tuple[Step, ...]


def describe(cluster: Cluster) -> str:
    """The cluster for people, one fact a line."""
    lines = [f"seed {cluster.seed}: {cluster.nodes} nodes, flannel {cluster.backend}"]
    lines[0] += ", dual stack" if cluster.dual else ""
    lines[0] += f", hairpin {cluster.hairpin}, bridge-nf {cluster.bridge_nf}, {cluster.proxy}"
    lines[0] += f", loaded by {cluster.tools}"
    lines += [
        f"  node {node_name(i)} {node_ip(i)} zone {cluster.zones[i - 1]}: "
        + ", ".join(f"{p.name} {p.ip}" for p in cluster.pods if p.node == i)
        for i in range(1, cluster.nodes + 1)
    ]
    lines += [f"  outside: {ip} is routed to {node_name(n)}" for ip, n in cluster.entries.items()]
    for key, service in cluster.services.items():
        lines.append(f"  service {key}: {describe_service(service)}")
        lines += describe_slices(cluster.slices.get(key, ()))
    lines += [
        f"  policy {p.metadata.name}: selects {p.spec.pod_selector.match_labels} "
        f"{p.spec.policy_types} from {p.spec.ingress} to {p.spec.egress}"
        for p in cluster.policies
    ]
    return "\n".join(lines)


def describe_service(service: Service) -> str:
    """One line."""
    spec = service.spec
    ports = ", ".join(
        f"{p.port}/{p.protocol}" + (f" nodePort {p.node_port}" if p.node_port else "")
        for p in spec.ports
    )
    facts = [f"{spec.type} {' '.join(spec.cluster_ips)} [{ports}]"]
    facts += [f"eTP {spec.external_traffic_policy}"] if spec.external_traffic_policy else []
    facts += ["iTP Local"] if spec.internal_traffic_policy == "Local" else []
    facts += [f"externalIPs {spec.external_ips}"] if spec.external_ips else []
    facts += [f"lb {i.ip} {i.ip_mode}" for i in service.status.load_balancer.ingress]
    if spec.load_balancer_source_ranges:
        facts.append(f"source ranges {spec.load_balancer_source_ranges}")
    if spec.session_affinity_config and spec.session_affinity_config.client_ip:
        facts.append(f"affinity {spec.session_affinity_config.client_ip.timeout_seconds} s")
    return ", ".join(facts)


def describe_slices(slices: Slices) -> list[str]:
    """A line per port list and endpoint."""
    return [line for entry in slices for line in _describe_slice(entry)]


def _describe_slice(entry: EndpointSlice) -> list[str]:
    ports = ", ".join(f"{p.name or '-'}:{p.port}/{p.protocol}" for p in entry.ports)
    lines = [f"    ports {ports}"]
    for end in entry.endpoints:
        c = end.conditions
        words = f"ready {c.ready} serving {c.serving} terminating {c.terminating}"
        hints = f" hints {end.hints}" if end.hints else ""
        lines.append(f"    {end.addresses[0]} on {end.node_name}: {words}{hints}")
    return lines
