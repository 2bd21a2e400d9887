"""Cells of Services, endpoints, NetworkPolicies and Ingresses."""

from __future__ import annotations

from typing import Any

from podwire.api.views import Endpoints, EndpointSlice, NetworkPolicy, Service
from podwire.apiserver.tables.words import NONE, UNSET, labels, selector, since, some


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
        given = [i.ip or i.hostname for i in view.status.load_balancer.ingress]
        return ",".join([*given, *spec.external_ips]) or "<pending>"
    return ",".join(spec.external_ips) or NONE


def _port(port: int, node_port: int, protocol: str) -> str:
    return f"{port}:{node_port}/{protocol}" if node_port else f"{port}/{protocol}"


def endpoints(view: Endpoints, now_ns: int) -> list[Any]:
    """Ready addresses with their ports, three shown."""
    found = [
        f"{address.ip}:{port.port}"
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
    ports = [str(p.port) if p.port is not None else "*" for p in view.ports]
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
    hosts = [rule["host"] for rule in spec.get("rules") or [] if rule.get("host")]
    given = body.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    annotation = meta.get("annotations", {}).get("kubernetes.io/ingress.class")
    return [
        meta["name"],
        spec.get("ingressClassName") or annotation or NONE,
        some(hosts) if hosts else "*",
        ",".join(i.get("ip") or i.get("hostname", "") for i in given),
        "80, 443" if spec.get("tls") else "80",
        since(meta["creationTimestamp"], now_ns),
    ]


def ingress_class(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Name, Controller, Parameters, Age."""
    spec, meta = body.get("spec", {}), body["metadata"]
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters['kind']}{group}/{parameters['name']}"
    age = since(meta["creationTimestamp"], now_ns)
    return [meta["name"], spec.get("controller", ""), shown, age]
