"""Services and EndpointSlices as kube-proxy sees them: service ports, endpoints, their choice.

Source: kubernetes pkg/proxy (serviceport.go, endpointslicecache.go, topology.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Node, Service
from podwire.api.views.service import Endpoint as SliceEndpoint

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_AFFINITY_S = 10800
ADDRESS_TYPES = {"ipv4": "IPv4", "ipv6": "IPv6"}
"""An EndpointSlice's addressType, by family."""


def service_port_name(namespace: str, name: str, port: str) -> str:
    """``ns/name:port``, or ``ns/name`` for a port without a name."""
    return f"{namespace}/{name}:{port}" if port else f"{namespace}/{name}"


class ServicePort(msgspec.Struct, frozen=True):
    """One port of a Service that needs rules."""

    name: str
    """``ns/name:port``."""
    protocol: str
    """tcp, udp or sctp."""
    port_name: str
    cluster_ip: str
    port: int
    node_port: int
    external_ips: tuple[str, ...]
    lb_ips: tuple[str, ...]
    source_ranges: tuple[str, ...]
    internal_local: bool
    external_local: bool
    affinity_s: int
    health_check_node_port: int

    @property
    def externally_accessible(self) -> bool:
        """Whether a packet may arrive by NodePort, load balancer or external IP."""
        return bool(self.node_port or self.lb_ips or self.external_ips)

    @property
    def uses_cluster(self) -> bool:
        """Whether some of its traffic may go to any endpoint."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local(self) -> bool:
        """Whether some of its traffic may go to this node's endpoints only."""
        return self.internal_local or (self.external_local and self.externally_accessible)


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint of one service port."""

    text: str
    """``ip:port``."""
    ip: str
    port: int
    node: str
    ready: bool
    serving: bool
    terminating: bool
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a proxier needs to know of its node."""

    name: str
    zone: str = ""
    addresses: tuple[str, ...] = ()
    """InternalIPs, the primary one first."""
    pod_cidrs: tuple[str, ...] = ()

    def addresses_of(self, family: str) -> tuple[str, ...]:
        """The node's own addresses in a family."""
        return tuple(ip for ip in self.addresses if family_of(ip) == family)

    @property
    def families(self) -> tuple[str, ...]:
        """The families that the node has an address in, its primary one first."""
        return tuple(dict.fromkeys(family_of(ip) for ip in self.addresses))


def node_facts(node: Node, name: str) -> NodeFacts:
    """What a proxier uses of a Node object."""
    return NodeFacts(
        name,
        node.metadata.labels.get(ZONE_LABEL, ""),
        tuple(a.address for a in node.status.addresses if a.type == "InternalIP"),
        tuple(node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else ())),
    )


_LEADING_ZERO = re.compile(r"(?:^\s|^|[./])0\d")


def canonical(text: str) -> str:
    """An address or CIDR without leading zeros in its numbers, as old clients may have stored it
    (``010.0.0.01`` means 10.0.0.1); "" stays. Source: pkg/proxy TestBadIPs, netutils.ParseIPSloppy.
    """
    if ":" in text or not text:
        return text.lower()
    if ".0" not in text and "/0" not in text and not text.startswith(("0", " ")):
        return text.strip()
    if _LEADING_ZERO.search(text) is None:
        return text.strip()
    ip, slash, bits = text.strip().partition("/")
    numbers = ".".join(n.lstrip("0") or "0" for n in ip.split("."))
    return f"{numbers}/{bits.lstrip('0') or '0'}" if slash else numbers


def family_of(address: str) -> str:
    """``ipv4`` or ``ipv6``, of an address or a CIDR."""
    return "ipv6" if ":" in address else "ipv4"


def host_port(ip: str, port: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


@dataclass(frozen=True, slots=True)
class Check:
    """A Service's healthCheckNodePort and what this node has for it."""

    port: int
    local_endpoints: int
    """How many addresses of this node are ready."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which endpoints a node uses."""

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    any: bool
    """Whether the service port has an endpoint anywhere that could answer."""

    @property
    def reachable(self) -> tuple[Endpoint, ...]:
        """Cluster and local endpoints without doubles, sorted."""
        if not self.local:
            return self.cluster
        found = {e.text: e for e in (*self.cluster, *self.local)}
        return tuple(found[text] for text in sorted(found))

    def serves(self, *, only_local: bool) -> bool:
        """Whether traffic finds an endpoint, where only this node's will do or any."""
        return self.any and (bool(self.local) or not only_local)


def service_ports(service: Service, family: str = "ipv4") -> tuple[ServicePort, ...]:
    """The ports of a Service that a proxier of ``family`` serves (none of headless or foreign
    Services).
    """
    spec, meta = service.spec, service.metadata
    if spec.type == "ExternalName" or spec.cluster_ip in {"", "None"}:
        return ()
    cluster_ip = cluster_ip_of(service, family)
    if PROXY_NAME_LABEL in meta.labels or not cluster_ip:
        return ()
    cluster_ip = canonical(cluster_ip)
    affinity = 0
    if spec.session_affinity == "ClientIP":
        conf = spec.session_affinity_config
        client = conf.client_ip if conf else None
        affinity = client.timeout_seconds if client else DEFAULT_AFFINITY_S
    external_local = spec.external_traffic_policy == "Local"
    lb_ips = tuple(
        canonical(i.ip) for i in service.status.load_balancer.ingress
        if i.ip and i.ip_mode != "Proxy" and family_of(i.ip) == family
    )  # fmt: skip
    ranges = (canonical(r.strip()) for r in spec.load_balancer_source_ranges if r.strip())
    external_ips = tuple(canonical(ip) for ip in spec.external_ips if family_of(ip) == family)
    source_ranges = tuple(r for r in ranges if family_of(r) == family)
    return tuple(
        ServicePort(
            name=service_port_name(meta.namespace, meta.name, port.name),
            protocol=port.protocol.lower(),
            port_name=port.name,
            cluster_ip=cluster_ip,
            port=port.port,
            node_port=port.node_port,
            external_ips=external_ips,
            lb_ips=lb_ips,
            source_ranges=source_ranges,
            internal_local=spec.internal_traffic_policy == "Local",
            external_local=external_local,
            affinity_s=affinity,
            health_check_node_port=spec.health_check_node_port if external_local else 0,
        )
        for port in spec.ports
    )


def cluster_ip_of(service: Service, family: str) -> str:
    """The cluster IP of a family, "" when the Service has none (GetClusterIPByFamily)."""
    spec = service.spec
    if not spec.ip_families or not spec.cluster_ips:
        return spec.cluster_ip if family_of(spec.cluster_ip) == family else ""
    for wanted, ip in zip(spec.ip_families, spec.cluster_ips, strict=False):
        if wanted == ADDRESS_TYPES[family]:
            return ip
    return ""


def endpoints_of(
    port: ServicePort, slices: Iterable[EndpointSlice], node: str = ""
) -> tuple[Endpoint, ...]:
    """The endpoints of a service port, sorted by text; of doubles the one on ``node`` counts."""
    found: dict[str, Endpoint] = {}
    family = ADDRESS_TYPES[family_of(port.cluster_ip)]
    for entry in slices:
        if entry.address_type != family:
            continue
        for p in entry.ports:
            if p.name == port.port_name and p.protocol.lower() == port.protocol and p.port:
                for endpoint in entry.endpoints:
                    _add_endpoint(found, endpoint, p.port, node)
    return tuple([found[text] for text in sorted(found)])


def _add_endpoint(found: dict[str, Endpoint], seen: SliceEndpoint, number: int, node: str) -> None:
    if not seen.addresses:
        return
    ip, conditions, hints = canonical(seen.addresses[0]), seen.conditions, seen.hints
    text = f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}"
    if text in found and seen.node_name != node:
        return
    found[text] = Endpoint(
        text,
        ip,
        number,
        seen.node_name,
        conditions.ready is not False,
        conditions.serving is not False,
        conditions.terminating is True,
        _hinted(hints, "forZones") if hints else (),
        _hinted(hints, "forNodes") if hints else (),
    )


def _hinted(hints: JSON, what: str) -> tuple[str, ...]:
    return tuple(h["name"] for h in hints.get(what) or ())


def has_hints(endpoints: Iterable[Endpoint]) -> bool:
    """Whether the choice may depend on the node's name or zone."""
    return any(e.zone_hints or e.node_hints for e in endpoints)


def categorize(port: ServicePort, endpoints: Sequence[Endpoint], node: NodeFacts) -> Choice:
    """Which endpoints the node uses; terminating ones only where nothing is ready."""
    ready = [e for e in endpoints if e.ready]
    fallback = [e for e in endpoints if e.serving and e.terminating]
    cluster: list[Endpoint] = []
    if port.uses_cluster:
        cluster = _near(ready, node) or fallback
    local: list[Endpoint] = []
    if port.uses_local:
        local = [e for e in ready if e.node == node.name]
        local = local or [e for e in fallback if e.node == node.name]
    return Choice(tuple(cluster), tuple(local), bool(ready or fallback))


def _near(ready: list[Endpoint], node: NodeFacts) -> list[Endpoint]:
    """PreferSameNode, else PreferSameZone, else all: only when every endpoint carries hints."""
    if ready and all(e.node_hints for e in ready):
        same = [e for e in ready if node.name in e.node_hints]
        if same:
            return same
    if ready and node.zone and all(e.zone_hints for e in ready):
        same = [e for e in ready if node.zone in e.zone_hints]
        if same:
            return same
    return ready
