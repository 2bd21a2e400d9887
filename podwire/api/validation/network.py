"""Validation of NetworkPolicy, EndpointSlice and Endpoints.

Source: kubernetes pkg/apis/networking/validation, pkg/apis/discovery/validation and
pkg/apis/core/validation (endpoints).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.address import check_cidr, check_usable_ip, usable_as
from podwire.api.validation.containers import PROTOCOLS
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_TYPES = ("Ingress", "Egress")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ENDPOINTS = 1000
_MAX_PER_ENDPOINT = 100
_MAX_PORTS = 20000
_MAX_HINTS = 8
_MAX_TOPOLOGY = 16


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
                errors.invalid(f"{path}.endPort", number, detail)  # upstream shows the port
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
    family = {"IPv4": 4, "IPv6": 6}.get(kind, -1)
    for i, endpoint in enumerate(endpoints):
        if not _plainly_good(endpoint, family):
            _endpoint(errors, f"endpoints[{i}]", endpoint, kind)
    _slice_ports(errors, new.get("ports") or [])
    if old is not None:
        errors.immutable("addressType", kind, old.get("addressType"))


def _plainly_good(endpoint: JSON, family: int) -> bool:
    """Whether it is what nearly all endpoints are, and nothing is wrong with it: one address on a
    node, no hints.
    """
    addresses = endpoint.get("addresses")
    if not addresses or len(addresses) > 1 or usable_as(addresses[0]) != family:
        return False
    node = endpoint.get("nodeName")
    if node is not None and names.dns1123_subdomain(node):
        return False
    return endpoint.keys().isdisjoint(_SELDOM)


_SELDOM = ("deprecatedTopology", "hostname", "hints")


def _endpoint(errors: Errors, path: str, endpoint: JSON, kind: str) -> None:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        errors.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_PER_ENDPOINT:
        errors.too_many(f"{path}.addresses", len(addresses), _MAX_PER_ENDPOINT)
    for i, address in enumerate(addresses):
        where = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            _domain(errors, where, address)
        elif kind in {"IPv4", "IPv6"}:
            check_usable_ip(errors, where, address, int(kind[-1]))
    node = endpoint.get("nodeName")
    if node is not None:
        errors.complaints(f"{path}.nodeName", node, names.dns1123_subdomain(node))
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MAX_TOPOLOGY:
        errors.too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY)
    meta.check_labels(errors, f"{path}.deprecatedTopology", topology)
    host = endpoint.get("hostname")
    if host is not None:
        errors.complaints(f"{path}.hostname", host, names.dns1123_label(host))
    for field in ("forZones", "forNodes"):
        _hints(errors, f"{path}.hints.{field}", (endpoint.get("hints") or {}).get(field) or [])


def _domain(errors: Errors, path: str, text: str) -> None:
    complaints = names.dns1123_subdomain(text.removesuffix("."))
    errors.complaints(path, text, complaints)
    if not complaints and "." not in text.removesuffix("."):
        detail = "should be a domain with at least two segments separated by dots"
        errors.invalid(path, text, detail)


def _hints(errors: Errors, path: str, hints: list[JSON]) -> None:
    if len(hints) > _MAX_HINTS:
        errors.too_many(path, len(hints), _MAX_HINTS)
        return
    seen: dict[str, None] = {}
    for i, hint in enumerate(hints):
        where, name = f"{path}[{i}].name", hint.get("name", "")
        if name in seen:
            errors.duplicate(where, name)
        seen[name] = None
        errors.complaints(where, name, names.label_value(name))


def _slice_ports(errors: Errors, ports: list[JSON]) -> None:
    if len(ports) > _MAX_PORTS:
        errors.too_many("ports", len(ports), _MAX_PORTS)
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
                if address.get("nodeName"):
                    complaints = names.dns1123_subdomain(address["nodeName"])
                    errors.complaints(f"{where}.nodeName", address["nodeName"], complaints)
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            where, name = f"{path}.ports[{j}]", port.get("name", "")
            if name:
                errors.complaints(f"{where}.name", name, names.dns1123_label(name))
            elif len(ports) > 1:
                errors.required(f"{where}.name")
            complaints = names.port_number(port.get("port", 0))
            errors.complaints(f"{where}.port", port.get("port", 0), complaints)
            if not port.get("protocol"):
                errors.required(f"{where}.protocol")
                continue
            errors.one_of(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)
