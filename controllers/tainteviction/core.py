"""When a pod must leave its node (pure). Source: kubernetes pkg/controller/tainteviction."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import NS
from podwire.api.views import Node, Pod
from podwire.client.effects import Delete, Effect, Emit, Patch, RequeueAfter
from podwire.client.placement import NO_EXECUTE, tolerates
from podwire.controllers.common import disruption_target

FOREVER = None


def due_ns(pod: Pod, node: Node, now_ns: int) -> int | None:
    """When the pod is to be deleted; None when it may stay.

    Of each taint the first toleration that covers it counts, from now on, not from when the taint
    was added; the shortest of them decides (processPodOnNode, GetMatchingTolerations).
    """
    found: list[int] = []
    for taint in node.spec.taints:
        if taint.effect != NO_EXECUTE:
            continue
        covering = next((t for t in pod.spec.tolerations if tolerates(t, taint)), None)
        if covering is None:
            return now_ns
        if covering.toleration_seconds is not None:
            found.append(now_ns + max(0, covering.toleration_seconds) * NS)
    return min(found) if found else FOREVER


def reconcile(pod: Pod, due_ns: int, now_ns: int) -> list[Effect]:
    """Delete the pod if its time is over, or come back when it is."""
    if due_ns > now_ns:
        return [RequeueAfter((due_ns - now_ns) / NS)]
    meta = pod.metadata
    why = "Taint manager: deleting due to NoExecute taint"
    condition = disruption_target(pod, "DeletionByTaintManager", why, now_ns)
    patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
    return [
        Emit(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.key}"),
        Patch(
            kinds.POD, meta.name, patch, meta.namespace, "status", strategic=True,
            missing_ok=True,
        ),
        Delete(kinds.POD, meta.name, meta.namespace, uid=meta.uid),
    ]  # fmt: skip
