"""DaemonSet's decisions (pure). Source: kubernetes pkg/controller/daemon."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds, selectors
from podwire.api.view import to_json
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
from podwire.controllers import history
from podwire.controllers.common import (
    BURST_REPLICAS,
    claim,
    conditions_json,
    next_available_s,
    pod_available,
    pod_words,
    status_patch,
)
from podwire.controllers.daemonset import rolling
from podwire.controllers.daemonset.backoff import FailedPods
from podwire.controllers.daemonset.nodes import pod_body
from podwire.controllers.daemonset.places import (
    Place,
    ended,
    is_rolling,
    oldest_first,
    places,
    surges,
    updated,
)

_REQUIRED = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
)


def reconcile(
    ds: DaemonSet,
    candidates: Sequence[Pod],
    nodes: Sequence[Node],
    revisions: Sequence[ControllerRevision],
    now_ns: int,
    failed: FailedPods | None = None,
) -> list[Effect]:
    """One pass. ``candidates``: pods of this DaemonSet and orphans of its namespace; ``failed``
    remembers, from pass to pass, where pods fail.
    """
    if ds.metadata.deletion_timestamp:
        return []  # its history may be gone already (syncDaemonSet)
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
    found = places(ds, pods, nodes)
    failed = failed or FailedPods()
    waits = [
        wait_s
        for place in found
        if place.may_stay
        and any(pod.status.phase == "Failed" for pod in place.alive)
        and (wait_s := failed.held_s(ds, place.name, now_ns))
    ]
    work = _manage(ds, found, current.digest, now_ns, failed)
    if not work and is_rolling(ds):
        step = rolling.step(ds, found, current.digest, now_ns)
        work = _write(ds, step.create, step.delete, current.digest)
    live = {pod.metadata.labels.get(history.HASH, "") for pod in pods}
    names = [r.metadata.name for r in mine if r.metadata.labels.get(history.HASH) in live]
    limit = ds.spec.revision_history_limit
    effects += [*work, *history.truncate(mine, [*names, current.name], limit)]
    effects += _status(ds, found, current.digest, now_ns)
    ready_s = next_available_s(pods, ds.spec.min_ready_seconds, now_ns)
    waits += [ready_s] if ready_s is not None else []
    return [*effects, RequeueAfter(min(waits))] if waits else effects


def _owned(revision: ControllerRevision, ds: DaemonSet) -> bool:
    reference = revision.metadata.controller()
    return reference is not None and reference.uid == ds.metadata.uid


def _bump_collisions(ds: DaemonSet) -> Patch:
    status = {"collisionCount": ds.status.collision_count + 1}
    meta = ds.metadata
    patch = {"metadata": {"uid": meta.uid}, "status": status}
    return Patch(kinds.DAEMON_SET, meta.name, patch, meta.namespace, "status")


def _manage(
    ds: DaemonSet, found: Sequence[Place], digest: str, now_ns: int, failed: FailedPods
) -> list[Effect]:
    """Create what is missing, delete what is too much, failed, or misplaced."""
    missing: list[str] = []
    surplus: list[Pod] = []
    effects: list[Effect] = []
    surging = surges(ds)
    for place in found:
        alive = place.alive
        if place.wanted and not place.pods:
            missing.append(place.name)
        elif not place.may_stay:
            surplus += alive
        else:
            finished: list[Pod] = []
            for pod in [pod for pod in alive if ended(pod)]:
                if pod.status.phase == "Failed":
                    if failed.held_s(ds, place.name, now_ns):
                        continue
                    failed.replaced(ds, place.name, now_ns)
                effects.append(_finished(ds, pod, place.name))
                finished.append(pod)
            running = oldest_first([pod for pod in alive if not ended(pod)])
            surplus += finished
            if not surging:
                surplus += running[1:]
            elif running:
                surplus += _beside(ds, running, digest, now_ns)
            elif place.wanted:  # a pod that terminates has its successor beside it
                missing.append(place.name)
    return [*effects, *_write(ds, missing, surplus, digest)]


def _beside(ds: DaemonSet, running: Sequence[Pod], digest: str, now_ns: int) -> list[Pod]:
    """Those of a node's pods that go: one old and one new may run, until one of them serves."""
    new = [pod for pod in running if updated(pod, digest)]
    old = [pod for pod in running if not updated(pod, digest)]
    if new and old and (
        not old[0].ready or pod_available(new[0], ds.spec.min_ready_seconds, now_ns)
    ):  # fmt: skip
        return [*new[1:], *old]
    return [*new[1:], *old[1:]]


def _write(
    ds: DaemonSet, missing: Sequence[str], surplus: Sequence[Pod], digest: str
) -> list[Effect]:
    effects: list[Effect] = []
    namespace = ds.metadata.namespace
    if missing:
        words = pod_words(ds, "create")
        creations = tuple(
            Create(kinds.POD, pod_body(ds, name, digest), namespace, announce=words)
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


def _status(ds: DaemonSet, found: Sequence[Place], digest: str, now_ns: int) -> list[Effect]:
    numbers = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available"), 0)
    current = 0
    for place in found:
        if not place.wanted:
            numbers["misscheduled"] += bool(place.pods and place.name)
            continue
        numbers["desired"] += 1
        if not place.pods:
            continue
        numbers["current"] += 1
        pod = oldest_first(place.pods)[0]
        numbers["ready"] += pod.ready
        numbers["available"] += pod_available(pod, ds.spec.min_ready_seconds, now_ns)
        current += updated(pod, digest)
    wanted = {
        "observedGeneration": ds.metadata.generation,
        "desiredNumberScheduled": numbers["desired"],
        "currentNumberScheduled": numbers["current"],
        "numberMisscheduled": numbers["misscheduled"],
        "numberReady": numbers["ready"],
        "numberAvailable": numbers["available"],
        "numberUnavailable": numbers["desired"] - numbers["available"],
        "updatedNumberScheduled": current,
        "collisionCount": ds.status.collision_count,
        "conditions": conditions_json(ds.status.conditions),
    }
    return status_patch(kinds.DAEMON_SET, ds, to_json(ds.status), wanted, _REQUIRED)
