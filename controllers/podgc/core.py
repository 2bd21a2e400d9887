"""Orphaned pods (pure). Source: kubernetes pkg/controller/podgc.

Not modelled: the threshold of finished pods, the out-of-service taint.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.client.effects import Delete, Effect, Patch

QUARANTINE_S = 40.0
"""How long a node must be missing before its pods go."""


def orphaned(pod: Pod, now_ns: int) -> list[Effect]:
    """Mark a pod of a vanished node as failed and delete it without grace."""
    meta = pod.metadata
    condition: JSON = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": format_time(now_ns),
    }
    status: JSON = {"conditions": [condition]}
    if pod.status.phase not in {"Succeeded", "Failed"}:
        status["phase"] = "Failed"
    patch = {"metadata": {"uid": meta.uid}, "status": status}
    return [
        Patch(
            kinds.POD, meta.name, patch, meta.namespace, "status", strategic=True,
            missing_ok=True,
        ),
        Delete(kinds.POD, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0),
    ]  # fmt: skip
