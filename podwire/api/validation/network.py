"""Validation of NetworkPolicy, EndpointSlice, Endpoints and Ingress.

Source: kubernetes pkg/apis/networking/validation, pkg/apis/discovery/validation and
pkg/apis/core/validation (endpoints).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.address import check_cidr, check_usable_ip, parse_cidr
from podwire.api.validation.containers import PROTOCOLS
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_TYPES = ("Ingress", "Egress")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_MAX_ENDPOINTS = 1000
_MAX_PER_ENDPOINT = 100


def check_network_policy(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A NetworkPolicy."""
    spec = new["spec"]
    meta.label_selector(errors, "spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                _policy_port(errors, f"{where}.ports[{j}]", port)
            for j, peer in enumerate(rule.get(peers) or ()):
                _peer(errors, f"{where}.{peers}[{j}]", peer)
    types = spec.get("policyTypes") or []
    if len(types) > len(_TYPES):
        errors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for i, name in enumerate(types):
        errors.one_of(f"spec.policyTypes[{i}]", name, _TYPES)


def _policy_port(errors: Errors, path: str, port: JSON) -> None:
    errors.one_of(f"{path}.protocol", port.get("protocol", ""), ("TCP", "UDP", "SCTP"))
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        if end is not None:
            detail = "may not be specified when `port` is not specified"
            errors.invalid(f"{path}.endPort", end, detail)
    elif isinstance(number, int):
        errors.complaints(f"{path}.port", number, names.port_number(number))
        if end is not None:
            if end < number:
                detail = "must be greater than or equal to `port`"
                errors.invalid(f"{path}.endPort", end, detail)
            errors.complaints(f"{path}.endPort", end, names.port_number(end))
    else:
        if end is not None:
            detail = "may not be specified when `port` is non-numeric"
            errors.invalid(f"{path}.endPort", end, detail)
        errors.complaints(f"{path}.port", number, names.port_name(number))


def _peer(errors: Errors, path: str, peer: JSON) -> None:
    for name in ("podSelector", "namespaceSelector"):
        if name in peer:
            meta.label_selector(errors, f"{path}.{name}", peer[name])
    block = peer.get("ipBlock")
    if block is not None:
        _ip_block(errors, f"{path}.ipBlock", block)
    if not peer:
        errors.required(path, "must specify a peer")
    elif block is not None and len(peer) > 1:
        errors.forbidden(path, "may not specify both ipBlock and another peer")


def _ip_block(errors: Errors, path: str, block: JSON) -> None:
    cidr = block.get("cidr", "")
    if not cidr:
        errors.required(f"{path}.cidr")
        return
    network = check_cidr(errors, f"{path}.cidr", cidr)
    for i, text in enumerate(block.get("except") or ()):
        where = f"{path}.except[{i}]"
        hole = check_cidr(errors, where, text)
        if network is None or hole is None:
            continue
        inside = hole.version == network.version and hole.network_address in network
        if not inside or hole.prefixlen <= network.prefixlen:
            errors.invalid(where, text, "must be a strict subset of `cidr`")


def check_endpoint_slice(errors: Errors, new: JSON, old: JSON | None) -> None:
    """An EndpointSlice; its address type never changes."""
    kind = new.get("addressType", "")
    if not kind:
        errors.required("addressType")
    else:
        errors.one_of("addressType", kind, _ADDRESS_TYPES)
    endpoints = new.get("endpoints") or []
    if len(endpoints) > _MAX_ENDPOINTS:
        errors.too_many("endpoints", len(endpoints), _MAX_ENDPOINTS)
        endpoints = []
    for i, endpoint in enumerate(endpoints):
        _endpoint(errors, f"endpoints[{i}]", endpoint, kind)
    _slice_ports(errors, new.get("ports") or [])
    if old is not None:
        errors.immutable("addressType", kind, old.get("addressType"))


def _endpoint(errors: Errors, path: str, endpoint: JSON, kind: str) -> None:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        errors.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_PER_ENDPOINT:
        errors.too_many(f"{path}.addresses", len(addresses), _MAX_PER_ENDPOINT)
    for i, address in enumerate(addresses):
        where = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            errors.complaints(where, address, names.dns1123_subdomain(address.removesuffix(".")))
        elif kind in {"IPv4", "IPv6"}:
            check_usable_ip(errors, where, address, int(kind[-1]))
    if endpoint.get("hostname"):
        complaints = names.dns1123_label(endpoint["hostname"])
        errors.complaints(f"{path}.hostname", endpoint["hostname"], complaints)


def _slice_ports(errors: Errors, ports: list[JSON]) -> None:
    if len(ports) > _MAX_PER_ENDPOINT:
        errors.too_many("ports", len(ports), _MAX_PER_ENDPOINT)
        return
    seen: dict[str, None] = {}
    for i, port in enumerate(ports):
        where, name = f"ports[{i}]", port.get("name", "")
        if name:
            errors.complaints(f"{where}.name", name, names.dns1123_label(name))
        if name in seen:
            errors.duplicate(f"{where}.name", name)
        seen[name] = None
        errors.one_of(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)
        if port.get("appProtocol"):
            complaints = names.label_key(port["appProtocol"])
            errors.complaints(f"{where}.appProtocol", port["appProtocol"], complaints)


def check_endpoints(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """Endpoints."""
    for i, subset in enumerate(new.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.required(path, "must specify `addresses` or `notReadyAddresses`")
        for name in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(name) or ()):
                where = f"{path}.{name}[{j}]"
                check_usable_ip(errors, f"{where}.ip", address.get("ip", ""))
                if address.get("hostname"):
                    complaints = names.dns1123_label(address["hostname"])
                    errors.complaints(f"{where}.hostname", address["hostname"], complaints)
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            where, name = f"{path}.ports[{j}]", port.get("name", "")
            if name:
                errors.complaints(f"{where}.name", name, names.dns1123_label(name))
            elif len(ports) > 1:
                errors.required(f"{where}.name")
            complaints = names.port_number(port.get("port", 0))
            errors.complaints(f"{where}.port", port.get("port", 0), complaints)
            errors.one_of(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)


def check_ingress(errors: Errors, new: JSON, old: JSON | None) -> None:
    """An Ingress: class, hosts, paths and backends."""
    spec = new["spec"]
    annotation = (new["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    name = spec.get("ingressClassName")
    if old is None and annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        errors.invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, detail)
    if not spec.get("rules") and "defaultBackend" not in spec:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.invalid("spec", spec.get("rules"), detail)
    if "defaultBackend" in spec:
        _backend(errors, "spec.defaultBackend", spec["defaultBackend"])
    for i, rule in enumerate(spec.get("rules") or ()):
        path, host = f"spec.rules[{i}]", rule.get("host", "")
        if parse_cidr(f"{host}/32") is not None:
            errors.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        elif host:
            check = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
            errors.complaints(f"{path}.host", host, check(host))
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            errors.required(f"{path}.http.paths")
        for j, item in enumerate((http or {}).get("paths") or ()):
            _path(errors, f"{path}.http.paths[{j}]", item)


def _path(errors: Errors, path: str, item: JSON) -> None:
    kind, text = item.get("pathType"), item.get("path", "")
    if kind is None:
        errors.required(f"{path}.pathType", "pathType must be specified")
    else:
        errors.one_of(f"{path}.pathType", kind, _PATH_TYPES)
    if kind in {"Exact", "Prefix"} and not text.startswith("/"):
        errors.invalid(f"{path}.path", text, "must be an absolute path")
    _backend(errors, f"{path}.backend", item.get("backend") or {})


def _backend(errors: Errors, path: str, backend: JSON) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        detail = "cannot set both resource and service backends"
        errors.invalid(path, "", detail)
    elif service is None and resource is None:
        errors.required(path, "resource or service backend is required")
    elif service is not None:
        if not service.get("name"):
            errors.required(f"{path}.service.name")
        else:
            complaints = names.dns1035_label(service["name"])
            errors.complaints(f"{path}.service.name", service["name"], complaints)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            errors.invalid(path, "", "cannot set both port name & port number")
        elif port.get("name"):
            where = f"{path}.service.port.name"
            errors.complaints(where, port["name"], names.port_name(port["name"]))
        elif port.get("number"):
            where = f"{path}.service.port.number"
            errors.complaints(where, port["number"], names.port_number(port["number"]))
        else:
            errors.required(path, "port name or number is required")
