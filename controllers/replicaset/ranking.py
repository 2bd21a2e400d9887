"""Which pods of a ReplicaSet go first (pure).

Source: kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cmp_to_key

from podwire.api.views import Pod
from podwire.controllers.common import pod_ready_ns, since_epoch

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def to_delete(pods: Sequence[Pod], related: Sequence[Pod], count: int, now_ns: int) -> list[Pod]:
    """The ``count`` pods to delete, first one first.

    ``related`` are the active pods of all ReplicaSets of the same owner: a node that holds more
    of them gives its pods up earlier.
    """
    if count >= len(pods):
        return list(pods)
    on_node: dict[str, int] = {}
    for pod in related:
        node = pod.spec.node_name
        on_node[node] = on_node.get(node, 0) + 1

    def compare(a: Pod, b: Pod) -> int:
        return _compare(a, b, on_node, now_ns)

    return sorted(pods, key=cmp_to_key(compare))[:count]


def _compare(a: Pod, b: Pod, on_node: Mapping[str, int], now_ns: int) -> int:
    """Negative when ``a`` is deleted before ``b``."""
    unassigned = bool(a.spec.node_name) - bool(b.spec.node_name)
    if unassigned:
        return unassigned
    phase = _PHASES.get(a.status.phase, 0) - _PHASES.get(b.status.phase, 0)
    if phase:
        return phase
    if a.ready != b.ready:
        return a.ready - b.ready
    cost = _cost(a) - _cost(b)
    if cost:
        return cost
    crowded = on_node.get(b.spec.node_name, 0) - on_node.get(a.spec.node_name, 0)
    if crowded:
        return crowded
    times = [(pod_ready_ns(a) or 0, pod_ready_ns(b) or 0)] if a.ready else []
    if times and times[0][0] != times[0][1]:
        return _younger_first(*times[0], a, b, now_ns)
    restarts = _restarts(b) - _restarts(a)
    if restarts:
        return restarts
    created = [since_epoch(pod.metadata.creation_timestamp) for pod in (a, b)]
    if created[0] != created[1]:
        return _younger_first(created[0], created[1], a, b, now_ns)
    return 0


def _younger_first(a_ns: int, b_ns: int, a: Pod, b: Pod, now_ns: int) -> int:
    """Younger before older, ages compared by powers of two so that ties are spread by uid."""
    if not a_ns or not b_ns:
        return -1 if not a_ns else 1
    difference = (now_ns - a_ns).bit_length() - (now_ns - b_ns).bit_length()
    if difference:
        return difference
    return -1 if a.metadata.uid < b.metadata.uid else 1


def _cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    return int(text) if text.lstrip("-").isdigit() else 0


def _restarts(pod: Pod) -> int:
    return max((status.restart_count for status in pod.status.container_statuses), default=0)
