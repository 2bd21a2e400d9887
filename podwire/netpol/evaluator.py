"""NetworkPolicy verdicts (networking.k8s.io/v1) over objects.

Source: kubernetes.io "Network Policies" and the API reference: isolation per direction, union of
rules, no order, no deny; the packet is judged after Service translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podwire.api.views import Namespace, NetworkPolicy, Pod
from podwire.netpol.compiled import FINISHED, Address, Peer, Policy, Rule, address, compile_policy
from podwire.netpol.verdict import EGRESS, INGRESS, Allowed, Denied, Miss, Side, Verdict

NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a connection: a pod of the pod network, or only an address."""

    address: Address | None
    pod: Pod | None
    node: str = ""
    """The node this address belongs to, when it is a node's own."""

    def __str__(self) -> str:
        return self.pod.key if self.pod is not None else str(self.address)


class Evaluator:
    """Answers for one consistent set of objects."""

    def __init__(
        self,
        pods: Iterable[Pod],
        namespaces: Iterable[Namespace],
        policies: Iterable[NetworkPolicy],
        node_addresses: Mapping[str, str] | None = None,
    ) -> None:
        """``node_addresses``: node name of each address a node itself may send from."""
        self._nodes = dict(node_addresses or {})
        self._policies: dict[str, list[Policy]] = {}
        for policy in sorted(policies, key=lambda p: p.key):
            compiled = compile_policy(policy)
            self._policies.setdefault(compiled.namespace, []).append(compiled)
        self._labels = {
            ns.metadata.name: {NAME_LABEL: ns.metadata.name, **ns.metadata.labels}
            for ns in namespaces
        }
        self._by_address: dict[str, Pod] = {}
        for pod in pods:
            if not pod.spec.host_network and pod.status.phase not in FINISHED:
                ips = [pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips)]
                self._by_address.update((ip, pod) for ip in ips if ip)

    def isolating(self, pod: Pod, direction: str) -> list[Policy]:
        """The policies that isolate a pod in a direction, by key."""
        found = self._policies.get(pod.metadata.namespace, ())
        return [policy for policy in found if policy.isolates(pod, direction)]

    def verdict(
        self, src: Pod | str, dst: Pod | str, protocol: str = "TCP", port: int = 0
    ) -> Verdict:
        """Whether ``src`` may connect to ``port`` of ``dst``: pods, or addresses as text."""
        source, destination = self._end(src), self._end(dst)
        protocol = protocol.upper()
        if source.pod is not None and source.address == destination.address is not None:
            return Allowed(reason="a pod cannot block access to itself")
        egress = ingress = None
        if source.pod is not None:
            egress = self._side(EGRESS, source.pod, destination, destination, protocol, port)
        if destination.pod is not None:
            own_node = source.node and source.node == destination.pod.spec.node_name
            if own_node and source.pod is None:
                return Allowed(reason="a node always reaches the pods that run on it")
            ingress = self._side(INGRESS, destination.pod, source, destination, protocol, port)
        for side in (egress, ingress):
            if side is not None and not side.allowed:
                return Denied(side, egress, ingress)
        reason = "no policy applies" if egress is None and ingress is None else ""
        return Allowed(egress, ingress, reason)

    def _end(self, end: Pod | str) -> _End:
        if isinstance(end, str):
            known = self._by_address.get(end)
            return _End(address(end), known, "" if known else self._nodes.get(end, ""))
        ip = end.status.pod_ip
        where = address(ip) if ip else None
        if end.spec.host_network:
            return _End(where, None, end.spec.node_name)
        return _End(where, end)

    def _side(
        self, direction: str, pod: Pod, other: _End, destination: _End, protocol: str, port: int
    ) -> Side:
        isolating = self.isolating(pod, direction)
        if not isolating:
            return Side(direction, pod.key, ())
        allowed: list[str] = []
        misses: list[Miss] = []
        for policy in isolating:
            rules = policy.rules(direction)
            if not rules:
                word = direction.lower()
                misses.append(Miss(policy.key, "", (f"it has no {word} rule: nothing is allowed",)))
            for rule in rules:
                miss = self._miss(policy, rule, other, destination.pod, protocol, port)
                if miss is None:
                    allowed.append(f"{policy.key} {rule.name}")
                else:
                    misses.append(miss)
        misses.sort(key=lambda m: -(2 * m.peer_matched + m.port_matched))
        return Side(
            direction, pod.key, tuple(p.key for p in isolating), tuple(allowed), tuple(misses)
        )

    def _miss(
        self,
        policy: Policy,
        rule: Rule,
        other: _End,
        destination: Pod | None,
        protocol: str,
        port: int,
    ) -> Miss | None:
        """None when the rule admits the connection."""
        peer_reasons: list[str] = []
        for index, peer in enumerate(rule.peers):
            reason = self._peer_miss(policy, peer, other)
            if not reason:
                peer_reasons = []
                break
            peer_reasons.append(f"peer[{index}]: {reason}")
        port_matched = not rule.ports or any(
            p.matches(protocol, port, destination) for p in rule.ports
        )
        if not peer_reasons and port_matched:
            return None
        reasons = list(peer_reasons)
        if not port_matched:
            listed = ", ".join(str(p) for p in rule.ports)
            reasons.append(f"port {port}/{protocol} is not among {listed}")
        return Miss(policy.key, rule.name, tuple(reasons), not peer_reasons, port_matched)

    def _peer_miss(self, policy: Policy, peer: Peer, other: _End) -> str:
        """Why a peer entry does not match the other end; "" when it does."""
        if peer.impossible:
            return "the entry is empty and selects nothing"
        if peer.block is not None:
            return _block_miss(peer, other)
        pod = other.pod
        if pod is None:
            return f"{other} is no pod, and selectors select pods only"
        labels = self._labels_of(pod.metadata.namespace)
        if peer.selects(pod, labels, policy.namespace):
            return ""
        if peer.namespaces is None and pod.metadata.namespace != policy.namespace:
            return (
                f"podSelector alone selects pods of namespace {policy.namespace}; "
                f"{pod.key} is in {pod.metadata.namespace}"
            )
        if peer.namespaces is not None and not peer.namespaces.matches(labels):
            return (
                f"namespaceSelector {peer.namespaces} does not match namespace "
                f"{pod.metadata.namespace}"
            )
        return f"podSelector {peer.pods} does not match {pod.key}"

    def _labels_of(self, namespace: str) -> dict[str, str]:
        return self._labels.get(namespace) or {NAME_LABEL: namespace}


def _block_miss(peer: Peer, other: _End) -> str:
    if other.address is None:
        return f"{other} has no address yet"
    if peer.covers(other.address):
        return ""
    hit = next((n for n in peer.excepted if other.address in n), None)
    if hit is not None:
        return f"ipBlock {peer.block} excepts {hit}, which contains {other.address}"
    return f"ipBlock {peer.block} does not contain {other.address}"
