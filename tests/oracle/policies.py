"""Random NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from podwire.api.views import NetworkPolicy, Pod
from podwire.runtime.rng import SeededRng
from tests.oracle import cluster

LABELS = ({"app": "a"}, {"app": "b"}, {"app": "c"})


def policies(rng: SeededRng) -> tuple[NetworkPolicy, ...]:
    """None in most clusters; else one or two."""
    if rng.random() < 0.6:
        return ()
    return tuple(_policy(rng, index) for index in range(1 + rng.below(2)))


def pods_of(pods: Iterable[cluster.Pod]) -> list[Pod]:
    """The pods as the policy agent sees them."""
    bodies = [
        {
            "metadata": {"namespace": "default", "name": pod.name, "labels": pod.labels},
            "spec": {"nodeName": cluster.node_name(pod.node)},
            "status": {"phase": "Running", "podIP": pod.ip, "podIPs": _ips(pod)},
        }
        for pod in pods
    ]
    return msgspec.convert(bodies, list[Pod])


def _ips(pod: cluster.Pod) -> list[dict[str, str]]:
    return [{"ip": ip} for ip in (pod.ip, pod.ip6) if ip]


def _policy(rng: SeededRng, index: int) -> NetworkPolicy:
    chosen = {"matchLabels": rng.choice(LABELS)}
    egress = rng.random() < 0.3
    rule: dict[str, Any] = {}
    peers = _peers(rng)
    if peers:
        rule["to" if egress else "from"] = peers
    if rng.random() < 0.5:
        rule["ports"] = _ports(rng)
    rules = [rule] if rng.random() < 0.8 else []
    spec: dict[str, Any] = {
        "podSelector": chosen,
        "policyTypes": ["Egress" if egress else "Ingress"],
        "egress" if egress else "ingress": rules,
    }
    body = {"metadata": {"namespace": "default", "name": f"np{index}", "uid": f"np{index}"}}
    return msgspec.convert({**body, "spec": spec}, NetworkPolicy)


def _peers(rng: SeededRng) -> list[dict[str, Any]]:
    draw = rng.random()
    if draw < 0.5:
        return [{"podSelector": {"matchLabels": rng.choice(LABELS)}}]
    if draw < 0.7:
        return [{"ipBlock": {"cidr": f"{cluster.CLIENT_IP}/32"}}]
    if draw < 0.85:
        return [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}]
    return []


def _ports(rng: SeededRng) -> list[dict[str, Any]]:
    ports = [{"protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 53}]
    return [*ports[: 1 + rng.below(2)], *([{"protocol": "UDP"}] if rng.random() < 0.2 else [])]
