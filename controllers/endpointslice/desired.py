"""The endpoints a Service should have (pure).

Source: kubernetes staging endpointslice (utils.go, reconciler.go) and
endpointslice/util/controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podwire.api.podports import target_port
from podwire.api.view import JSON
from podwire.api.views import Node, Pod, Service
from podwire.controllers.endpointslice import topology
from podwire.controllers.endpointslice.topology import ZONE

HEADLESS = "service.kubernetes.io/headless"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_DISTRIBUTIONS = {"PreferClose", "PreferSameZone", "PreferSameNode"}

Ports = tuple[tuple[str, str, int, str], ...]
"""(name, protocol, port, appProtocol) of each port."""


@dataclass(slots=True)
class PortGroup:
    """Endpoints that share the same resolved ports; keyed by pod uid."""

    ports: Ports
    endpoints: dict[str, JSON] = field(default_factory=dict)


def in_endpoints(pod: Pod, *, terminating: bool) -> bool:
    """Whether a pod belongs into endpoints at all (ShouldPodBeInEndpoints)."""
    if pod.status.phase in {"Succeeded", "Failed"} or not pod.status.pod_ip:
        return False
    return terminating or not pod.metadata.deletion_timestamp


def pod_ports(service: Service, pod: Pod) -> Ports:
    """The Service's ports as this pod serves them; names the pod does not know are left out."""
    found = []
    for port in service.spec.ports:
        number = target_port(pod, port)
        if number is not None:
            found.append((port.name, port.protocol, number, port.app_protocol))
    return tuple(found)


def hostname_of(service: Service, pod: Pod) -> str:
    """The hostname a pod has in its headless Service's domain, or ""."""
    return pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""


def families(service: Service) -> tuple[str, ...]:
    """The address types a Service wants slices of, its primary family first.

    Source: getAddressTypesForService; a Service without families is one that nobody defaulted.
    """
    if service.spec.ip_families:
        return tuple(service.spec.ip_families)
    return ("IPv6",) if ":" in service.spec.cluster_ip else ("IPv4",)


def address_of(pod: Pod, family: str) -> str:
    """A pod's address of a family, "" when it has none."""
    known = (pod.status.pod_ip, *(entry.ip for entry in pod.status.pod_ips))
    return next((ip for ip in known if ip and (":" in ip) == (family == "IPv6")), "")


def hints(service: Service, made: JSON) -> JSON:
    """Which nodes and zones should prefer an endpoint, by spec.trafficDistribution; {} for any.

    Source: endpointslice/trafficdist: ready endpoints only; PreferSameNode names the zone, too, for
    the nodes that have no endpoint of their own.
    """
    wanted = service.spec.traffic_distribution
    if wanted not in _DISTRIBUTIONS or topology.enabled(service) or not made["conditions"]["ready"]:
        return {}
    found: JSON = {}
    if wanted == "PreferSameNode" and made.get("nodeName"):
        found["forNodes"] = [{"name": made["nodeName"]}]
    if made.get("zone"):
        found["forZones"] = [{"name": made["zone"]}]
    return found


def endpoint(service: Service, pod: Pod, node: Node | None, address: str) -> JSON:
    """One endpoint."""
    serving = pod.ready
    terminating = bool(pod.metadata.deletion_timestamp)
    published = service.spec.publish_not_ready_addresses
    meta = pod.metadata
    made: JSON = {
        "addresses": [address],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
    }
    optional = {
        "hostname": hostname_of(service, pod),
        "nodeName": pod.spec.node_name,
        "zone": node.metadata.labels.get(ZONE, "") if node is not None else "",
    }
    made.update({name: value for name, value in optional.items() if value})
    if preferred := hints(service, made):
        made["hints"] = preferred
    return made


def groups(
    service: Service, pods: Sequence[Pod], nodes: Mapping[str, Node], family: str
) -> dict[Ports, PortGroup]:
    """All endpoints of a Service in one family, grouped by their ports."""
    found: dict[Ports, PortGroup] = {}
    for pod in pods:
        if not in_endpoints(pod, terminating=True):
            continue
        address = address_of(pod, family)
        if not address:
            continue
        ports = pod_ports(service, pod)
        group = found.setdefault(ports, PortGroup(ports))
        made = endpoint(service, pod, nodes.get(pod.spec.node_name), address)
        group.endpoints[pod.metadata.uid] = made
    return found


def port_json(ports: Ports) -> list[JSON]:
    """``ports`` of a slice."""
    return [
        {
            "name": name,
            "protocol": protocol,
            "port": number,
            **({"appProtocol": app} if app else {}),
        }
        for name, protocol, number, app in ports
    ]


def slice_labels(service: Service) -> dict[str, str]:
    """A slice's labels: the Service's own and those that tie it to Service and controller."""
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    if service.headless:
        labels[HEADLESS] = ""
    labels[SERVICE_NAME] = service.metadata.name
    labels[MANAGED_BY] = CONTROLLER
    return labels
