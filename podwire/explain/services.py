"""Services that lead nowhere and ports that nobody listens on: why, and what would help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from podwire.api.views import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Object,
    ObjectMeta,
    Pod,
    Service,
)
from podwire.dataplane.verdict import Flow
from podwire.explain.candidate import Candidate
from podwire.explain.objects import Objects, declared_ports
from podwire.explain.report import ObjectRef

_NO_ENDPOINTS = re.compile(r'"?([^"/\s]+)/([^":\s]+)(?::(\S+?))? has no (local )?endpoints')

_ACCESS_FILTER = "KUBE-IPVS-FILTER"
_RANGE_CHAINS = ("-A KUBE-SOURCE-RANGES-FIREWALL ", "-A KUBE-IPVS-OUT-FILTER ")
_VIRTUAL = re.compile(r"^-A (?:-t|-u|--sctp-service) \[?([0-9A-Fa-f.:]+?)\]?:(\d+) -s ")
"""A virtual server of IPVS, as ipvsadm takes it."""
_NO_ENDPOINT_ELEMENT = re.compile(
    r'@no-endpoint-\w+ \{ [^"}]*comment "([^"/]+)/([^":]+)(?::([^"]*))?" : (goto|drop)'
)
"""The map element of kube-proxy's nftables mode: ``drop`` where others than this node have some."""

_ALIKE = 0.6
"""From this likeness on, another value is taken for a mistyped one."""


def service_of(rule: str, objects: Objects) -> Service | None:
    """The Service that a ``has no endpoints`` rule speaks of, or a virtual server serves."""
    virtual = _VIRTUAL.search(rule)
    if virtual is not None:
        return served_at(virtual.group(1), int(virtual.group(2)), objects)
    found = _NO_ENDPOINTS.search(rule) or _NO_ENDPOINT_ELEMENT.search(rule)
    return objects.service(found.group(1), found.group(2)) if found else None


def served_at(address: str, port: int, objects: Objects) -> Service | None:
    """The Service behind an address and port: cluster IP, external IP, load balancer, NodePort."""
    service = objects.service_at(address)
    if service is not None:
        return service
    for service in objects.services:
        ingress = [i.ip for i in service.status.load_balancer.ingress]
        held = address in service.spec.external_ips or address in ingress
        if held and any(p.port == port for p in service.spec.ports):
            return service
    return next((s for s in objects.services if any(p.node_port == port for p in s.spec.ports)),
                None)  # fmt: skip


def _wants_local(rule: str, service: Service, flow: Flow, objects: Objects) -> bool:
    """Whether only endpoints of the node would do."""
    element = _NO_ENDPOINT_ELEMENT.search(rule)
    if " has no local endpoints" in rule or (element and element.group(4) == "drop"):
        return True
    if _VIRTUAL.search(rule) is None or not objects.ready_endpoints(service):
        return False
    return flow.dst == service.spec.cluster_ip and service.spec.internal_traffic_policy == "Local"


def reference(kind: str, about: Object) -> ObjectRef:
    """A reference to an object."""
    return ObjectRef(kind=kind, namespace=about.metadata.namespace, name=about.metadata.name)


def ports_text(service: Service) -> str:
    """``TCP/80, UDP/53``."""
    return ", ".join(f"{p.protocol}/{p.port}" for p in service.spec.ports) or "no port"


# ---------------------------------------------------------------- no endpoints


def no_endpoints(rule: str, flow: Flow, node: str, objects: Objects) -> tuple[str, list[ObjectRef]]:
    """The cause of NO_ENDPOINTS."""
    service = service_of(rule, objects)
    if service is None:
        return "the Service has no endpoints", []
    refs = [reference("Service", service)]
    if not service.spec.selector:
        why = "has no selector and no EndpointSlice gives it an address"
        return f"Service {service.key} {why}", refs
    selected = objects.selected_by(service)
    if not selected:
        selector = ",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items()))
        why = "no pod has these labels"
        return f"Service {service.key} selects {selector}; {why}", refs
    refs += [reference("Pod", p) for p in selected]
    if _wants_local(rule, service, flow, objects):
        return _no_local(service, flow, node, objects), refs
    missing = _missing_names(service, selected)
    if missing:
        return f"Service {service.key} targets {missing}", refs
    if lag := _lag(service, selected, node, objects):
        return lag, refs
    waiting = ", ".join(f"{p.metadata.name} ({why_not_ready(p)})" for p in selected[:3])
    more = ", ..." if len(selected) > 3 else ""
    count = f"none of the {len(selected)} pods" if len(selected) > 1 else "the one pod"
    state = "is ready" if len(selected) > 1 else "is not ready"
    return f"{count} that Service {service.key} selects {state}: {waiting}{more}", refs


def _lag(service: Service, selected: list[Pod], node: str, objects: Objects) -> str:
    """What has not caught up with pods that are ready, "" when nothing lags."""
    if not any(pod.ready for pod in selected):
        return ""
    if objects.ready_endpoints(service):
        return f"the rules of {node} are older than the ready endpoints of {service.key}"
    if all(pod.ready for pod in selected):
        return f"the pods of Service {service.key} are ready, its EndpointSlices do not say so yet"
    return ""


def _no_local(service: Service, flow: Flow, node: str, objects: Objects) -> str:
    field = _local_policy(service, flow)
    ready = [pod for pod in objects.selected_by(service) if pod.ready]
    elsewhere = ", ".join(f"{p.metadata.name} on {p.spec.node_name}" for p in ready[:3])
    return (
        f"{field} of Service {service.key} is Local and {node} has no endpoint of it; "
        f"ready elsewhere: {elsewhere or 'none'}"
    )


def _local_policy(service: Service, flow: Flow) -> str:
    """The field that decides: traffic to the cluster IP is internal, any other external."""
    inside = flow.dst == service.spec.cluster_ip
    return "internalTrafficPolicy" if inside else "externalTrafficPolicy"


def _missing_names(service: Service, pods: list[Pod]) -> str:
    """``port name wob, which default/lonely does not declare (web)``; "" when all are declared."""
    for port in service.spec.ports:
        name = port.target_port
        if not isinstance(name, str):
            continue
        for pod in pods:
            names = [n for p, _, n in declared_ports(pod) if p == port.protocol and n]
            if name not in names:
                has = f"it has {', '.join(names)}" if names else "its ports have no names"
                return f"port name {name}, which {pod.key} does not declare; {has}"
    return ""


def why_not_ready(pod: Pod) -> str:
    """The reason a pod shows for not being ready."""
    if pod.metadata.deletion_timestamp:
        return "Terminating"
    for status in pod.status.container_statuses:
        for state, about in status.state.items():
            if state != "running":
                return str(about.get("reason") or state)
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return scheduled.reason or "Unschedulable"
    ready = pod.condition("Ready")
    return (ready.reason or "not ready") if ready else pod.status.phase or "Pending"


# ---------------------------------------------------------------- what would give it endpoints


def endpoints(rule: str, flow: Flow, node: str, objects: Objects) -> Iterator[Candidate]:
    """Edits after which the Service has an endpoint."""
    service = service_of(rule, objects)
    if service is None:
        return
    selected = objects.selected_by(service)
    yield from _named_targets(service, selected, objects)
    known = objects.ready_endpoints(service)
    if known and any(pod.ready for pod in selected):
        yield Candidate(f"wait until {node}'s kube-proxy has synced", replace(objects))
    if _wants_local(rule, service, flow, objects):
        field = _local_policy(service, flow)
        key = "internal_traffic_policy" if field.startswith("int") else "external_traffic_policy"
        spec = msgspec.structs.replace(service.spec, **{key: "Cluster"})
        opened = msgspec.structs.replace(service, spec=spec)
        change = f"set {field} of Service {service.key} to Cluster"
        yield Candidate(change, _swap_service(objects, opened))
    for pod in selected:
        if pod.status.pod_ip and not (pod.ready and pod.status.pod_ip in known):
            change = f"make pod {pod.key} ready"
            if pod.ready:
                change = f"wait until the EndpointSlices of {service.key} list pod {pod.key}"
            yield Candidate(change, _with_endpoint(objects, service, pod))
    if service.spec.selector and not selected:
        for pod in _nearly_selected(service, objects):
            wanted = {k: pod.metadata.labels[k] for k in sorted(service.spec.selector)}
            shown = ", ".join(f"{k}: {v}" for k, v in wanted.items())
            change = f"set the selector of Service {service.key} to {{{shown}}}"
            yield Candidate(change, _with_endpoint(objects, service, pod))


def _named_targets(service: Service, pods: list[Pod], objects: Objects) -> Iterator[Candidate]:
    for port in service.spec.ports:
        for pod in pods:
            declared = declared_ports(pod)
            if not isinstance(port.target_port, str) or not pod.status.pod_ip:
                continue
            if port.target_port in [name for _, _, name in declared]:
                continue
            for protocol, number, name in declared:
                if protocol == port.protocol:
                    to: int | str = name or number
                    edited = _retargeted_service(service, port.target_port, to)
                    change = f"set targetPort: {to} (now {port.target_port})"
                    yield Candidate(
                        f"{change} in Service {service.key}", _with_endpoint(objects, edited, pod)
                    )


def _retargeted_service(service: Service, old: int | str, new: int | str) -> Service:
    ports = [
        msgspec.structs.replace(p, target_port=new) if p.target_port == old else p
        for p in service.spec.ports
    ]
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(service.spec, ports=ports))


def _swap_service(objects: Objects, new: Service) -> Objects:
    return replace(
        objects, services=tuple(new if s.key == new.key else s for s in objects.services)
    )


def _nearly_selected(service: Service, objects: Objects) -> list[Pod]:
    """Ready pods whose labels look like a mistyped selector, likest first; one per labels."""
    keys = list(service.spec.selector)
    found: dict[tuple[str, ...], Pod] = {}
    for pod in objects.pods:
        labels = pod.metadata.labels
        if (
            pod.metadata.namespace == service.metadata.namespace
            and pod.ready
            and pod.status.pod_ip
            and all(key in labels for key in keys)
        ):
            found.setdefault(tuple(labels[key] for key in keys), pod)
    wanted = tuple(service.spec.selector[key] for key in keys)
    likeness = {values: _likeness(values, wanted) for values in found}
    close = [values for values in sorted(found) if likeness[values] >= _ALIKE]
    return [found[values] for values in sorted(close, key=lambda values: -likeness[values])]


def _likeness(values: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    """How alike labels are, in [0, 1]: their least alike value decides."""
    pairs = zip(values, wanted, strict=True)
    return min(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _with_endpoint(objects: Objects, service: Service, pod: Pod) -> Objects:
    """The objects as the EndpointSlice controller would leave them with this pod behind it."""
    ports = [
        EndpointPort(name=p.name, protocol=p.protocol, port=_target(p.target_port or p.port, pod))
        for p in service.spec.ports
    ]
    added = EndpointSlice(
        metadata=ObjectMeta(
            name=f"{service.metadata.name}-candidate",
            namespace=service.metadata.namespace,
            labels={"kubernetes.io/service-name": service.metadata.name},
        ),
        endpoints=[
            Endpoint(
                addresses=[pod.status.pod_ip],
                conditions=EndpointConditions(ready=True, serving=True),
                node_name=pod.spec.node_name,
            )
        ],
        ports=ports,
    )
    kept = tuple(s for s in objects.slices if s not in objects.slices_of(service))
    return replace(objects, slices=(*kept, added))


def _target(target: int | str, pod: Pod) -> int:
    if isinstance(target, int):
        return target
    return next((number for _, number, name in declared_ports(pod) if name == target), 0)


# ---------------------------------------------------------------- nobody listens


def refused(flow: Flow, node: str, objects: Objects) -> tuple[str, list[ObjectRef]]:
    """The cause of REFUSED at a socket."""
    what = f"{flow.protocol.upper()}/{flow.dst_port}"
    pod = objects.pod_at(flow.dst)
    if pod is None:
        where = objects.name_of(flow.dst)
        where = f"{where} ({node})" if where == flow.dst and node else where
        return f"nothing listens on {what} at {where}", []
    ports = ", ".join(dict.fromkeys(f"{p}/{number}" for p, number, _ in declared_ports(pod)))
    declared = f"; it declares {ports}" if ports else "; it declares no ports"
    if (flow.protocol.upper(), flow.dst_port) in [(p, n) for p, n, _ in declared_ports(pod)]:
        declared = ", which declares it: its program does not run, or listens elsewhere"
    return f"nothing listens on {what} in {pod.key}{declared}", [reference("Pod", pod)]


def ports(asked: Flow, flow: Flow, objects: Objects) -> Iterator[Candidate]:
    """The port that the pod declares: in the Service that led there, or in the question."""
    pod = objects.pod_at(flow.dst)
    if pod is None:
        return
    same_number = [p for p, number, _ in declared_ports(pod) if number == flow.dst_port]
    declared = [
        number
        for p, number, _ in declared_ports(pod)
        if p.lower() == flow.protocol and number != flow.dst_port
    ]
    for service in objects.services:
        slices = [
            s
            for s in objects.slices_of(service)
            if any(flow.dst in e.addresses for e in s.endpoints)
            and any(p.port == flow.dst_port for p in s.ports)
        ]
        if not slices or asked.dst == flow.dst:
            continue
        for port in declared:
            edited = tuple(
                _retargeted(s, flow.dst_port, port) if s in slices else s for s in objects.slices
            )
            yield Candidate(
                f"set targetPort: {port} (now {flow.dst_port}) in Service {service.key}",
                replace(objects, slices=edited),
            )
    if asked.dst == flow.dst:
        for port in declared:
            yield Candidate(f"ask port {port}", objects, port=port)
        for protocol in same_number:
            if protocol.lower() != flow.protocol:
                change = f"ask with --protocol {protocol.lower()}"
                yield Candidate(change, objects, protocol=protocol.lower())


def _retargeted(endpoint_slice: EndpointSlice, old: int, new: int) -> EndpointSlice:
    ports = [
        msgspec.structs.replace(p, port=new) if p.port == old else p for p in endpoint_slice.ports
    ]
    return msgspec.structs.replace(endpoint_slice, ports=ports)


# ---------------------------------------------------------------- load balancers' source ranges


def guarded(rule: str, flow: Flow, objects: Objects) -> tuple[str, list[ObjectRef]] | None:
    """Who keeps a source from a load balancer; None when it was no such rule (IPVS mode's rules
    look into sets and name no Service).
    """
    if not any(chain in rule for chain in _RANGE_CHAINS):
        return None
    for service in objects.services:
        ips = [i.ip for i in service.status.load_balancer.ingress]
        if flow.dst in ips or flow.src in ips:
            ranges = ", ".join(service.spec.load_balancer_source_ranges) or "none"
            who = f"{flow.src} is not in" if flow.dst in ips else "this node is not in"
            told = f"{who} loadBalancerSourceRanges of Service {service.key} ({ranges})"
            return told, [reference("Service", service)]
    return None


# ---------------------------------------------------------------- cluster IPs that lead nowhere


def untranslated(
    flow: Flow, node: str, objects: Objects, rule: str = ""
) -> tuple[str, list[ObjectRef]] | None:
    """Why a packet to a cluster IP was never translated; None for other addresses. ``rule`` is
    the one that ended it.
    """
    service = objects.service_at(flow.dst)
    if service is None:
        return None
    refs = [reference("Service", service)]
    if flow.protocol == "icmp":
        why = "a cluster IP is no interface, only rules for its ports"
        if _ACCESS_FILTER in rule:
            why = f"kube-ipvs0 has its address, but {_ACCESS_FILTER} rejects all but its ports"
        return f"Service {service.key} does not serve ICMP: {why}", refs
    known = [(p.protocol.lower(), p.port) for p in service.spec.ports]
    what = f"{flow.protocol.upper()}/{flow.dst_port}"
    if (flow.protocol, flow.dst_port) not in known:
        return f"Service {service.key} does not serve {what}; it has {ports_text(service)}", refs
    if not any(n.metadata.name == node for n in objects.nodes):
        where = "exists on the cluster's nodes only"
        return f"{flow.dst} is the cluster IP of Service {service.key}, which {where}", refs
    return f"{node} has no rules for {what} of Service {service.key}: see its kube-proxy", refs


def other_ports(flow: Flow, objects: Objects) -> Iterator[Candidate]:
    """The ports that the Service does have, nearest number first."""
    service = objects.service_at(flow.dst)
    if service is None:
        return
    same = [p.port for p in service.spec.ports if p.protocol.lower() == flow.protocol]
    for port in sorted(same, key=lambda number: (abs(number - flow.dst_port), number)):
        if port != flow.dst_port:
            yield Candidate(f"ask port {port}", objects, port=port)
    for port_spec in service.spec.ports:
        protocol = port_spec.protocol.lower()
        if protocol != flow.protocol and port_spec.port == flow.dst_port:
            yield Candidate(f"ask with --protocol {protocol}", objects, protocol=protocol)
