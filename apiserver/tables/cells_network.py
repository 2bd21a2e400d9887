"""Cells of Services, endpoints, NetworkPolicies and Ingresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podwire.api.views import Endpoints, EndpointSlice, NetworkPolicy, Service
from podwire.apiserver.tables.words import NONE, UNSET, age, labels, selector, since, some


def service(view: Service, now_ns: int) -> list[Any]:
    """Type, addresses, ports."""
    spec = view.spec
    return [
        view.metadata.name,
        spec.type,
        spec.cluster_ip or NONE,
        _external(view),
        ",".join(_port(p.port, p.node_port, p.protocol) for p in spec.ports) or NONE,
        since(view.metadata.creation_timestamp, now_ns),
        labels(spec.selector),
    ]


def _external(view: Service) -> str:
    spec = view.spec
    if spec.type == "ExternalName":
        return spec.external_name
    if spec.type == "LoadBalancer":
        given = _addresses(i.ip or i.hostname for i in view.status.load_balancer.ingress)
        return ",".join([*given, *spec.external_ips]) or "<pending>"
    return ",".join(spec.external_ips) or NONE


def _addresses(found: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(address for address in found if address))


def _port(port: int, node_port: int, protocol: str) -> str:
    return f"{port}:{node_port}/{protocol}" if node_port else f"{port}/{protocol}"


def endpoints(view: Endpoints, now_ns: int) -> list[Any]:
    """Ready addresses with their ports, three shown."""
    found = [
        f"[{address.ip}]:{port.port}" if ":" in address.ip else f"{address.ip}:{port.port}"
        for subset in view.subsets
        for port in subset.ports
        for address in subset.addresses
    ]
    found += [
        address.ip for subset in view.subsets if not subset.ports for address in subset.addresses
    ]
    return [view.metadata.name, some(found), since(view.metadata.creation_timestamp, now_ns)]


def endpoint_slice(view: EndpointSlice, now_ns: int) -> list[Any]:
    """Ports and addresses, three shown of each."""
    ports = [str(p.port) if p.port is not None else p.name or "*" for p in view.ports]
    addresses = [address for endpoint in view.endpoints for address in endpoint.addresses]
    return [
        view.metadata.name,
        view.address_type,
        some(ports) if ports else UNSET,
        some(addresses) if addresses else UNSET,
        since(view.metadata.creation_timestamp, now_ns),
    ]


def network_policy(view: NetworkPolicy, now_ns: int) -> list[Any]:
    """Name, Pod-Selector, Age."""
    meta = view.metadata
    return [meta.name, selector(view.spec.pod_selector), since(meta.creation_timestamp, now_ns)]


def ingress(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Hosts, three shown; 443 appears with TLS."""
    spec, meta = body.get("spec", {}), body["metadata"]
    given = body.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return [
        meta["name"],
        spec.get("ingressClassName") or NONE,
        _hosts(spec.get("rules") or []),
        ",".join(_addresses(i.get("ip") or i.get("hostname", "") for i in given)),
        "80, 443" if spec.get("tls") else "80",
        age(body, now_ns),
    ]


def _hosts(rules: list[dict[str, Any]]) -> str:
    """Upstream counts what it leaves out by rules, not by hosts."""
    shown: list[str] = []
    more = False
    for rule in rules:
        more = more or len(shown) == _SHOWN
        if not more and rule.get("host"):
            shown.append(rule["host"])
    if not shown:
        return "*"
    text = ",".join(shown)
    return f"{text} + {len(rules) - _SHOWN} more..." if more else text


_SHOWN = 3


def service_cidr(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Name, CIDRs, Age."""
    cidrs = body.get("spec", {}).get("cidrs") or []
    return [body["metadata"]["name"], ",".join(cidrs), age(body, now_ns)]


def ip_address(body: dict[str, Any], _now_ns: int) -> list[Any]:
    """Whose address it is: resource, namespace, name."""
    parent = body.get("spec", {}).get("parentRef")
    if not parent:
        return [body["metadata"]["name"], NONE]
    group = f".{parent['group']}" if parent.get("group") else ""
    where = f"/{parent['namespace']}" if parent.get("namespace") else ""
    resource = f"{parent.get('resource', '')}{group}".lower()
    return [body["metadata"]["name"], f"{resource}{where}/{parent.get('name', '')}"]


def ingress_class(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Name, Controller, Parameters, Age."""
    spec, meta = body.get("spec", {}), body["metadata"]
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters['kind']}{group}/{parameters['name']}"
    return [meta["name"], spec.get("controller", ""), shown, age(body, now_ns)]
