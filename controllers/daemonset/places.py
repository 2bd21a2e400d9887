"""The nodes of a DaemonSet and their pods (pure). Source: kubernetes pkg/controller/daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api.view import JSON
from podwire.api.views import DaemonSet, Node, Pod
from podwire.client.placement import target_node
from podwire.controllers.common import scaled
from podwire.controllers.daemonset.nodes import daemon_spec, should_run
from podwire.controllers.history import HASH


@dataclass(frozen=True, slots=True)
class Place:
    """What is and what should be on one node; ``name`` is "" for pods whose node is gone."""

    name: str
    pods: list[Pod]
    """Without those that ended and are being deleted: they hold nothing back."""
    wanted: bool
    may_stay: bool

    @property
    def alive(self) -> list[Pod]:
        """Pods that nobody deleted."""
        return [pod for pod in self.pods if not pod.metadata.deletion_timestamp]


def places(ds: DaemonSet, pods: Sequence[Pod], nodes: Sequence[Node]) -> list[Place]:
    """All nodes in their order, then the place of pods that will never be bound."""
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        if not (pod.metadata.deletion_timestamp and ended(pod)):
            by_node.setdefault(target_node(pod.spec), []).append(pod)
    spec = daemon_spec(ds)
    found = [
        Place(node.metadata.name, by_node.pop(node.metadata.name, []), *should_run(spec, node))
        for node in nodes
    ]
    gone = [p for name in sorted(by_node) for p in by_node[name] if not p.spec.node_name]
    return [*found, *([Place("", gone, False, False)] if gone else [])]


def ended(pod: Pod) -> bool:
    """Whether the pod will not run again."""
    return pod.status.phase in {"Failed", "Succeeded"}


def updated(pod: Pod, digest: str) -> bool:
    """Whether the pod is of the current revision."""
    return pod.metadata.labels.get(HASH) == digest


def oldest_first(pods: Sequence[Pod]) -> list[Pod]:
    """Assigned before unassigned, then by age: the first one is kept."""
    return sorted(
        pods,
        key=lambda p: (not p.spec.node_name, p.metadata.creation_timestamp, p.metadata.name),
    )


def limits(ds: DaemonSet, wanted: int) -> tuple[int, int]:
    """Nodes that may have two pods (maxSurge), and none that is available (maxUnavailable).

    Both are rounded up; where both are 0 it is one node without.
    """
    rolling: JSON = ds.spec.update_strategy.get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", 0), wanted, round_up=True)
    down = scaled(rolling.get("maxUnavailable", 1), wanted, round_up=True)
    return surge, down or int(not surge)


def is_rolling(ds: DaemonSet) -> bool:
    """Whether the strategy is RollingUpdate."""
    return bool(ds.spec.update_strategy.get("type", "RollingUpdate") == "RollingUpdate")


def surges(ds: DaemonSet) -> bool:
    """Whether a node may have two daemon pods."""
    return is_rolling(ds) and limits(ds, 1)[0] > 0
