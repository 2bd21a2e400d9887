"""What SRC and DST of a trace name: pods, workloads, Services, nodes, addresses, names."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from podwire.api.status import ApiError
from podwire.api.views import Pod, Service
from podwire.api.views.service import ServicePort
from podwire.explain.objects import Objects, declared_ports
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
        "ingress": "ingress", "ingresses": "ingress", "ing": "ingress",
    }.get(kind)  # fmt: skip
    if known is None or not name:
        raise usage(
            f"{text!r}: use pod/NAME, deploy/NAME, sts/NAME, ds/NAME, svc/NAME, node/NAME, "
            "ingress/NAME, an address or a name"
        )
    return known, name


def is_ingress(destination: str) -> bool:
    """Whether a destination is an Ingress. Raises ApiError 400 for one with a port."""
    kind, name = kind_and_name(destination) if "/" in destination else ("", "")
    if kind == "ingress" and ":" in name:
        raise usage(f"destination {destination!r}: an Ingress has no ports; give --url")
    return kind == "ingress"


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
    if not found and kind == "pod":
        raise not_found("pods", name)
    if not found:
        verb = "is selected by" if kind == "svc" else "belongs to"
        raise ApiError("NotFound", f"no pod {verb} {kind}/{name} in namespace {namespace}")
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
    if kind == "svc":
        return _service_target(name, namespace, port, spec, objects)
    if kind == "node":
        node = next((n for n in objects.nodes if n.metadata.name == name), None)
        if node is None:
            raise not_found("nodes", name)
        return Target(f"node/{name}", node.internal_ip, _needed(port, spec))
    if kind:
        return _pod_target(pod_of(kind, name, namespace, objects), port, spec)
    if is_address(name):
        return Target(objects.name_of(name), name, _needed(port, spec))
    return Target(name, "", _needed(port, spec), name=name)


def _pod_target(pod: Pod, port: int | str, spec: TraceSpec) -> Target:
    if not pod.status.pod_ip:
        raise usage(f"pod {pod.key} has no address yet (phase {pod.status.phase or 'Pending'})")
    declared = declared_ports(pod)
    mine = [number for p, number, _ in declared if p.lower() == spec.protocol]
    if isinstance(port, str):
        named = [n for p, n, name in declared if name == port and p.lower() == spec.protocol]
        if not named:
            raise _no_port_named(f"pod {pod.key}", port, [n for _, _, n in declared])
        port = named[0]
    return Target(
        f"pod/{pod.metadata.name}",
        pod.status.pod_ip,
        _needed(port or (mine[0] if mine else 0), spec),
    )


def _service_target(
    name: str, namespace: str, port: int | str, spec: TraceSpec, objects: Objects
) -> Target:
    service = objects.service(namespace, name)
    if service is None:
        raise not_found("services", name)
    ports = [p for p in service.spec.ports if p.protocol.lower() == spec.protocol]
    if isinstance(port, str):
        named = [p.port for p in ports if p.name == port]
        if not named:
            raise _no_port_named(f"Service {service.key}", port, [p.name for p in ports])
        port = named[0]
    if spec.protocol == "icmp":
        port = 0
    elif not port:
        port = _only_port(name, service, ports, spec)
    label = f"svc/{name}"
    if _has_vip(service):
        return Target(label, service.spec.cluster_ip, port)
    # Headless and ExternalName Services exist in DNS only; the dot spares the search list.
    return Target(label, "", port, name=f"{name}.{namespace}.svc.cluster.local.")


def _only_port(name: str, service: Service, ports: list[ServicePort], spec: TraceSpec) -> int:
    """The one port of a protocol. Raises ApiError 400 that lists what there is."""
    if len(ports) == 1:
        return ports[0].port
    if service.spec.type == "ExternalName":
        external = f"Service {service.key} is another name of {service.spec.external_name}"
        raise usage(f"{external} and has no ports: svc/{name}:PORT")
    protocol = spec.protocol.upper()
    if ports:
        several = ", ".join(
            f"svc/{name}:{p.port}" + (f" ({p.name})" if p.name else "") for p in ports
        )
        raise usage(f"Service {service.key} has several {protocol} ports: {several}")
    has = ", ".join(f"{p.port}/{p.protocol}" for p in service.spec.ports) or "none"
    raise usage(f"Service {service.key} has no {protocol} port (it has {has}): svc/{name}:PORT")


def _no_port_named(where: str, name: str, names: list[str]) -> ApiError:
    known = ", ".join(n for n in names if n) or "none of its ports has a name"
    return usage(f"{where} has no port named {name!r}; it has: {known}")


def _has_vip(service: Service) -> bool:
    return service.spec.cluster_ip not in {"", "None"}


def _split_port(text: str) -> tuple[str, int | str]:
    """The destination and its port: a number, for kinds that declare ports also a name; or 0."""
    head, colon, tail = text.rpartition(":")
    if not colon or is_address(text):
        return text, 0
    if not tail.isdigit():
        if "/" in head and tail and not head.startswith("node"):
            return head, tail
        raise usage(f"destination {text!r}: {tail!r} is no port")
    number = int(tail)
    if not 0 < number <= 65535:
        raise usage(f"destination {text!r}: {number} is no port (1-65535)")
    return head, number


def _needed(port: int | str, spec: TraceSpec) -> int:
    if spec.protocol == "icmp":
        return 0
    if not port or isinstance(port, str):
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
