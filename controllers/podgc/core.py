"""Which pods nobody will ever end, and how they are removed (pure).

Source: kubernetes pkg/controller/podgc.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.client.effects import Delete, Effect, Patch
from podwire.controllers.common import disruption_target

CHECK_PERIOD_S = 20.0
"""Garbage is collected at so many seconds' ticks (gcCheckPeriod)."""
QUARANTINE_S = 40.0
"""How long a node must be missing before its pods go."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""A person's word that the node is down for good: its terminating pods may go."""
ORPHANED = "PodGC: node no longer exists"


def is_out_of_service(node: Node) -> bool:
    """Whether the node carries the taint and is not Ready."""
    return not node.ready and any(t.key == OUT_OF_SERVICE for t in node.spec.taints)


def is_over(pod: Pod) -> bool:
    """Whether the pod has ended, and is kept only to be looked at."""
    return pod.status.phase in {"Succeeded", "Failed"}


def surplus(ended: Iterable[Pod], threshold: int) -> list[Pod]:
    """Ended pods beyond ``threshold``: evicted ones first, then the oldest (gcTerminated)."""
    pods = sorted(ended, key=_rank)
    return pods[: max(0, len(pods) - threshold)]


def _rank(pod: Pod) -> tuple[bool, str, str]:
    evicted = pod.status.phase == "Failed" and pod.status.reason == "Evicted"
    return not evicted, pod.metadata.creation_timestamp, pod.metadata.name


def is_lost(pod: Pod, node: Node | None) -> bool:
    """Whether a terminating pod has nobody to end it: no node, or one that is out of service.

    A pod of a node that is merely unreachable is not lost: it may still run there.
    """
    if not pod.metadata.deletion_timestamp:
        return False
    if not pod.spec.node_name:
        return True
    return node is not None and is_out_of_service(node)


def remove(pod: Pod, now_ns: int, message: str = "") -> list[Effect]:
    """Mark a pod as failed and delete it without grace; ``message`` adds DisruptionTarget."""
    meta = pod.metadata
    effects: list[Effect] = []
    if not is_over(pod):
        status: JSON = {"phase": "Failed"}
        if meta.generation:
            status["observedGeneration"] = meta.generation
        if message:
            condition = disruption_target(pod, "DeletionByPodGC", message, now_ns)
            status["conditions"] = [condition]
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        effects.append(
            Patch(
                kinds.POD, meta.name, patch, meta.namespace, "status", strategic=True,
                missing_ok=True,
            )
        )  # fmt: skip
    return [
        *effects,
        Delete(kinds.POD, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0),
    ]
