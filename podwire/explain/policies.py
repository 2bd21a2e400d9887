"""Denials: which policies isolate the pod, what came closest, and which small edit would admit.

Two roads lead to a verdict: the rules that the dataplane walked, and the policies as the evaluator
reads them. Where they differ the cause says so; an edit is proposed only if both let it through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from podwire.api.views import (
    LabelSelector,
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from podwire.api.views.policy import IPBlock
from podwire.dataplane.verdict import Fate, Flow
from podwire.explain.candidate import Candidate
from podwire.explain.objects import Objects, described, own_labels
from podwire.explain.report import ObjectRef
from podwire.netpol.evaluator import NAME_LABEL, Evaluator
from podwire.netpol.verdict import Denied, Miss

_ISOLATED = re.compile(r"podwire:isolated (\S+)/(\S+) by ([^\s\"]+)")
_RULE = re.compile(r"\w+\[(\d+)\]")
_ENOUGH = 3
"""Edits proposed for one denial: any will do, and the other end may need one of its own."""
_PEER = re.compile(r"peer\[\d+\]: ")

_Rule = NetworkPolicyIngressRule | NetworkPolicyEgressRule


def isolated_by(rule: str) -> tuple[str, list[tuple[str, str]]]:
    """The pod that a rule protects, and (namespace, name) of each policy that isolates it."""
    found = _ISOLATED.search(rule)
    if found is None:
        return "", []
    named = [
        (namespace, name)
        for namespace, _, name in (p.partition("/") for p in found.group(3).split(","))
    ]
    return f"{found.group(1)}/{found.group(2)}", named


def evaluator(objects: Objects) -> Evaluator:
    """The evaluator of a set of objects."""
    nodes = {
        address.address: node.metadata.name
        for node in objects.nodes
        for address in node.status.addresses
        if address.type == "InternalIP"
    }
    return Evaluator(objects.pods, objects.namespaces, objects.policies, nodes)


def denied(
    fate: Fate, rule: str, flow: Flow, node: str, objects: Objects
) -> tuple[str, list[ObjectRef]]:
    """The cause of DENIED_IN and DENIED_OUT."""
    pod, policies = isolated_by(rule)
    refs = [ObjectRef(kind="NetworkPolicy", namespace=ns, name=name) for ns, name in policies]
    what = _port(flow)
    inward = fate is Fate.DENIED_IN
    peer = described(flow.src if inward else flow.dst, objects)
    heading = f"{pod or 'the pod'} is isolated for {'ingress' if inward else 'egress'}"
    heading += f" by {_named(policies)}"
    if not flow.src or not flow.dst:
        return heading, refs
    summary = f"{heading}; no rule admits {what} {'from' if inward else 'to'} {peer}"
    verdict = evaluator(objects).verdict(flow.src, flow.dst, flow.protocol, flow.dst_port)
    if not policies:
        return summary, refs
    if not isinstance(verdict, Denied):
        return f"{heading}; the policies of now admit it: {node}'s rules are older than they", refs
    miss = next((m for m in verdict.nearest if m.rule), None)
    if miss is not None:
        summary += f"; nearest is {_told(miss)}"
    return summary, refs


def _named(policies: list[tuple[str, str]]) -> str:
    return ", ".join(f"{ns}/{name}" for ns, name in policies) or "a policy"


def _port(flow: Flow) -> str:
    protocol = flow.protocol.upper()
    return f"{protocol}/{flow.dst_port}" if flow.dst_port else protocol


def _told(miss: Miss) -> str:
    reasons = [_PEER.sub("", reason) for reason in miss.reasons]
    return f"{miss.policy} {miss.rule}: {'; '.join(dict.fromkeys(reasons))}"


# ---------------------------------------------------------------- what would admit it


def admit(fate: Fate, rule: str, flow: Flow, objects: Objects) -> Iterator[Candidate]:
    """Edits to policies, smallest first; only such as the evaluator allows too."""
    inward = fate is Fate.DENIED_IN
    verdict = evaluator(objects).verdict(flow.src, flow.dst, flow.protocol, flow.dst_port)
    misses = verdict.nearest if isinstance(verdict, Denied) else ()
    named = [p for p in isolated_by(rule)[1] if objects.policy(*p) is not None]
    address = flow.src if inward else flow.dst
    proposed = 0
    for change, old, new in _edits(misses, named, address, flow, objects, inward=inward):
        if proposed == _ENOUGH:
            return
        edited = replace(objects, policies=_swap(objects.policies, old, new))
        judged = evaluator(edited).verdict(flow.src, flow.dst, flow.protocol, flow.dst_port)
        other_side = isinstance(judged, Denied) and (judged.direction == "Ingress") is not inward
        if judged.allowed or other_side:
            proposed += 1
            yield Candidate(f"{change} of NetworkPolicy {old.key}", edited)


Change = tuple[str, NetworkPolicy, NetworkPolicy]


def _edits(
    misses: tuple[Miss, ...],
    named: list[tuple[str, str]],
    address: str,
    flow: Flow,
    objects: Objects,
    *,
    inward: bool,
) -> Iterator[Change]:
    port = None
    if flow.protocol != "icmp":
        port = NetworkPolicyPort(protocol=flow.protocol.upper(), port=flow.dst_port)
    for miss in misses:
        policy = objects.policy(*miss.policy.split("/"))
        found = _RULE.match(miss.rule)
        if policy is None or found is None or miss.peer_matched is miss.port_matched:
            continue
        index = int(found.group(1))
        if miss.peer_matched and port is not None:
            yield f"add {_port_text(port)} to {miss.rule}.ports", policy, _with_port(
                policy, index, port, inward=inward
            )  # fmt: skip
        elif miss.port_matched:
            peer, text = _peer(address, policy, objects)
            where = f"{miss.rule}.{'from' if inward else 'to'}"
            yield f"add {text} to {where}", policy, _with_peer(policy, index, peer, inward=inward)
    for namespace, name in _specific_first(named, objects):
        policy = objects.policy(namespace, name)
        assert policy is not None
        peer, text = _peer(address, policy, objects)
        rule = f"{{{'from' if inward else 'to'}: [{text}]"
        rule += f", ports: [{_port_text(port)}]}}" if port else "}"
        where = "ingress" if inward else "egress"
        yield f"add {rule} to {where}", policy, _with_rule(policy, peer, port, inward=inward)


def _specific_first(policies: list[tuple[str, str]], objects: Objects) -> list[tuple[str, str]]:
    """Policies that select by label before those that select everything (default-deny)."""

    def everything(named: tuple[str, str]) -> bool:
        policy = objects.policy(*named)
        selector = policy.spec.pod_selector if policy else LabelSelector()
        return not (selector.match_labels or selector.match_expressions)

    return sorted(policies, key=lambda named: (everything(named), named))


def _peer(address: str, policy: NetworkPolicy, objects: Objects) -> tuple[NetworkPolicyPeer, str]:
    """The narrowest peer that matches an address by its pod's labels, and its YAML."""
    pod = objects.pod_at(address)
    if pod is None:
        cidr = f"{address}/32"
        return NetworkPolicyPeer(ip_block=IPBlock(cidr=cidr)), f"{{ipBlock: {{cidr: {cidr}}}}}"
    labels = own_labels(pod)
    selector = LabelSelector(match_labels=labels)
    shown = f"podSelector: {_labels_text(labels)}"
    if pod.metadata.namespace == policy.metadata.namespace:
        return NetworkPolicyPeer(pod_selector=selector), f"{{{shown}}}"
    space = {NAME_LABEL: pod.metadata.namespace}
    return (
        NetworkPolicyPeer(
            pod_selector=selector, namespace_selector=LabelSelector(match_labels=space)
        ),
        f"{{namespaceSelector: {_labels_text(space)}, {shown}}}",
    )


def _labels_text(labels: dict[str, str]) -> str:
    if not labels:
        return "{}"
    return "{matchLabels: {" + ", ".join(f"{k}: {v}" for k, v in sorted(labels.items())) + "}}"


def _port_text(port: NetworkPolicyPort) -> str:
    return f"{{protocol: {port.protocol}, port: {port.port}}}"


def _with_port(
    policy: NetworkPolicy, index: int, port: NetworkPolicyPort, *, inward: bool
) -> NetworkPolicy:
    rules = _rules(policy, inward=inward)
    ports = [*rules[index].ports, port]
    rules[index] = msgspec.structs.replace(rules[index], ports=ports)
    return _with_rules(policy, rules, inward=inward)


def _with_peer(
    policy: NetworkPolicy, index: int, peer: NetworkPolicyPeer, *, inward: bool
) -> NetworkPolicy:
    rules = _rules(policy, inward=inward)
    rule = rules[index]
    if isinstance(rule, NetworkPolicyIngressRule):
        rules[index] = msgspec.structs.replace(rule, from_=[*rule.from_, peer])
    else:
        rules[index] = msgspec.structs.replace(rule, to=[*rule.to, peer])
    return _with_rules(policy, rules, inward=inward)


def _with_rule(
    policy: NetworkPolicy, peer: NetworkPolicyPeer, port: NetworkPolicyPort | None, *, inward: bool
) -> NetworkPolicy:
    ports = [port] if port else []
    rule: _Rule = (
        NetworkPolicyIngressRule(from_=[peer], ports=ports)
        if inward
        else NetworkPolicyEgressRule(to=[peer], ports=ports)
    )
    return _with_rules(policy, [*_rules(policy, inward=inward), rule], inward=inward)


def _rules(policy: NetworkPolicy, *, inward: bool) -> list[_Rule]:
    """A copy of the policy's rules of one direction."""
    return [*(policy.spec.ingress if inward else policy.spec.egress)]


def _with_rules(policy: NetworkPolicy, rules: list[_Rule], *, inward: bool) -> NetworkPolicy:
    spec = msgspec.structs.replace(policy.spec, **{"ingress" if inward else "egress": rules})
    return msgspec.structs.replace(policy, spec=spec)


def _swap(
    policies: tuple[NetworkPolicy, ...], old: NetworkPolicy, new: NetworkPolicy
) -> tuple[NetworkPolicy, ...]:
    return tuple(new if policy is old else policy for policy in policies)
