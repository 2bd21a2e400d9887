"""The cluster's objects as explain sees them: one consistent set of views, with lookups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar

from podwire.api.views import (
    EndpointSlice,
    Ingress,
    IngressClass,
    Namespace,
    NetworkPolicy,
    Node,
    Object,
    Pod,
    Service,
)
from podwire.dataplane.verdict import Edit

Named = TypeVar("Named", bound=Object)
FINISHED = ("Succeeded", "Failed")
"""Phases of pods that have no network any more."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Everything a cause or a candidate edit may speak of.

    Replace a tuple (dataclasses.replace) to make an edited set.
    """

    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    nodes: tuple[Node, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    classes: tuple[IngressClass, ...] = ()
    certificates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The DNS names of the usable certificates, by their Secret's ``namespace/name``."""

    def pod_at(self, address: str) -> Pod | None:
        """The live pod (not of the host network) that has an address."""
        return next(
            (
                pod
                for pod in self.pods
                if _has(pod, address)
                and not pod.spec.host_network
                and pod.status.phase not in FINISHED
            ),
            None,
        )

    def finished_at(self, address: str) -> Pod | None:
        """A completed pod that had an address."""
        return next(
            (
                pod
                for pod in self.pods
                if _has(pod, address) and not pod.spec.host_network and pod.status.phase in FINISHED
            ),
            None,
        )

    def listener_at(self, address: str, protocol: str, port: int) -> Pod | None:
        """The pod at an address; on a node's own, the hostNetwork pod that declares the port."""
        found = self.pod_at(address)
        if found is not None:
            return found
        return next(
            (
                pod
                for pod in self.pods
                if pod.spec.host_network
                and _has(pod, address)
                and pod.status.phase not in FINISHED
                and any((p, n) == (protocol.upper(), port) for p, n, _ in declared_ports(pod))
            ),
            None,
        )

    def node_of_range(self, address: str) -> Node | None:
        """The node whose pod range contains an address."""
        if not address:
            return None
        return next((node for node in self.nodes if range_of(node, address)), None)

    def node_at(self, address: str) -> Node | None:
        """The node that has an address."""
        return next(
            (
                node
                for node in self.nodes
                if any(
                    a.type == "InternalIP" and a.address == address for a in node.status.addresses
                )
            ),
            None,
        )

    def service_at(self, address: str) -> Service | None:
        """The Service that has a cluster IP."""
        return next((s for s in self.services if address in _cluster_ips(s)), None)

    def service(self, namespace: str, name: str) -> Service | None:
        """A Service by name."""
        return _named(self.services, namespace, name)

    def ingress(self, namespace: str, name: str) -> Ingress | None:
        """An Ingress by name."""
        return _named(self.ingresses, namespace, name)

    def policy(self, namespace: str, name: str) -> NetworkPolicy | None:
        """A NetworkPolicy by name."""
        return _named(self.policies, namespace, name)

    def slices_of(self, service: Service) -> list[EndpointSlice]:
        """The EndpointSlices of a Service."""
        meta = service.metadata
        return [
            s
            for s in self.slices
            if s.metadata.namespace == meta.namespace and s.service_name == meta.name
        ]

    def ready_endpoints(self, service: Service) -> list[str]:
        """The addresses that the EndpointSlices of a Service call ready, sorted."""
        return sorted(
            address
            for one in self.slices_of(service)
            for endpoint in one.endpoints
            if endpoint.conditions.ready is not False
            for address in endpoint.addresses
        )

    def selected_by(self, service: Service) -> list[Pod]:
        """The live pods that a Service selects; none without a selector."""
        selector = service.spec.selector
        if not selector:
            return []
        return [
            pod
            for pod in self.pods
            if pod.metadata.namespace == service.metadata.namespace
            and pod.status.phase not in FINISHED
            and all(pod.metadata.labels.get(k) == v for k, v in selector.items())
        ]

    def name_of(self, address: str) -> str:
        """``ns/pod``, ``Service ns/name``, a node's name, or the address itself."""
        if (pod := self.pod_at(address)) is not None:
            return pod.key
        if (service := self.service_at(address)) is not None:
            return f"Service {service.key}"
        if (node := self.node_at(address)) is not None:
            return node.metadata.name
        return address


WhatIf = Callable[[Objects], Sequence[Edit]]
"""What the node agents would program for a set of objects, as edits for every node.

sim composes it from the agents' own pure cores, so an edited object is compiled by the same code
that compiles the real one."""


def declared_ports(pod: Pod) -> list[tuple[str, int, str]]:
    """(protocol, containerPort, name) of each declared port."""
    return [
        (port.protocol, port.container_port, port.name)
        for container in pod.spec.containers
        for port in container.ports
    ]


def _has(pod: Pod, address: str) -> bool:
    status = pod.status
    return status.pod_ip == address or any(ip.ip == address for ip in status.pod_ips)


def range_of(node: Node, address: str) -> str:
    """The pod range of a node, of those of both families, that contains an address; "" if none."""
    where = ip_address(address)
    cidrs = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    return next((cidr for cidr in cidrs if where in ip_network(cidr)), "")


def _cluster_ips(service: Service) -> list[str]:
    return service.spec.cluster_ips or [service.spec.cluster_ip]


def _named(items: Sequence[Named], namespace: str, name: str) -> Named | None:
    return next(
        (i for i in items if i.metadata.name == name and i.metadata.namespace == namespace), None
    )


_ADDED_LABELS = ("pod-template-hash", "controller-revision-hash", "pod-template-generation")


def own_labels(pod: Pod) -> dict[str, str]:
    """Labels that a person gave: what controllers add says nothing."""
    return {
        k: v
        for k, v in pod.metadata.labels.items()
        if k not in _ADDED_LABELS and "kubernetes.io/" not in k
    }


def described(address: str, objects: Objects) -> str:
    """A pod with its labels, or whatever has the address."""
    pod = objects.pod_at(address)
    if pod is None:
        return objects.name_of(address)
    labels = ",".join(f"{k}={v}" for k, v in sorted(own_labels(pod).items()))
    return f"{pod.key} ({labels})" if labels else pod.key
