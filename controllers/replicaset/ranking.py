"""Which pods of a ReplicaSet go first (pure).

Source: kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import NamedTuple

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

    def compare(a: _Ranked, b: _Ranked) -> int:
        return _compare(a, b, now_ns)

    ranked = [_ranked(pod, on_node) for pod in pods]
    return [found.pod for found in sorted(ranked, key=cmp_to_key(compare))[:count]]


class _Ranked(NamedTuple):
    """What decides about a pod, most important first."""

    first: tuple[int, ...]
    """Assigned, phase, readiness, cost, company on the node: the lower goes first."""
    ready_ns: int
    """0 unless it is ready."""
    restarts: int
    created_ns: int
    pod: Pod


def _ranked(pod: Pod, on_node: Mapping[str, int]) -> _Ranked:
    node, ready_ns = pod.spec.node_name, pod_ready_ns(pod)
    phase = _PHASES.get(pod.status.phase, 0)
    first = (bool(node), phase, ready_ns is not None, _cost(pod), -on_node.get(node, 0))
    created_ns = since_epoch(pod.metadata.creation_timestamp)
    return _Ranked(first, ready_ns or 0, _restarts(pod), created_ns, pod)


def _compare(a: _Ranked, b: _Ranked, now_ns: int) -> int:
    """Negative when ``a`` is deleted before ``b``."""
    if a.first != b.first:
        return -1 if a.first < b.first else 1
    if a.ready_ns != b.ready_ns:
        return _younger_first(a.ready_ns, b.ready_ns, a.pod, b.pod, now_ns)
    if a.restarts != b.restarts:
        return b.restarts - a.restarts
    if a.created_ns != b.created_ns:
        return _younger_first(a.created_ns, b.created_ns, a.pod, b.pod, now_ns)
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
