"""Defaults of Services, and what an update keeps of the allocated fields.

Source: kubernetes pkg/apis/core/v1/defaults.go and pkg/registry/core/service (strategy, alloc).
"""

from __future__ import annotations

from podwire.api.view import JSON

_NODE_PORT_TYPES = frozenset(("NodePort", "LoadBalancer"))
_CLUSTER_IP_TYPES = frozenset(("ClusterIP", "NodePort", "LoadBalancer"))
_AFFINITY_TIMEOUT_S = 10800


def default_service(obj: JSON) -> None:
    """Everything but the allocated addresses and node ports."""
    spec = obj["spec"]
    kind = spec.setdefault("type", "ClusterIP")
    _affinity(spec)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port["targetPort"] = port.get("targetPort") or port["port"]
    if _is_exposed(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind in _CLUSTER_IP_TYPES:
        spec.setdefault("internalTrafficPolicy", "Cluster")
        _cluster_ips(spec)
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _is_exposed(spec: JSON) -> bool:
    """Whether traffic from outside may reach the Service."""
    kind = spec.get("type", "ClusterIP")
    return kind in _NODE_PORT_TYPES or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _affinity(spec: JSON) -> None:
    if spec.setdefault("sessionAffinity", "None") == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", _AFFINITY_TIMEOUT_S)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)


def _cluster_ips(spec: JSON) -> None:
    """A clusterIP that was asked for is the first of clusterIPs. Families are settled where
    addresses are allocated (apiserver/allocation/families.py): they depend on the cluster.
    """
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def is_headless(spec: JSON) -> bool:
    """Whether the Service has clusterIP None."""
    return bool((spec.get("clusterIPs") or [spec.get("clusterIP")])[0] == "None")


def keep_allocated(new: JSON, old: JSON) -> None:
    """An update that does not mention what was allocated keeps it (in place, before defaulting).

    kubectl replace and older clients send the Service without clusterIP and nodePorts.
    """
    mine, theirs = new["spec"], old["spec"]
    _sync_cluster_ips(mine, theirs)
    new_type, old_type = mine.get("type", "ClusterIP"), theirs.get("type", "ClusterIP")
    if new_type in _CLUSTER_IP_TYPES and old_type in _CLUSTER_IP_TYPES:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not mine.get(name) and theirs.get(name):
                mine[name] = theirs[name]
    if new_type == "ExternalName" and old_type != "ExternalName":
        _drop_unchanged(mine, theirs, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    if new_type in _NODE_PORT_TYPES and old_type in _NODE_PORT_TYPES:
        _keep_node_ports(mine, theirs)
    elif new_type not in _NODE_PORT_TYPES:
        _drop_node_ports(mine, theirs)
    if old_type == "LoadBalancer" != new_type:
        _drop_unchanged(mine, theirs, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if _is_exposed(theirs) and not _is_exposed(mine):
        _drop_unchanged(mine, theirs, "externalTrafficPolicy")
    if not _needs_health_check_port(mine):
        _drop_unchanged(mine, theirs, "healthCheckNodePort")
    elif not mine.get("healthCheckNodePort") and theirs.get("healthCheckNodePort"):
        mine["healthCheckNodePort"] = theirs["healthCheckNodePort"]


def _sync_cluster_ips(mine: JSON, theirs: JSON) -> None:
    """One of clusterIP and clusterIPs changed: it leads, the other follows."""
    single, many = mine.get("clusterIP", ""), mine.get("clusterIPs") or []
    if single == theirs.get("clusterIP", "") and many != (theirs.get("clusterIPs") or []):
        return
    if single and many and single != many[0] and many == (theirs.get("clusterIPs") or []):
        mine["clusterIPs"] = [single]
    elif (
        not single and many and many == (theirs.get("clusterIPs") or []) and theirs.get("clusterIP")
    ):
        mine.pop("clusterIPs")


def _drop_unchanged(mine: JSON, theirs: JSON, *names: str) -> None:
    for name in names:
        if mine.get(name) == theirs.get(name):
            mine.pop(name, None)


def _needs_health_check_port(spec: JSON) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _keep_node_ports(mine: JSON, theirs: JSON) -> None:
    known = {
        (port.get("protocol", "TCP"), port.get("port")): port["nodePort"]
        for port in theirs.get("ports") or ()
        if port.get("nodePort")
    }
    used = {port.get("nodePort") for port in mine.get("ports") or ()}
    for port in mine.get("ports") or ():
        number = known.get((port.get("protocol", "TCP"), port.get("port")))
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number


def _drop_node_ports(mine: JSON, theirs: JSON) -> None:
    """A Service that no longer has node ports gives them up, unless they were newly asked for."""
    old = [port.get("nodePort") for port in theirs.get("ports") or ()]
    for port in mine.get("ports") or ():
        if port.get("nodePort") in old:
            port.pop("nodePort", None)
