"""Views of Service, Endpoints, EndpointSlice, ServiceCIDR."""

from __future__ import annotations

import msgspec

from podwire.api.view import JSON, View
from podwire.api.views.meta import Condition, Labels, Object, ObjectReference


class ServicePort(View, frozen=True, kw_only=True):
    """service.spec.ports[]."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0
    app_protocol: str = ""


class ClientIPConfig(View, frozen=True, kw_only=True):
    """sessionAffinityConfig.clientIP."""

    timeout_seconds: int = 10800


class SessionAffinityConfig(View, frozen=True, kw_only=True):
    """service.spec.sessionAffinityConfig."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(View, frozen=True, kw_only=True):
    """service spec."""

    type: str = "ClusterIP"
    selector: Labels = {}
    ports: list[ServicePort] = []
    cluster_ip: str = ""
    cluster_ips: list[str] = []
    external_ips: list[str] = []
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    publish_not_ready_addresses: bool = False
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_class: str = ""
    load_balancer_source_ranges: list[str] = []
    health_check_node_port: int = 0
    ip_families: list[str] = msgspec.field(default_factory=list, name="ipFamilies")
    ip_family_policy: str = msgspec.field(default="", name="ipFamilyPolicy")
    traffic_distribution: str = ""


class LoadBalancerIngress(View, frozen=True, kw_only=True):
    """status.loadBalancer.ingress[]."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = msgspec.field(default="", name="ipMode")


class LoadBalancerStatus(View, frozen=True, kw_only=True):
    """status.loadBalancer."""

    ingress: list[LoadBalancerIngress] = []


class ServiceStatus(View, frozen=True, kw_only=True):
    """service status."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, kw_only=True):
    """v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        """Whether clusterIP is None."""
        return self.spec.cluster_ip == "None"


class EndpointAddress(View, frozen=True, kw_only=True):
    """endpoints.subsets[].addresses[]."""

    ip: str = ""
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointPortV1(View, frozen=True, kw_only=True):
    """endpoints.subsets[].ports[]."""

    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSubset(View, frozen=True, kw_only=True):
    """endpoints.subsets[]."""

    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPortV1] = []


class Endpoints(Object, frozen=True, kw_only=True):
    """v1 Endpoints."""

    subsets: list[EndpointSubset] = []


class EndpointConditions(View, frozen=True, kw_only=True):
    """endpointslice.endpoints[].conditions; None counts as ready and serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(View, frozen=True, kw_only=True):
    """endpointslice.endpoints[]."""

    addresses: list[str] = []
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None
    hints: JSON | None = None


class EndpointPort(View, frozen=True, kw_only=True):
    """endpointslice.ports[]."""

    name: str = ""
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str = ""


class EndpointSlice(Object, frozen=True, kw_only=True):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[EndpointPort] = []

    @property
    def service_name(self) -> str:
        """The Service this slice belongs to (label kubernetes.io/service-name), or ''."""
        return self.metadata.labels.get("kubernetes.io/service-name", "")


class ServiceCIDRSpec(View, frozen=True, kw_only=True):
    """The networks, one per family at most."""

    cidrs: list[str] = []


class ServiceCIDRStatus(View, frozen=True, kw_only=True):
    """serviceCIDR status."""

    conditions: list[Condition] = []


class ServiceCIDR(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 ServiceCIDR: where cluster IPs are taken from."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()


class ParentReference(View, frozen=True, kw_only=True):
    """ipAddress.spec.parentRef."""

    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(View, frozen=True, kw_only=True):
    """ipAddress spec."""

    parent_ref: ParentReference = ParentReference()


class IPAddress(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 IPAddress: whose a cluster IP is."""

    spec: IPAddressSpec = IPAddressSpec()
