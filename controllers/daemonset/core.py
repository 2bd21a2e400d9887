"""DaemonSet's decisions (pure). Source: kubernetes pkg/controller/daemon.

Not modelled: ``rollingUpdate.maxSurge`` (treated as 0; an event says so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api import kinds, selectors
from podwire.api.view import JSON, to_json
from podwire.api.views import ControllerRevision, DaemonSet, Node, Pod
from podwire.client.effects import (
    Create,
    Delete,
    Effect,
    Emit,
    Patch,
    RequeueAfter,
    Together,
)
from podwire.client.placement import target_node
from podwire.controllers import history
from podwire.controllers.common import (
    BURST_REPLICAS,
    claim,
    conditions_json,
    next_available_s,
    pod_available,
    pod_words,
    scaled,
    status_patch,
)
from podwire.controllers.daemonset import nodes as placing

_SURGE = "spec.updateStrategy.rollingUpdate.maxSurge is not modelled, maxUnavailable is used"
_REQUIRED = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
)


@dataclass(frozen=True, slots=True)
class _OnNode:
    """What is and what should be on one node."""

    name: str
    pods: list[Pod]
    wanted: bool
    may_stay: bool


def reconcile(
    ds: DaemonSet,
    candidates: Sequence[Pod],
    nodes: Sequence[Node],
    revisions: Sequence[ControllerRevision],
    now_ns: int,
) -> list[Effect]:
    """One pass. ``candidates``: pods of this DaemonSet and orphans of its namespace."""
    selector = selectors.compile(ds.spec.selector)
    claimed = claim(ds, kinds.DAEMON_SET, kinds.POD, selector, candidates)
    pods: list[Pod] = claimed.items
    mine = [r for r in revisions if _owned(r, ds)]
    taken = [r.metadata.name for r in revisions if not _owned(r, ds)]
    labels = ds.spec.template.metadata.labels
    current = history.sync(ds, kinds.DAEMON_SET, mine, taken, labels)
    if current.collided:
        return [_bump_collisions(ds)]
    effects = [*claimed.effects, *current.effects]
    places = _places(ds, pods, nodes)
    if not ds.metadata.deletion_timestamp:
        work = _manage(ds, places, current.digest)
        if not work:
            work = _roll(ds, places, current.digest, now_ns)
        effects += work
        live = {pod.metadata.labels.get(history.HASH, "") for pod in pods}
        names = [r.metadata.name for r in mine if r.metadata.labels.get(history.HASH) in live]
        limit = ds.spec.revision_history_limit
        effects += history.truncate(mine, [*names, current.name], limit)
    effects = [*effects, *_status(ds, places, current.digest, now_ns)]
    wait_s = next_available_s(pods, ds.spec.min_ready_seconds, now_ns)
    return [*effects, RequeueAfter(wait_s)] if wait_s is not None else effects


def _owned(revision: ControllerRevision, ds: DaemonSet) -> bool:
    reference = revision.metadata.controller()
    return reference is not None and reference.uid == ds.metadata.uid


def _bump_collisions(ds: DaemonSet) -> Patch:
    status = {"collisionCount": ds.status.collision_count + 1}
    meta = ds.metadata
    patch = {"metadata": {"uid": meta.uid}, "status": status}
    return Patch(kinds.DAEMON_SET, meta.name, patch, meta.namespace, "status")


def _oldest_first(pods: Sequence[Pod]) -> list[Pod]:
    """Assigned before unassigned, then by age: the first one is kept."""
    return sorted(
        pods,
        key=lambda p: (not p.spec.node_name, p.metadata.creation_timestamp, p.metadata.name),
    )


def _places(ds: DaemonSet, pods: Sequence[Pod], nodes: Sequence[Node]) -> list[_OnNode]:
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        by_node.setdefault(target_node(pod.spec), []).append(pod)
    spec = placing.daemon_spec(ds)
    places = [
        _OnNode(
            node.metadata.name,
            by_node.pop(node.metadata.name, []),
            *placing.should_run(spec, node),
        )
        for node in nodes
    ]
    # Pods for nodes that are gone: what is not bound yet never will be.
    gone = [p for name in sorted(by_node) for p in by_node[name] if not p.spec.node_name]
    return [*places, *([_OnNode("", gone, False, False)] if gone else [])]


def _manage(ds: DaemonSet, places: Sequence[_OnNode], digest: str) -> list[Effect]:
    """Create what is missing, delete what is too much, failed, or misplaced."""
    missing: list[str] = []
    surplus: list[Pod] = []
    effects: list[Effect] = []
    for place in places:
        alive = [p for p in place.pods if not p.metadata.deletion_timestamp]
        if place.wanted and not place.pods:
            missing.append(place.name)
        elif not place.may_stay:
            surplus += alive
        else:
            finished = [p for p in alive if p.status.phase in {"Failed", "Succeeded"}]
            effects += [_finished(ds, pod, place.name) for pod in finished]
            running = _oldest_first([p for p in alive if p not in finished])
            surplus += [*finished, *running[1:]]
    namespace = ds.metadata.namespace
    if missing:
        words = pod_words(ds, "create")
        creations = tuple(
            Create(kinds.POD, placing.pod_body(ds, name, digest), namespace, announce=words)
            for name in missing[:BURST_REPLICAS]
        )
        effects.append(Together(creations, slow_start=True))
    if surplus:
        effects.append(_delete(ds, surplus))
    return effects


def _finished(ds: DaemonSet, pod: Pod, node: str) -> Emit:
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if pod.status.phase == "Failed":
        message = f"Found failed daemon pod {name} on node {node}, will try to kill it"
        return Emit(ds, "Warning", "FailedDaemonPod", message)
    message = f"Found succeeded daemon pod {name} on node {node}, will try to delete it"
    return Emit(ds, "Normal", "SucceededDaemonPod", message)


def _delete(ds: DaemonSet, pods: Sequence[Pod]) -> Together:
    words = pod_words(ds, "delete")
    return Together(
        tuple(
            Delete(kinds.POD, p.metadata.name, p.metadata.namespace, p.metadata.uid, announce=words)
            for p in pods[:BURST_REPLICAS]
        )
    )


def _roll(ds: DaemonSet, places: Sequence[_OnNode], digest: str, now_ns: int) -> list[Effect]:
    """Delete old pods while at most maxUnavailable nodes lack an available pod."""
    strategy: JSON = ds.spec.update_strategy
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    rolling = strategy.get("rollingUpdate") or {}
    wanted = sum(place.wanted for place in places)
    # With maxSurge users set maxUnavailable 0; an update must still get somewhere.
    allowed = max(1, scaled(rolling.get("maxUnavailable", 1), wanted, round_up=True))
    unavailable = 0
    replaceable: list[Pod] = []
    healthy: list[Pod] = []
    for place in places:
        alive = [p for p in place.pods if not p.metadata.deletion_timestamp]
        if not place.pods or not place.wanted:
            continue
        if len(alive) != 1:
            unavailable += 1
            continue
        pod = alive[0]
        available = pod_available(pod, ds.spec.min_ready_seconds, now_ns)
        unavailable += not available
        if pod.metadata.labels.get(history.HASH) != digest:
            (healthy if available else replaceable).append(pod)
    chosen = [*replaceable, *healthy[: max(0, allowed - unavailable)]]
    if not chosen:
        return []
    surge = rolling.get("maxSurge") not in {None, 0, "0%"}
    return [*([Emit(ds, "Warning", "NotModelled", _SURGE)] if surge else []), _delete(ds, chosen)]


def _status(ds: DaemonSet, places: Sequence[_OnNode], digest: str, now_ns: int) -> list[Effect]:
    numbers = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available"), 0)
    updated = 0
    for place in places:
        if not place.wanted:
            numbers["misscheduled"] += bool(place.pods and place.name)
            continue
        numbers["desired"] += 1
        if not place.pods:
            continue
        numbers["current"] += 1
        pod = _oldest_first(place.pods)[0]
        numbers["ready"] += pod.ready
        numbers["available"] += pod_available(pod, ds.spec.min_ready_seconds, now_ns)
        updated += pod.metadata.labels.get(history.HASH) == digest
    wanted = {
        "observedGeneration": ds.metadata.generation,
        "desiredNumberScheduled": numbers["desired"],
        "currentNumberScheduled": numbers["current"],
        "numberMisscheduled": numbers["misscheduled"],
        "numberReady": numbers["ready"],
        "numberAvailable": numbers["available"],
        "numberUnavailable": numbers["desired"] - numbers["available"],
        "updatedNumberScheduled": updated,
        "collisionCount": ds.status.collision_count,
        "conditions": conditions_json(ds.status.conditions),
    }
    return status_patch(kinds.DAEMON_SET, ds, to_json(ds.status), wanted, _REQUIRED)
