"""Why a branch ended as it did: the rule's comment names the object, the objects tell the rest.

Agents put into the comment of each rule what it comes from: kube-proxy as upstream does
(``"ns/svc:port has no endpoints"``), the policy agent as ``podwire:isolated ns/pod by ns/policy``.
"""

from __future__ import annotations

import re

from podwire.api.views import Object, Pod, Service
from podwire.dataplane.verdict import Branch, Fate, Flow, Step
from podwire.explain.objects import Objects, own_labels
from podwire.explain.report import Cause, ObjectRef

_NO_ENDPOINTS = re.compile(r'"?([^"/\s]+)/([^":\s]+)(?::(\S+))? has no (local )?endpoints')
_ISOLATED = re.compile(r"podwire:isolated (\S+)/(\S+) by ([^\s\"]+)")
_ASTRAY = {
    Fate.NO_ROUTE,
    Fate.NULL_ROUTED,
    Fate.NEIGHBOR_UNREACHABLE,
    Fate.EXITS_CLUSTER,
    Fate.TTL_EXCEEDED,
    Fate.LOOP,
}
"""How a packet to a cluster IP ends that no rule translated: it follows the default route."""
_QUIET = {
    Fate.NO_ROUTE: "no route to {dst} on {node}",
    Fate.NULL_ROUTED: "a route of {node} discards packets to {dst}",
    Fate.TTL_EXCEEDED: "the hop limit ran out on {node}",
    Fate.MTU_EXCEEDED: "the packet is larger than the link's MTU and may not be fragmented",
    Fate.MARTIAN: "{node} drops it: its source could not be reached back that way (rp_filter)",
    Fate.CT_INVALID: "conntrack on {node} finds it in no known connection",
    Fate.CT_FULL: "the conntrack table of {node} is full",
    Fate.LOOP: "it circles",
    Fate.LOST: "the link lost it",
    Fate.TIMED_OUT: "no answer came back",
}


def last_step(branch: Branch) -> tuple[int, Step | None]:
    """The number (1-based over all hops) and the step at which a branch ended."""
    steps = [step for hop in branch.hops for step in hop.steps]
    return len(steps), steps[-1] if steps else None


def policies_of(rule: str) -> list[tuple[str, str]]:
    """(namespace, name) of each policy that isolates the pod which a rule protects."""
    found = _ISOLATED.search(rule)
    if found is None:
        return []
    return [
        (namespace, name)
        for namespace, _, name in (p.partition("/") for p in found.group(3).split(","))
    ]


def service_of(rule: str, objects: Objects) -> Service | None:
    """The Service that a ``has no endpoints`` rule speaks of."""
    found = _NO_ENDPOINTS.search(rule)
    return objects.service(found.group(1), found.group(2)) if found else None


def cause(branch: Branch, objects: Objects) -> Cause:
    """The cause of one branch's fate."""
    number, step = last_step(branch)
    flow = branch.flow or Flow(protocol="", src="", dst="")
    rule = step.rule if step else ""
    if (unserved := _unserved(branch.fate, flow, objects)) is not None:
        summary, refs = unserved
    elif branch.fate in {Fate.DENIED_IN, Fate.DENIED_OUT}:
        summary, refs = _denied(branch.fate, rule, flow, objects)
    elif branch.fate is Fate.NO_ENDPOINTS:
        summary, refs = _no_endpoints(rule, branch, objects)
    elif branch.fate is Fate.REFUSED:
        summary, refs = _refused(flow, objects)
    elif branch.fate is Fate.DELIVERED:
        summary, refs = f"{objects.name_of(flow.dst)} listens on {flow.dst_port}", []
        if flow.protocol == "icmp":
            summary = f"{objects.name_of(flow.dst)} answers echo requests"
    elif branch.fate is Fate.EXITS_CLUSTER:
        summary, refs = f"{flow.dst} is outside; what happens there is not modelled", []
    elif branch.fate is Fate.LINK_DOWN:
        summary, refs = f"the link {step.object if step else '?'} is down", []
    elif branch.fate in {Fate.NEIGHBOR_UNREACHABLE, Fate.UNKNOWN}:
        summary, refs = (step.detail if step else "") or branch.fate.value, []
    elif branch.fate is Fate.DROPPED_BY_RULE:
        summary, refs = f"a rule of chain {step.object if step else '?'} drops it", []
    else:
        text = _QUIET.get(branch.fate, branch.fate.value)
        summary = text.format(dst=flow.dst, node=branch.node or "the network")
        if step is not None and step.detail:
            summary = f"{summary} ({step.detail})"
        refs = []
    return Cause(summary=summary, objects=refs, step=number, rule=rule)


def _denied(fate: Fate, rule: str, flow: Flow, objects: Objects) -> tuple[str, list[ObjectRef]]:
    policies = policies_of(rule)
    found = _ISOLATED.search(rule)
    pod = f"{found.group(1)}/{found.group(2)}" if found else "the pod"
    refs = [ObjectRef(kind="NetworkPolicy", namespace=ns, name=name) for ns, name in policies]
    names = ", ".join(f"{ns}/{name}" for ns, name in policies) or "a policy"
    where = f"{flow.protocol.upper()}/{flow.dst_port}"
    if fate is Fate.DENIED_IN:
        peer = f"from {_described(flow.src, objects)}"
        direction = "ingress"
    else:
        peer = f"to {_described(flow.dst, objects)}"
        direction = "egress"
    summary = f"{pod} is isolated for {direction} by {names}; no rule admits {where} {peer}"
    return summary, refs


def _described(address: str, objects: Objects) -> str:
    pod = objects.pod_at(address)
    if pod is None:
        return objects.name_of(address)
    labels = ",".join(f"{k}={v}" for k, v in own_labels(pod).items())
    return f"{pod.key} ({labels})" if labels else pod.key


def _unserved(fate: Fate, flow: Flow, objects: Objects) -> tuple[str, list[ObjectRef]] | None:
    """A packet to a cluster IP that no rule takes: what the Service serves instead."""
    service = objects.service_at(flow.dst) if fate in _ASTRAY else None
    if service is None:
        return None
    served = [(port.protocol.lower(), port.port) for port in service.spec.ports]
    if (flow.protocol, flow.dst_port) in served:
        return None
    has = ", ".join(f"{protocol.upper()}/{port}" for protocol, port in served) or "no port"
    wanted = f"{flow.protocol.upper()}/{flow.dst_port}"
    if flow.protocol == "icmp":
        wanted = "ICMP: a cluster IP is no interface, only rules for its ports"
    return f"Service {service.key} does not serve {wanted}; it has {has}", [
        _ref("Service", service)
    ]


def _no_endpoints(rule: str, branch: Branch, objects: Objects) -> tuple[str, list[ObjectRef]]:
    service = service_of(rule, objects)
    if service is None:
        return "the Service has no endpoints", []
    refs = [_ref("Service", service)]
    if not service.spec.selector:
        return (
            f"Service {service.key} has no selector and no EndpointSlice gives it an address",
            refs,
        )
    found = _NO_ENDPOINTS.search(rule)
    if found is not None and found.group(4):
        return _no_local_endpoints(service, branch, objects), refs
    selector = ",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items()))
    selected = objects.selected_by(service)
    if not selected:
        return f"Service {service.key} selects {selector}; no pod has these labels", refs
    refs += [_ref("Pod", pod) for pod in selected]
    unnamed = _unnamed_ports(service, selected)
    if unnamed and any(pod.ready for pod in selected):
        why = f"Service {service.key} sends to the port named {unnamed[0]!r}, which no container"
        return f"{why} of its {len(selected)} pods declares", refs
    if lag := _lag(service, selected, branch, objects):
        return lag, refs
    waiting = ", ".join(f"{p.metadata.name} ({_why_not_ready(p)})" for p in selected[:3])
    return (
        f"none of the {len(selected)} pods that Service {service.key} selects is ready: {waiting}",
        refs,
    )


def _lag(service: Service, selected: list[Pod], branch: Branch, objects: Objects) -> str:
    """What has not caught up with pods that are ready, "" when nothing lags."""
    if not any(pod.ready for pod in selected):
        return ""
    if objects.ready_endpoints(service):
        return f"the rules of {branch.node} are older than the ready endpoints of {service.key}"
    if all(pod.ready for pod in selected):
        return f"the pods of Service {service.key} are ready, its EndpointSlices do not say so yet"
    return ""


def _no_local_endpoints(service: Service, branch: Branch, objects: Objects) -> str:
    flow = branch.flow
    inside = flow is not None and flow.dst == service.spec.cluster_ip
    field = "internalTrafficPolicy" if inside else "externalTrafficPolicy"
    ready = [pod for pod in objects.selected_by(service) if pod.ready]
    elsewhere = ", ".join(f"{p.metadata.name} on {p.spec.node_name}" for p in ready[:3])
    return (
        f"{field} of Service {service.key} is Local and {branch.node} has no endpoint of it; "
        f"ready elsewhere: {elsewhere or 'none'}"
    )


def _unnamed_ports(service: Service, pods: list[Pod]) -> list[str]:
    """Target ports of a Service, by name, that no pod declares."""
    declared = {port.name for pod in pods for c in pod.spec.containers for port in c.ports}
    wanted = [port.target_port for port in service.spec.ports]
    return [name for name in wanted if isinstance(name, str) and name not in declared]


def _ref(kind: str, about: Object) -> ObjectRef:
    return ObjectRef(kind=kind, namespace=about.metadata.namespace, name=about.metadata.name)


def _why_not_ready(pod: Pod) -> str:
    for status in pod.status.container_statuses:
        for state, about in status.state.items():
            if state != "running":
                return str(about.get("reason") or state)
    ready = pod.condition("Ready")
    return (ready.reason or "not ready") if ready else pod.status.phase or "Pending"


def _refused(flow: Flow, objects: Objects) -> tuple[str, list[ObjectRef]]:
    pod = objects.pod_at(flow.dst)
    if pod is None:
        where = objects.name_of(flow.dst)
        return f"nothing listens on {flow.protocol.upper()}/{flow.dst_port} at {where}", []
    ports = sorted(
        {
            port.container_port
            for container in pod.spec.containers
            for port in container.ports
            if port.protocol.lower() == flow.protocol
        }
    )
    declared = f"; it declares {', '.join(map(str, ports))}" if ports else ""
    return (
        f"nothing listens on {flow.protocol.upper()}/{flow.dst_port} in {pod.key}{declared}",
        [_ref("Pod", pod)],
    )
