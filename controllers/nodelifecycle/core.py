"""What a node's conditions and spec demand: conditions, taints, pods that are not Ready (pure).

Source: kubernetes pkg/controller/nodelifecycle. Who is silent and who may be tainted NoExecute is
decided in monitor.py and zones.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.times import format_time
from podwire.api.view import JSON, to_json
from podwire.api.views import Condition, Node, Pod, Taint
from podwire.client.effects import Effect, Emit, Patch
from podwire.client.placement import NO_EXECUTE, NO_SCHEDULE

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
"""Conditions that a silent node's kubelet can no longer vouch for."""
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
MANAGED = (NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values())
"""Taint keys that belong to this controller."""


def ready_status(node: Node) -> str:
    """Status of condition Ready; "Unknown" without."""
    found = _find(node, "Ready")
    return found.status if found is not None else "Unknown"


def _find(node: Node, type: str) -> Condition | None:
    return next((c for c in node.status.conditions if c.type == type), None)


def mark_unknown(node: Node, now_ns: int) -> list[Effect]:
    """Turn a silent node's conditions to Unknown; an Event tells of one that was Ready."""
    now = format_time(now_ns)
    fresh: list[JSON] = []
    for name in WATCHED:
        found = _find(node, name)
        if found is None:
            condition: JSON = {
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node.metadata.creation_timestamp,
            }
        elif found.status == "Unknown":
            continue
        else:
            condition = {
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }
            if found.last_heartbeat_time:
                condition["lastHeartbeatTime"] = found.last_heartbeat_time
        fresh.append({"type": name, "status": "Unknown", "lastTransitionTime": now, **condition})
    if not fresh:
        return []
    name = node.metadata.name
    patch = {"metadata": {"uid": node.metadata.uid}, "status": {"conditions": fresh}}
    effects: list[Effect] = [
        Patch(kinds.NODE, name, patch, subresource="status", strategic=True, missing_ok=True)
    ]
    if node.ready:
        message = f"Node {name} status is now: NodeNotReady"
        effects.append(Emit(node, "Normal", "NodeNotReady", message))
    return effects


def wanted_taints(node: Node, *, no_execute: str, now_ns: int) -> list[Taint]:
    """All taints the node should have: strangers' as they are, ours by conditions and spec.

    ``no_execute``: the key that the monitor granted for evicting its pods; "" for none.
    """
    kept = [t for t in node.spec.taints if t.key not in MANAGED]
    have = {(t.key, t.effect): t for t in node.spec.taints}
    keys: list[tuple[str, str]] = []
    ready = _find(node, "Ready")
    if ready is not None and ready.status != "True":
        keys.append((NOT_READY if ready.status == "False" else UNREACHABLE, NO_SCHEDULE))
    if no_execute:
        keys.append((no_execute, NO_EXECUTE))
    for name, key in _PRESSURE.items():
        found = _find(node, name)
        if found is not None and found.status == "True":
            keys.append((key, NO_SCHEDULE))
    if node.spec.unschedulable:
        keys.append((UNSCHEDULABLE, NO_SCHEDULE))
    now = format_time(now_ns)
    ours = [have.get(pair) or Taint(key=pair[0], effect=pair[1], time_added=now) for pair in keys]
    return [*kept, *ours]


def taint_effects(node: Node, *, no_execute: str, now_ns: int) -> list[Effect]:
    """The patch of spec.taints, if they differ."""
    wanted = wanted_taints(node, no_execute=no_execute, now_ns=now_ns)

    def facts(taints: Sequence[Taint]) -> list[tuple[str, str, str]]:
        return sorted((t.key, t.effect, t.value) for t in taints)

    if facts(wanted) == facts(node.spec.taints):
        return []
    meta = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version}
    patch = {"metadata": meta, "spec": {"taints": [to_json(t) for t in wanted] or None}}
    return [Patch(kinds.NODE, node.metadata.name, patch, missing_ok=True)]


def pods_not_ready(pods: Sequence[Pod], now_ns: int) -> list[Effect]:
    """The pods of a node that fell silent serve nobody: Ready turns False (MarkPodsNotReady)."""
    effects: list[Effect] = []
    now = format_time(now_ns)
    for pod in pods:
        condition = pod.condition("Ready")
        if condition is None or condition.status != "True":
            continue
        effects.append(Emit(pod, "Warning", "NodeNotReady", "Node is not ready"))
        fresh = {"type": "Ready", "status": "False", "lastTransitionTime": now}
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [fresh]}}
        effects.append(
            Patch(
                kinds.POD, meta.name, patch, meta.namespace, "status", strategic=True,
                missing_ok=True,
            )
        )  # fmt: skip
    return effects
