"""Validation of Services.

Source: kubernetes pkg/apis/core/validation (ValidateService, ValidateServiceUpdate).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.defaults.service import is_headless
from podwire.api.validation import meta
from podwire.api.validation.address import check_cidr, check_ip, check_usable_ip
from podwire.api.validation.containers import PROTOCOLS, check_port
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

NODE_PORTS = (30000, 32767)
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_MAX_AFFINITY_S = 86400
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_UNCHANGEABLE = "may not change once set"


def check_service(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Service; addresses are allocated later, so they may be absent."""
    spec = new["spec"]
    if old is not None:
        _check_update(errors, spec, old["spec"])
    kind = spec.get("type", "")
    ports = spec.get("ports") or []
    if not ports and not is_headless(spec) and kind != "ExternalName":
        errors.required("spec.ports")
    if kind in {"LoadBalancer", "NodePort"} and is_headless(spec):
        errors.invalid(
            "spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"
        )
    if kind == "ExternalName":
        _external_name(errors, spec)
    _ports(errors, spec, ports)
    meta.check_labels(errors, "spec.selector", spec.get("selector"))
    _affinity(errors, spec)
    _cluster_ips(errors, spec)
    for i, address in enumerate(spec.get("externalIPs") or ()):
        check_usable_ip(errors, f"spec.externalIPs[{i}]", address)
    errors.one_of("spec.type", kind, _TYPES)
    _load_balancer(errors, spec)
    _traffic(errors, spec)


def _external_name(errors: Errors, spec: JSON) -> None:
    for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(name):
            errors.forbidden(f"spec.{name}", "may not be set for ExternalName services")
    target = spec.get("externalName", "").removesuffix(".")
    if target:
        errors.complaints("spec.externalName", target, names.dns1123_subdomain(target))
    else:
        errors.required("spec.externalName")


def _ports(errors: Errors, spec: JSON, ports: list[JSON]) -> None:
    seen: dict[str, None] = {}
    for i, port in enumerate(ports):
        where = f"spec.ports[{i}]"
        name = port.get("name", "")
        if name:
            errors.complaints(f"{where}.name", name, names.dns1123_label(name))
            if name in seen:
                errors.duplicate(f"{where}.name", name)
            seen[name] = None
        elif len(ports) > 1:
            errors.required(f"{where}.name")
        number = port.get("port", 0)
        errors.complaints(f"{where}.port", number, names.port_number(number))
        errors.one_of(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)
        check_port(errors, f"{where}.targetPort", port.get("targetPort", 0))
        if port.get("appProtocol"):
            complaints = names.label_key(port["appProtocol"])
            errors.complaints(f"{where}.appProtocol", port["appProtocol"], complaints)
    if spec.get("type") == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                detail = "may not be used when `type` is 'ClusterIP'"
                errors.forbidden(f"spec.ports[{i}].nodePort", detail)
    _unique_ports(errors, ports)


def _unique_ports(errors: Errors, ports: list[JSON]) -> None:
    low, high = NODE_PORTS
    node_ports: dict[tuple[str, int], None] = {}
    numbers: dict[tuple[str, int], None] = {}
    for i, port in enumerate(ports):
        protocol, node_port = port.get("protocol", ""), port.get("nodePort", 0)
        if not node_port:
            continue
        where = f"spec.ports[{i}].nodePort"
        if (protocol, node_port) in node_ports:
            errors.duplicate(where, node_port)
        node_ports[protocol, node_port] = None
        if not low <= node_port <= high:
            bounds = f"The range of valid ports is {low}-{high}"
            detail = f"provided port is not in the valid range. {bounds}"
            errors.invalid(where, node_port, detail)
    for i, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in numbers:
            shown = {"protocol": key[0], "port": key[1]}
            errors.duplicate(f"spec.ports[{i}]", shown)
        numbers[key] = None


def _affinity(errors: Errors, spec: JSON) -> None:
    affinity = spec.get("sessionAffinity", "")
    errors.one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    if affinity == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        timeout = client.get("timeoutSeconds", 0)
        if not 0 < timeout <= _MAX_AFFINITY_S:
            errors.invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                timeout,
                f"must be greater than 0 and less than {_MAX_AFFINITY_S}",
            )


def _cluster_ips(errors: Errors, spec: JSON) -> None:
    if spec.get("type") == "ExternalName":
        return
    single, many = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if many and not single:
        errors.invalid("spec.clusterIPs", many, "must be empty when `clusterIP` is not specified")
    elif many and many[0] != single:
        errors.invalid("spec.clusterIPs", many, "first value must match `clusterIP`")
    for i, address in enumerate(many):
        if address == "None":
            if i > 0 or len(many) > 1:
                detail = "may not be used with other values"
                errors.invalid(f"spec.clusterIPs[{i}]", address, f"'None' {detail}")
        elif address:
            check_ip(errors, f"spec.clusterIPs[{i}]", address)
    _families(errors, spec, many)


def ip_family(ip: str) -> str:
    """``IPv4`` or ``IPv6``, as ipFamilies calls the family of an address."""
    return "IPv6" if ":" in ip else "IPv4"


def _families(errors: Errors, spec: JSON, addresses: list[str]) -> None:
    """ipFamilies, ipFamilyPolicy, and that addresses are of the families they stand for."""
    families = spec.get("ipFamilies") or []
    if len(families) > 2:
        errors.invalid("spec.ipFamilies", families, "may only hold up to 2 values")
    for i, family in enumerate(families):
        if family in families[:i]:
            errors.duplicate(f"spec.ipFamilies[{i}]", family)
        errors.one_of(f"spec.ipFamilies[{i}]", family, ("IPv4", "IPv6"))
    policy = spec.get("ipFamilyPolicy")
    if policy:
        supported = ("PreferDualStack", "RequireDualStack", "SingleStack")
        errors.one_of("spec.ipFamilyPolicy", policy, supported)
    if len(addresses) > 2:
        errors.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
    found = [ip_family(ip) for ip in addresses if ip != "None"]
    if len(found) == 2 and found[0] == found[1]:
        detail = "may specify no more than one IP for each IP family"
        errors.invalid("spec.clusterIPs", addresses, detail)
    for i, (has, wanted) in enumerate(zip(found, families, strict=False)):
        if has != wanted and wanted in {"IPv4", "IPv6"}:
            detail = f"expected an {wanted} value as indicated by `ipFamilies[{i}]`"
            errors.invalid(f"spec.clusterIPs[{i}]", addresses[i], detail)


def _load_balancer(errors: Errors, spec: JSON) -> None:
    is_balancer = spec.get("type") == "LoadBalancer"
    only = "may only be used when `type` is 'LoadBalancer'"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges and not is_balancer:
        errors.forbidden("spec.LoadBalancerSourceRanges", only)
    for i, cidr in enumerate(ranges):
        check_cidr(errors, f"spec.LoadBalancerSourceRanges[{i}]", cidr.strip())
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if name in spec and not is_balancer:
            errors.forbidden(f"spec.{name}", only)
    if spec.get("loadBalancerClass"):
        complaints = names.label_key(spec["loadBalancerClass"])
        errors.complaints("spec.loadBalancerClass", spec["loadBalancerClass"], complaints)


def _traffic(errors: Errors, spec: JSON) -> None:
    kind, policy = spec.get("type"), spec.get("externalTrafficPolicy", "")
    exposed = kind in {"NodePort", "LoadBalancer"} or (
        kind == "ClusterIP" and spec.get("externalIPs")
    )
    if exposed:
        errors.one_of("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy:
        detail = "may only be set for externally-accessible services"
        errors.invalid("spec.externalTrafficPolicy", policy, detail)
    health = spec.get("healthCheckNodePort", 0)
    if health and not (kind == "LoadBalancer" and policy == "Local"):
        errors.invalid(
            "spec.healthCheckNodePort",
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    elif health:
        errors.complaints("spec.healthCheckNodePort", health, names.port_number(health))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None:
        errors.one_of("spec.internalTrafficPolicy", internal, ("Cluster", "Local"))
    if spec.get("trafficDistribution"):
        errors.one_of("spec.trafficDistribution", spec["trafficDistribution"], _DISTRIBUTIONS)


def _check_update(errors: Errors, new: JSON, old: JSON) -> None:
    if "ExternalName" not in {new.get("type"), old.get("type")}:
        mine, theirs = new.get("clusterIPs") or [], old.get("clusterIPs") or []
        if theirs and not mine:
            errors.invalid("spec.clusterIPs[0]", mine, "primary clusterIP can not be unset")
        elif theirs and mine[0] != theirs[0]:
            errors.invalid("spec.clusterIPs[0]", mine, _UNCHANGEABLE)
        families, before = new.get("ipFamilies") or [], old.get("ipFamilies") or []
        if families and before and families[0] != before[0]:
            errors.invalid("spec.ipFamilies[0]", families, _UNCHANGEABLE)
    if new.get("type") == old.get("type") == "LoadBalancer":
        mine, theirs = new.get("loadBalancerClass"), old.get("loadBalancerClass")
        if mine != theirs:
            errors.invalid("spec.loadBalancerClass", mine, _UNCHANGEABLE)
        before_port = old.get("healthCheckNodePort", 0)
        if before_port and new.get("healthCheckNodePort", before_port) != before_port:
            errors.forbidden("spec.healthCheckNodePort", "field is immutable")
