"""Views of Ingress and IngressClass."""

from __future__ import annotations

from podwire.api.view import JSON, View
from podwire.api.views.meta import Object
from podwire.api.views.service import LoadBalancerStatus


class ServiceBackendPort(View, frozen=True, kw_only=True):
    """backend.service.port: a name or a number."""

    name: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.name or str(self.number)


class IngressServiceBackend(View, frozen=True, kw_only=True):
    """backend.service."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(View, frozen=True, kw_only=True):
    """A backend: a Service's port, or another resource (which no modelled controller serves)."""

    service: IngressServiceBackend | None = None
    resource: JSON | None = None


class HTTPIngressPath(View, frozen=True, kw_only=True):
    """rules[].http.paths[]."""

    path: str = ""
    path_type: str = ""
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(View, frozen=True, kw_only=True):
    """rules[].http."""

    paths: list[HTTPIngressPath] = []


class IngressRule(View, frozen=True, kw_only=True):
    """rules[]; host "" is every host."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(View, frozen=True, kw_only=True):
    """tls[]."""

    hosts: list[str] = []
    secret_name: str = ""


class IngressSpec(View, frozen=True, kw_only=True):
    """ingress spec; a class name of None is none at all."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: list[IngressTLS] = []
    rules: list[IngressRule] = []


class IngressStatus(View, frozen=True, kw_only=True):
    """ingress status."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Ingress(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 Ingress."""

    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassSpec(View, frozen=True, kw_only=True):
    """ingressclass spec."""

    controller: str = ""


class IngressClass(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 IngressClass."""

    spec: IngressClassSpec = IngressClassSpec()
