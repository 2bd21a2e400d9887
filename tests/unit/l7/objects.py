"""Ingresses, Services and slices in few words."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Ingress, IngressClass, Service
from podwire.client.api import decoder
from podwire.l7.table import Backends, Table, compile_table


def view(kind: Any, body: JSON) -> Any:
    return decoder(kind).decode(msgspec.json.encode(body))


def path(text: str, backend: str, kind: str = "Prefix") -> JSON:
    """``backend`` is NAME:PORT."""
    return {"path": text, "pathType": kind, "backend": {"service": _service(backend)}}


def _service(backend: str) -> JSON:
    name, _, port = backend.partition(":")
    return {"name": name, "port": {"number": int(port)} if port.isdigit() else {"name": port}}


def rule(host: str, *paths: JSON) -> JSON:
    return {**({"host": host} if host else {}), "http": {"paths": list(paths)}}


def ingress(
    name: str,
    *rules: JSON,
    default: str = "",
    tls: list[JSON] | None = None,
    created: int = 0,
    namespace: str = "default",
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Ingress:
    body: JSON = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
            "annotations": annotations or {},
        },
        "spec": {"rules": list(rules), "tls": tls or [], **spec},
    }
    if default:
        body["spec"]["defaultBackend"] = {"service": _service(default)}
    found: Ingress = view(Ingress, body)
    return found


def nginx(**annotations: str) -> dict[str, str]:
    """Annotations of ingress-nginx: underscores stand for dashes."""
    prefix = "nginx.ingress.kubernetes.io/"
    return {prefix + name.replace("_", "-"): value for name, value in annotations.items()}


def ingress_class(name: str, controller: str = "k8s.io/ingress-nginx") -> IngressClass:
    body = {"metadata": {"name": name}, "spec": {"controller": controller}}
    found: IngressClass = view(IngressClass, body)
    return found


def service(name: str, *ports: JSON, **spec: Any) -> Service:
    given = list(ports) or [{"name": "http", "port": 8080, "targetPort": 3000}]
    body = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": given, "clusterIP": "10.96.9.9", **spec},
    }
    found: Service = view(Service, body)
    return found


def endpoint_slice(name: str, *addresses: str, ports: list[JSON] | None = None) -> EndpointSlice:
    """Addresses with ``!`` before them are not ready."""
    body = {
        "metadata": {
            "name": f"{name}-abc",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [a.lstrip("!")], "conditions": {"ready": not a.startswith("!")}}
            for a in addresses
        ],
        "ports": ports or [{"name": "http", "port": 3000, "protocol": "TCP"}],
    }
    found: EndpointSlice = view(EndpointSlice, body)
    return found


def table(
    *ingresses: Ingress,
    services: list[Service] | None = None,
    slices: list[EndpointSlice] | None = None,
    certificates: dict[str, tuple[str, ...]] | None = None,
) -> Table:
    """A table; Services that are not given exist with one endpoint each."""
    if services is None:
        names = sorted(
            {
                backend.service.name
                for i in ingresses
                for backend in [
                    i.spec.default_backend,
                    *(p.backend for r in i.spec.rules if r.http for p in r.http.paths),
                ]
                if backend is not None and backend.service is not None
            }
        )
        services = [service(name) for name in names]
        slices = [endpoint_slice(name, f"10.244.0.{n}") for n, name in enumerate(names, 1)]
    backends = Backends(services, slices or [])
    return compile_table(ingresses, backends, (certificates or {}).get)
