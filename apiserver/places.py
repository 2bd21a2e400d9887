"""What SRC and DST of a trace name: pods, workloads, Services, nodes, addresses, names."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from podwire.api.status import ApiError
from podwire.api.views import Pod, Service
from podwire.explain.objects import Objects
from podwire.explain.report import TraceSpec


@dataclass(frozen=True, slots=True)
class Target:
    """Where it goes; ``name`` is looked up first when it is not empty."""

    label: str
    address: str
    port: int
    name: str = ""


def kind_and_name(text: str) -> tuple[str, str]:
    """``pod/web`` -> (pod, web); an address or a plain name has kind ''."""
    kind, slash, name = text.partition("/")
    if not slash:
        return "", text
    known = {
        "pod": "pod", "pods": "pod", "po": "pod",
        "deploy": "deploy", "deployment": "deploy", "deployments": "deploy",
        "sts": "sts", "statefulset": "sts", "ds": "ds", "daemonset": "ds",
        "svc": "svc", "service": "svc", "services": "svc",
        "node": "node", "nodes": "node", "no": "node",
    }.get(kind)  # fmt: skip
    if known is None or not name:
        raise usage(
            f"{text!r}: use pod/NAME, deploy/NAME, svc/NAME, node/NAME, an address or a name"
        )
    return known, name


_OWNERS = {"deploy": "ReplicaSet", "sts": "StatefulSet", "ds": "DaemonSet"}


def pod_of(kind: str, name: str, namespace: str, objects: Objects) -> Pod:
    """The pod itself, or the first ready (else first) pod of a workload or Service, by name."""
    if kind == "pod":
        found = [p for p in objects.pods if p.key == f"{namespace}/{name}"]
    elif kind == "svc":
        service = objects.service(namespace, name)
        if service is None:
            raise not_found("services", name)
        found = objects.selected_by(service)
    else:
        found = [p for p in objects.pods if _owned(p, kind, name, namespace)]
    if not found:
        raise not_found("pods" if kind == "pod" else f"pods of {kind}", name)
    found.sort(key=lambda pod: (not pod.ready, pod.metadata.name))
    return found[0]


def _owned(pod: Pod, kind: str, name: str, namespace: str) -> bool:
    owner = pod.metadata.controller()
    if owner is None or owner.kind != _OWNERS[kind] or pod.metadata.namespace != namespace:
        return False
    if kind != "deploy":
        return owner.name == name
    template = pod.metadata.labels.get("pod-template-hash", "")
    return owner.name == f"{name}-{template}"


def target(spec: TraceSpec, objects: Objects) -> Target:
    """Where the packet goes. Raises ApiError 400 without a port, 404 for what does not exist."""
    text, port = _split_port(spec.destination)
    kind, name = kind_and_name(text)
    namespace = spec.destination_namespace or spec.namespace
    name, port_name = _split_port_name(name) if kind else (name, "")
    if kind == "svc":
        return _service_target(name, namespace, port or port_name, spec, objects)
    if kind == "node":
        node = next((n for n in objects.nodes if n.metadata.name == name), None)
        if node is None:
            raise not_found("nodes", name)
        return Target(f"node/{name}", node.internal_ip, _needed(port, spec))
    if kind:
        pod = pod_of(kind, name, namespace, objects)
        if not pod.status.pod_ip:
            raise ApiError("BadRequest", f"pod {pod.key} has no address yet")
        ports = [p for c in pod.spec.containers for p in c.ports]
        declared = [p.container_port for p in ports if port_name in {"", p.name}]
        if port_name and not declared:
            raise _no_port_named(f"pod {pod.key}", port_name, [p.name for p in ports])
        return Target(
            f"pod/{pod.metadata.name}",
            pod.status.pod_ip,
            _needed(port or (declared[0] if declared else 0), spec),
        )
    if is_address(name):
        return Target(objects.name_of(name), name, _needed(port, spec))
    return Target(name, "", _needed(port, spec), name=name)


def _service_target(
    name: str, namespace: str, port: int | str, spec: TraceSpec, objects: Objects
) -> Target:
    service = objects.service(namespace, name)
    if service is None:
        raise not_found("services", name)
    if isinstance(port, str) and port:
        named = [p.port for p in service.spec.ports if p.name == port]
        if not named:
            names = [p.name for p in service.spec.ports]
            raise _no_port_named(f"Service {service.key}", port, names)
        port = named[0]
    ports = [p.port for p in service.spec.ports if p.protocol.lower() == spec.protocol]
    if not port and len(ports) == 1:
        port = ports[0]
    port = int(port or 0)
    label = f"svc/{name}"
    if _has_vip(service):
        return Target(label, service.spec.cluster_ip, _needed(port, spec))
    # Headless and ExternalName Services exist in DNS only.
    return Target(label, "", _needed(port, spec), name=f"{name}.{namespace}.svc.cluster.local")


def _has_vip(service: Service) -> bool:
    return service.spec.cluster_ip not in {"", "None"}


def _split_port(text: str) -> tuple[str, int]:
    head, colon, tail = text.rpartition(":")
    if not colon or not tail.isdigit() or is_address(text):
        return text, 0
    number = int(tail)
    if not 0 < number <= 65535:
        raise usage(f"destination {text!r}: {number} is no port (1-65535)")
    return head, number


def _split_port_name(name: str) -> tuple[str, str]:
    """``backend:http``: no object's name has a colon."""
    name, _, port_name = name.partition(":")
    return name, port_name


def _no_port_named(where: str, name: str, names: list[str]) -> ApiError:
    known = ", ".join(n for n in names if n) or "none of its ports has a name"
    return usage(f"{where} has no port named {name!r}; it has: {known}")


def _needed(port: int, spec: TraceSpec) -> int:
    if not port and spec.protocol != "icmp":
        raise usage(f"destination {spec.destination!r} needs a port: {spec.destination}:PORT")
    return port


def is_address(text: str) -> bool:
    """Whether text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def usage(message: str) -> ApiError:
    """A 400 that tells the caller what to write instead."""
    return ApiError("BadRequest", message)


def not_found(resource: str, name: str) -> ApiError:
    """A 404 in upstream's words."""
    return ApiError("NotFound", f'{resource} "{name}" not found')
