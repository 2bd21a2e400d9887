"""ReplicaSet's decisions (pure). Source: kubernetes pkg/controller/replicaset.

They are the ReplicationController's too (``adapted``), as upstream's pkg/controller/replication
wraps them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from podwire.api import kinds, selectors
from podwire.api.kinds import Kind
from podwire.api.selectors import Selector
from podwire.api.status import ApiError
from podwire.api.view import JSON, to_json
from podwire.api.views import LabelSelector, Pod, ReplicaSet, ReplicationController
from podwire.api.views.workloads import ReplicaSetSpec
from podwire.client.effects import Create, Delete, Effect, RequeueAfter, Together
from podwire.controllers.common import (
    BURST_REPLICAS,
    claim,
    condition_json,
    conditions_json,
    next_available_s,
    pod_active,
    pod_available,
    pod_from_template,
    pod_words,
    set_condition,
    status_patch,
    template_json,
)
from podwire.controllers.replicaset.ranking import to_delete


def adapted(rc: ReplicationController) -> ReplicaSet:
    """A ReplicationController in the shape that decisions are made on; it keeps its kind."""
    spec, kind = rc.spec, kinds.REPLICATION_CONTROLLER
    return ReplicaSet(
        api_version=kind.api_version,
        kind=kind.kind,
        metadata=rc.metadata,
        spec=ReplicaSetSpec(
            replicas=spec.replicas,
            selector=LabelSelector(match_labels=spec.selector),
            template=spec.template,
            min_ready_seconds=spec.min_ready_seconds,
        ),
        status=rc.status,
    )


class Judged(NamedTuple):
    """What a pod is to a set."""

    pod: Pod
    alive: bool
    mine: bool
    """It is owned by the set, and selected."""
    ready: bool
    labelled: bool
    """It has all labels of the template."""
    leaving: bool
    """It is the set's own and terminates (controller.IsPodTerminating)."""


class Memory:
    """What the latest pass over a set found of its pods: most are the same in the next one."""

    def __init__(self) -> None:
        self._of: tuple[str, int] = ("", 0)
        self._judged: dict[str, Judged] = {}

    def judge(self, rs: ReplicaSet, selector: Selector, pods: Sequence[Pod]) -> list[Judged]:
        """Each pod as it is now; one that did not change is not looked at, nor are those of a set
        of the same generation.
        """
        of = rs.metadata.uid, rs.metadata.generation
        known = self._judged if of == self._of and of[1] else {}
        judged: dict[str, Judged] = {}
        for pod in pods:
            uid = pod.metadata.uid
            found = known.get(uid)
            if found is None or found.pod is not pod:
                found = _judge(rs, selector, pod)
            judged[uid] = found
        self._of, self._judged = of, judged
        return list(judged.values())


def _judge(rs: ReplicaSet, selector: Selector, pod: Pod) -> Judged:
    meta = pod.metadata
    owner = meta.controller()
    own = owner is not None and owner.uid == rs.metadata.uid
    ended = pod.status.phase in {"Succeeded", "Failed"}
    return Judged(
        pod,
        alive=pod_active(pod),
        mine=own and selector.matches(meta.labels),
        ready=pod.ready,
        labelled=rs.spec.template.metadata.labels.items() <= meta.labels.items(),
        leaving=own and bool(meta.deletion_timestamp) and not ended,
    )


def reconcile(
    rs: ReplicaSet,
    candidates: Sequence[Pod],
    related: Callable[[], Sequence[Pod]],
    now_ns: int,
    failure: tuple[str, ApiError] | None = None,
    kind: Kind[Any] = kinds.REPLICA_SET,
    memory: Memory | None = None,
) -> list[Effect]:
    """One pass. ``candidates``: pods owned by this ReplicaSet and orphans of its namespace.

    ``related``: asked for the active pods of all ReplicaSets with the same owner, if pods must go.
    ``failure``: (reason, error) of the previous pass' refused request; it becomes condition
    ReplicaFailure.
    """
    selector = selectors.compile(rs.spec.selector)
    judged = (memory or Memory()).judge(rs, selector, candidates)
    alive = [found for found in judged if found.alive]
    claims: list[Effect] = []
    if not all(found.mine for found in alive):
        claimed = claim(rs, kind, kinds.POD, selector, [found.pod for found in alive])
        claims = claimed.effects
        uids = {pod.metadata.uid for pod in claimed.items}
        alive = [found for found in alive if found.pod.metadata.uid in uids]
    pods = [found.pod for found in alive]
    leaving = sum(found.leaving for found in judged) if len(alive) != len(judged) else 0
    status = _status(rs, kind, alive, leaving, now_ns, failure)
    scale = [] if rs.metadata.deletion_timestamp else _scale(rs, kind, pods, related, now_ns)
    # Pods first: a Deployment that shrank this ReplicaSet lets another grow meanwhile. But what
    # was refused is told before it is tried again.
    work = [*scale, *status] if failure is None else [*status, *scale]
    effects = [*claims, *work]
    wait_s = next_available_s(pods, rs.spec.min_ready_seconds, now_ns)
    if wait_s is not None:
        effects.append(RequeueAfter(wait_s))
    return effects


def _scale(
    rs: ReplicaSet,
    kind: Kind[Any],
    pods: Sequence[Pod],
    related: Callable[[], Sequence[Pod]],
    now_ns: int,
) -> list[Effect]:
    missing = rs.spec.replicas - len(pods)
    namespace = rs.metadata.namespace
    if missing > 0:
        body = pod_from_template(template_json(rs.spec.template), rs, kind)
        words = pod_words(rs, "create")
        create = Create(kinds.POD, body, namespace, announce=words)
        return [Together((create,) * min(missing, BURST_REPLICAS), slow_start=True)]
    if missing < 0:
        words = pod_words(rs, "delete")
        count = min(-missing, BURST_REPLICAS)
        return [
            Together(
                tuple(
                    Delete(
                        kinds.POD, pod.metadata.name, namespace, pod.metadata.uid, announce=words
                    )
                    for pod in to_delete(pods, related(), count, now_ns)
                )
            )
        ]
    return []


def _status(
    rs: ReplicaSet,
    kind: Kind[Any],
    pods: Sequence[Judged],
    leaving: int,
    now_ns: int,
    failure: tuple[str, ApiError] | None,
) -> list[Effect]:
    ready = [found.pod for found in pods if found.ready]
    min_ready_s, available = rs.spec.min_ready_seconds, len(ready)
    if min_ready_s:
        available = sum(pod_available(pod, min_ready_s, now_ns) for pod in ready)
    conditions = conditions_json(rs.status.conditions)
    if failure is None:
        conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
    elif not any(c["type"] == "ReplicaFailure" for c in conditions):
        reason, error = failure
        set_condition(
            conditions, condition_json("ReplicaFailure", "True", reason, error.message, now_ns)
        )
    wanted: JSON = {
        "replicas": len(pods),
        "fullyLabeledReplicas": sum([found.labelled for found in pods]),
        "readyReplicas": len(ready),
        "availableReplicas": available,
        "observedGeneration": rs.metadata.generation,
        "conditions": conditions,
    }
    required: tuple[str, ...] = ("replicas",)
    if kind is kinds.REPLICA_SET:
        wanted["terminatingReplicas"] = leaving
        required = ("replicas", "terminatingReplicas")
    return status_patch(kind, rs, to_json(rs.status), wanted, required)
