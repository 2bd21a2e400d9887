"""Validation of Ingresses.

Source: kubernetes pkg/apis/networking/validation.
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation.address import parse_sloppy_ip
from podwire.api.validation.cluster import check_typed_reference
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")


def check_ingress(errors: Errors, new: JSON, old: JSON | None) -> None:
    """An Ingress: class, hosts, paths and backends."""
    spec = new["spec"]
    if not spec.get("rules") and "defaultBackend" not in spec:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.invalid("spec", spec.get("rules"), detail)
    if "defaultBackend" in spec:
        _backend(errors, "spec.defaultBackend", spec["defaultBackend"])
    for i, rule in enumerate(spec.get("rules") or ()):
        path, host = f"spec.rules[{i}]", rule.get("host", "")
        if host:
            if parse_sloppy_ip(host) is not None:
                errors.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
            _host(errors, f"{path}.host", host)
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            errors.required(f"{path}.http.paths")
        for j, item in enumerate((http or {}).get("paths") or ()):
            _path(errors, f"{path}.http.paths[{j}]", item)
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            _host(errors, f"spec.tls[{i}].hosts[{j}]", host)
        secret = tls.get("secretName")
        if secret:
            errors.complaints(f"spec.tls[{i}].secretName", secret, names.dns1123_subdomain(secret))
    name = spec.get("ingressClassName")
    if name is not None:
        errors.complaints("spec.ingressClassName", name, names.dns1123_subdomain(name))
    annotation = (new["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    if old is None and annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        errors.invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, detail)


def check_ingress_status(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """Where a controller says the Ingress is reached."""
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    for i, ingress in enumerate(balancer.get("ingress") or ()):
        path = f"status.loadBalancer.ingress[{i}]"
        address, host = ingress.get("ip", ""), ingress.get("hostname", "")
        if address and parse_sloppy_ip(address) is None:
            detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            errors.invalid(f"{path}.ip", address, detail)
        if host:
            errors.complaints(f"{path}.hostname", host, names.dns1123_subdomain(host))
            if parse_sloppy_ip(host) is not None:
                errors.invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address")


def _host(errors: Errors, path: str, host: str) -> None:
    check = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
    errors.complaints(path, host, check(host))


def _path(errors: Errors, path: str, item: JSON) -> None:
    kind, text = item.get("pathType"), item.get("path", "")
    if kind is None:
        errors.required(f"{path}.pathType", "pathType must be specified")
        return
    if kind in {"Exact", "Prefix"}:
        if not text.startswith("/"):
            errors.invalid(f"{path}.path", text, "must be an absolute path")
        for bad in _BAD_SEQUENCES:
            if bad in text:
                errors.invalid(f"{path}.path", text, f"must not contain '{bad}'")
        for bad in _BAD_ENDS:
            if text.endswith(bad):
                errors.invalid(f"{path}.path", text, f"cannot end with '{bad}'")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            errors.invalid(f"{path}.path", text, "must be an absolute path")
    else:
        errors.unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    _backend(errors, f"{path}.backend", item.get("backend") or {})


def _backend(errors: Errors, path: str, backend: JSON) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        errors.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        check_typed_reference(errors, f"{path}.resource", resource)
    elif service is None:
        errors.invalid(path, "", "resource or service backend is required")
    else:
        _service(errors, path, service)


def _service(errors: Errors, path: str, service: JSON) -> None:
    if not service.get("name"):
        errors.required(f"{path}.service.name")
    else:
        complaints = names.dns1123_label(service["name"])
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
