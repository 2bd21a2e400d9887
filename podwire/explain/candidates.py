"""Candidate edits: small changes to objects or wires that might let the packet through.

Each is only a proposal; the tracer compiles it with the agents' own code, applies it to a fork and
walks again. Nothing here is printed unless that walk arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec

from podwire.api.views import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LabelSelector,
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    ObjectMeta,
    Pod,
    Service,
)
from podwire.dataplane.verdict import Branch, Fate, WireEdit
from podwire.explain.cause import last_step, policies_of, service_of
from podwire.explain.objects import Objects, own_labels

_LINK = re.compile(r"(\S+) - (\S+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change in words, the edited objects, and wires to bring up."""

    change: str
    objects: Objects
    wires: tuple[WireEdit, ...] = field(default=())


def candidates(branch: Branch, objects: Objects) -> Iterator[Candidate]:
    """Proposals for a failed branch, nearest first."""
    _, step = last_step(branch)
    rule = step.rule if step else ""
    if branch.fate in {Fate.DENIED_IN, Fate.DENIED_OUT}:
        yield from _admit(branch, rule, objects)
    elif branch.fate is Fate.NO_ENDPOINTS:
        yield from _endpoints(rule, branch, objects)
    elif branch.fate is Fate.REFUSED:
        yield from _ports(branch, objects)
    elif branch.fate is Fate.LINK_DOWN and step is not None:
        found = _LINK.search(step.object)
        if found is not None:
            a, b = found.group(1), found.group(2)
            wires = (WireEdit(a=a, b=b), WireEdit(a=b, b=a))
            yield Candidate(f"bring the link between {a} and {b} up", objects, wires)


# ---------------------------------------------------------------- policies


def _admit(branch: Branch, rule: str, objects: Objects) -> Iterator[Candidate]:
    flow = branch.flow
    if flow is None:
        return
    inward = branch.fate is Fate.DENIED_IN
    peer_address = flow.src if inward else flow.dst
    port = NetworkPolicyPort(protocol=flow.protocol.upper(), port=flow.dst_port)
    for namespace, name in _specific_first(policies_of(rule), objects):
        policy = objects.policy(namespace, name)
        if policy is None:
            continue
        for described, peer in _peers(peer_address, policy, objects):
            edited = _with_peer(policy, peer, port, inward=inward)
            where = f"{'ingress' if inward else 'egress'} of {policy.key}"
            yield Candidate(
                f"add {described} with {port.protocol}/{port.port} to {where}",
                replace(objects, policies=_swap(objects.policies, policy, edited)),
            )


def _specific_first(policies: list[tuple[str, str]], objects: Objects) -> list[tuple[str, str]]:
    """Policies that select by label before those that select everything (default-deny)."""

    def everything(named: tuple[str, str]) -> bool:
        policy = objects.policy(*named)
        selector = policy.spec.pod_selector if policy else LabelSelector()
        return not (selector.match_labels or selector.match_expressions)

    return sorted(policies, key=lambda named: (everything(named), named))


def _peers(
    address: str, policy: NetworkPolicy, objects: Objects
) -> Iterator[tuple[str, NetworkPolicyPeer]]:
    pod = objects.pod_at(address)
    if pod is None:
        cidr = f"{address}/32"
        yield f"ipBlock {cidr}", msgspec.convert({"ipBlock": {"cidr": cidr}}, NetworkPolicyPeer)
        return
    labels = own_labels(pod)
    selector = LabelSelector(match_labels=labels)
    shown = "podSelector {" + ", ".join(f"{k}: {v}" for k, v in labels.items()) + "}"
    if pod.metadata.namespace == policy.metadata.namespace:
        yield shown, NetworkPolicyPeer(pod_selector=selector)
        return
    name = pod.metadata.namespace
    namespace = LabelSelector(match_labels={"kubernetes.io/metadata.name": name})
    yield (
        f"{shown} in namespaceSelector {{kubernetes.io/metadata.name: {name}}}",
        NetworkPolicyPeer(pod_selector=selector, namespace_selector=namespace),
    )


def _with_peer(
    policy: NetworkPolicy, peer: NetworkPolicyPeer, port: NetworkPolicyPort, *, inward: bool
) -> NetworkPolicy:
    spec = policy.spec
    if inward:
        ingress = [*spec.ingress, NetworkPolicyIngressRule(from_=[peer], ports=[port])]
        spec = msgspec.structs.replace(spec, ingress=ingress)
    else:
        egress = [*spec.egress, NetworkPolicyEgressRule(to=[peer], ports=[port])]
        spec = msgspec.structs.replace(spec, egress=egress)
    return msgspec.structs.replace(policy, spec=spec)


def _swap(
    policies: tuple[NetworkPolicy, ...], old: NetworkPolicy, new: NetworkPolicy
) -> tuple[NetworkPolicy, ...]:
    return tuple(new if policy is old else policy for policy in policies)


# ---------------------------------------------------------------- Services


def _everywhere(service: Service, objects: Objects) -> Iterator[Candidate]:
    """A Service that sends only to endpoints of the same node."""
    for name in ("internalTrafficPolicy", "externalTrafficPolicy"):
        field = name.replace("TrafficPolicy", "_traffic_policy")
        if getattr(service.spec, field) == "Local":
            spec = msgspec.structs.replace(service.spec, **{field: "Cluster"})
            wider = msgspec.structs.replace(service, spec=spec)
            services = tuple(wider if s is service else s for s in objects.services)
            change = f"set {name} of Service {service.key} to Cluster"
            yield Candidate(change, replace(objects, services=services))


def _endpoints(rule: str, branch: Branch, objects: Objects) -> Iterator[Candidate]:
    service = service_of(rule, objects)
    if service is None:
        return
    if objects.ready_endpoints(service) and any(p.ready for p in objects.selected_by(service)):
        yield Candidate(f"wait until {branch.node}'s kube-proxy has synced", replace(objects))
        yield from _everywhere(service, objects)
    for pod in objects.selected_by(service):
        listed = pod.status.pod_ip in objects.ready_endpoints(service)
        if pod.status.pod_ip and not (pod.ready and listed):
            change = f"make pod {pod.key} ready"
            if pod.ready:
                change = f"wait until the EndpointSlices of {service.key} list pod {pod.key}"
            yield Candidate(change, _with_endpoint(objects, service, pod))
    if service.spec.selector and not objects.selected_by(service):
        for pod in _nearly_selected(service, objects):
            wanted = {
                k: pod.metadata.labels[k]
                for k in sorted(service.spec.selector)
                if k in pod.metadata.labels
            }
            shown = ", ".join(f"{k}: {v}" for k, v in wanted.items())
            change = f"set the selector of Service {service.key} to {{{shown}}}"
            yield Candidate(change, _with_endpoint(objects, service, pod))


def _nearly_selected(service: Service, objects: Objects) -> list[Pod]:
    """Ready pods of the namespace with the selector's keys but other values."""
    keys = list(service.spec.selector)
    return [
        pod
        for pod in objects.pods
        if pod.metadata.namespace == service.metadata.namespace
        and pod.ready
        and pod.status.pod_ip
        and all(key in pod.metadata.labels for key in keys)
    ]


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
    return next(
        (p.container_port for c in pod.spec.containers for p in c.ports if p.name == target), 0
    )


def _ports(branch: Branch, objects: Objects) -> Iterator[Candidate]:
    """The Service's targetPort points past the port that the pod declares."""
    flow = branch.flow
    pod = objects.pod_at(flow.dst) if flow else None
    if flow is None or pod is None:
        return
    declared = [
        port.container_port
        for container in pod.spec.containers
        for port in container.ports
        if port.protocol.lower() == flow.protocol and port.container_port != flow.dst_port
    ]
    for service in objects.services:
        slices = [
            s
            for s in objects.slices_of(service)
            if any(flow.dst in e.addresses for e in s.endpoints)
            and any(p.port == flow.dst_port for p in s.ports)
        ]
        for port in declared if slices else ():
            edited = tuple(
                _retargeted(s, flow.dst_port, port) if s in slices else s for s in objects.slices
            )
            yield Candidate(
                f"set targetPort {flow.dst_port} of Service {service.key} to {port}",
                replace(objects, slices=edited),
            )


def _retargeted(endpoint_slice: EndpointSlice, old: int, new: int) -> EndpointSlice:
    ports = [
        msgspec.structs.replace(p, port=new) if p.port == old else p for p in endpoint_slice.ports
    ]
    return msgspec.structs.replace(endpoint_slice, ports=ports)
