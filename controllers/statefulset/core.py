"""StatefulSet's decisions (pure). Source: kubernetes pkg/controller/statefulset.

OrderedReady makes one step per pass and waits for it to show; Parallel makes all at once.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from podwire.api import kinds, selectors
from podwire.api.view import JSON, to_json
from podwire.api.views import ControllerRevision, Pod, StatefulSet
from podwire.client.effects import Announce, Create, Delete, Effect, Patch, RequeueAfter
from podwire.controllers import history
from podwire.controllers.common import (
    claim,
    conditions_json,
    next_available_s,
    pod_available,
    scaled,
    status_patch,
    template_json,
)
from podwire.controllers.history import HASH, Revisions, template_of
from podwire.controllers.statefulset.identity import (
    claim_bodies,
    ordinal,
    pod_body,
    retention,
    start,
)

_ENDED = ("Failed", "Succeeded")


@dataclass(slots=True)
class _Set:
    """One pass over one StatefulSet."""

    sts: StatefulSet
    pods: dict[int, Pod]
    current: str
    """Name of the revision that unpartitioned, untouched pods have."""
    update: str
    templates: Mapping[str, JSON]
    now_ns: int
    claims: Container[str]
    """The keys of the claims that are there."""
    updated: int = 0
    """Pods that this pass deletes because they are outdated."""

    @property
    def ordered(self) -> bool:
        return self.sts.spec.pod_management_policy != "Parallel"

    @property
    def wanted(self) -> range:
        first = start(self.sts)
        return range(first, first + self.sts.spec.replicas)

    @property
    def strategy(self) -> JSON:
        return self.sts.spec.update_strategy

    @property
    def rolling(self) -> bool:
        return bool(self.strategy.get("type", "RollingUpdate") == "RollingUpdate")

    @property
    def partition(self) -> int:
        return int((self.strategy.get("rollingUpdate") or {}).get("partition") or 0)

    def revision_of(self, number: int) -> str:
        """The revision a pod created now gets (newVersionedStatefulSetPod)."""
        if not self.rolling or self.current == self.update:
            return self.update
        first = start(self.sts)
        if self.strategy.get("rollingUpdate") is None:
            keeps = number < first + self.sts.status.current_replicas
        else:
            keeps = number < first + self.partition
        return self.current if keeps else self.update

    def create(self, number: int) -> list[Effect]:
        """The pod, and before it the claims that are not there yet."""
        revision = self.revision_of(number)
        template = self.templates.get(revision) or self.templates[self.update]
        body = pod_body(self.sts, number, template, revision)
        namespace = self.sts.metadata.namespace
        pod = Create(kinds.POD, body, namespace, announce=_words(self.sts, "create", body))
        claims = [
            Create(kinds.PERSISTENT_VOLUME_CLAIM, claim, namespace, exists_ok=True,
                   announce=_claim_words(self.sts, body, claim))
            for claim in claim_bodies(self.sts, number)
            if f"{namespace}/{claim['metadata']['name']}" not in self.claims
        ]  # fmt: skip
        return [*claims, pod]

    def scale_down(self, pod: Pod) -> list[Effect]:
        """Delete a condemned pod; its claims become its own if they are to go with it."""
        effects: list[Effect] = []
        meta = pod.metadata
        if retention(self.sts, "whenScaled") == "Delete":
            owner = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
            for claim in claim_bodies(self.sts, ordinal(self.sts.metadata.name, pod)):
                patch = {"metadata": {"ownerReferences": [owner]}}
                name = claim["metadata"]["name"]
                kind = kinds.PERSISTENT_VOLUME_CLAIM
                effects.append(Patch(kind, name, patch, meta.namespace, missing_ok=True))
        return [*effects, self.delete(pod)]

    def delete(self, pod: Pod) -> Delete:
        meta = pod.metadata
        words = _words(self.sts, "delete", {"metadata": {"name": meta.name}})
        return Delete(kinds.POD, meta.name, meta.namespace, uid=meta.uid, announce=words)

    def available(self, pod: Pod) -> bool:
        """Running, Ready for long enough, and not going away."""
        return _healthy(pod) and pod_available(pod, self.sts.spec.min_ready_seconds, self.now_ns)


def _words(sts: StatefulSet, verb: str, body: JSON) -> Announce:
    title = verb.capitalize()
    what = f"{verb} Pod {body['metadata']['name']} in StatefulSet {sts.metadata.name}"
    return Announce(
        sts,
        (f"Successful{title}", f"{what} successful"),
        (f"Failed{title}", f"{what} failed error: {{error}}"),
    )


def _claim_words(sts: StatefulSet, pod: JSON, claim: JSON) -> Announce:
    what = (
        f"create Claim {claim['metadata']['name']} Pod {pod['metadata']['name']} in "
        f"StatefulSet {sts.metadata.name}"
    )
    return Announce(
        sts,
        ("SuccessfulCreate", f"{what} success"),
        ("FailedCreate", f"{what} failed error: {{error}}"),
    )


def _healthy(pod: Pod) -> bool:
    """Running, Ready, and not going away."""
    return pod.status.phase == "Running" and pod.ready and not pod.metadata.deletion_timestamp


def reconcile(
    sts: StatefulSet,
    candidates: Sequence[Pod],
    revisions: Sequence[ControllerRevision],
    now_ns: int,
    claims: Container[str] = (),
) -> list[Effect]:
    """One pass. ``candidates``: pods of this StatefulSet and orphans of its namespace."""
    selector = selectors.compile(sts.spec.selector)
    named = [pod for pod in candidates if ordinal(sts.metadata.name, pod) >= 0]
    claimed = claim(sts, kinds.STATEFUL_SET, kinds.POD, selector, named)
    mine = [r for r in revisions if (c := r.metadata.controller()) and c.uid == sts.metadata.uid]
    taken = [r.metadata.name for r in revisions if r not in mine]
    labels = sts.spec.template.metadata.labels
    update = history.sync(sts, kinds.STATEFUL_SET, mine, taken, labels)
    if update.collided:
        status = {"collisionCount": sts.status.collision_count + 1}
        return [_status_write(sts, status)]
    pods = {ordinal(sts.metadata.name, pod): pod for pod in claimed.items}
    step = _Set(
        sts, pods, _current(sts, mine, update), update.name, _templates(sts, mine, update), now_ns,
        claims,
    )  # fmt: skip
    moves = [] if sts.metadata.deletion_timestamp else _advance(step)
    effects = [*claimed.effects, *update.effects, *_status(step), *moves]
    if not sts.metadata.deletion_timestamp:
        live = [
            step.current,
            step.update,
            *(p.metadata.labels.get(HASH, "") for p in pods.values()),
        ]
        effects += history.truncate(mine, live, sts.spec.revision_history_limit)
    wait_s = next_available_s(pods.values(), sts.spec.min_ready_seconds, now_ns)
    return [*effects, RequeueAfter(wait_s)] if wait_s is not None else effects


def _current(sts: StatefulSet, mine: Sequence[ControllerRevision], update: Revisions) -> str:
    named = sts.status.current_revision
    return named if any(r.metadata.name == named for r in mine) else update.name


def _templates(
    sts: StatefulSet, mine: Sequence[ControllerRevision], update: Revisions
) -> dict[str, JSON]:
    templates = {r.metadata.name: template_of(r) for r in mine}
    templates[update.name] = template_json(sts.spec.template)
    return templates


def _advance(step: _Set) -> list[Effect]:
    """Create, wait, condemn, update: in this order (updateStatefulSet)."""
    effects: list[Effect] = []
    condemned = sorted((n for n in step.pods if n not in step.wanted), reverse=True)
    for number in step.wanted:
        pod = step.pods.get(number)
        if pod is None:
            effects += step.create(number)
            if step.ordered:
                return effects
        elif pod.metadata.deletion_timestamp:
            if step.ordered:
                return effects
        elif pod.status.phase in _ENDED:
            effects.append(step.delete(pod))
            if step.ordered:
                return effects
        elif step.ordered and not step.available(pod):
            return effects
    first = _first_unavailable(step)
    for number in condemned:
        pod = step.pods[number]
        if pod.metadata.deletion_timestamp:
            if step.ordered:
                return effects
            continue
        if step.ordered and not step.available(pod) and pod is not first:
            return effects
        effects += step.scale_down(pod)
        if step.ordered:
            return effects
    return [*effects, *_update(step)]


def _first_unavailable(step: _Set) -> Pod | None:
    """The unavailable pod that is looked at first; it may be condemned although unavailable."""
    numbers = sorted(step.pods, key=lambda n: (n not in step.wanted, n))
    return next((step.pods[n] for n in numbers if not step.available(step.pods[n])), None)


def _update(step: _Set) -> list[Effect]:
    """Delete outdated pods from the highest ordinal down to the partition, as many at a time as
    maxUnavailable leaves (updateStatefulSetAfterInvariantEstablished).

    Parallel takes those that are unavailable anyhow first, and whatever their number.
    """
    if not step.rolling:
        return []
    rolling = step.strategy.get("rollingUpdate") or {}
    most = max(1, scaled(rolling.get("maxUnavailable") or 1, len(step.wanted), round_up=False))
    there = [step.pods[n] for n in reversed(step.wanted) if n in step.pods]
    left = most - (len(step.wanted) - sum(map(step.available, there)))
    first = start(step.sts) + step.partition
    outdated = [
        step.pods[n]
        for n in reversed(step.wanted)
        if n in step.pods and n >= first and _outdated(step, step.pods[n])
    ]
    if step.ordered:
        chosen = outdated[: max(0, left)]
    else:
        chosen = [pod for pod in outdated if not step.available(pod)]
        chosen += [pod for pod in outdated if step.available(pod)][: max(0, left)]
    step.updated = len(chosen)
    return [step.delete(pod) for pod in chosen if pod.status.phase not in _ENDED]


def _outdated(step: _Set, pod: Pod) -> bool:
    return pod.metadata.labels.get(HASH) != step.update and not pod.metadata.deletion_timestamp


def _status(step: _Set) -> list[Effect]:
    sts = step.sts
    pods = [step.pods[n] for n in sorted(step.pods)]
    alive = [p for p in pods if not p.metadata.deletion_timestamp]
    ready = [p for p in pods if p.status.phase == "Running" and p.ready]
    min_ready_s = sts.spec.min_ready_seconds
    numbers: JSON = {
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(pod_available(p, min_ready_s, step.now_ns) for p in ready),
        "currentReplicas": sum(p.metadata.labels.get(HASH) == step.current for p in alive),
        "updatedReplicas": sum(p.metadata.labels.get(HASH) == step.update for p in alive),
    }
    current = step.current
    replicas = sts.spec.replicas
    finished = all(numbers[n] == replicas for n in ("updatedReplicas", "readyReplicas", "replicas"))
    numbers["currentReplicas"] = max(0, numbers["currentReplicas"] - step.updated)
    if finished:
        numbers["currentReplicas"] = numbers["updatedReplicas"]
        current = step.update
    wanted = {
        **numbers,
        "observedGeneration": sts.metadata.generation,
        "currentRevision": current,
        "updateRevision": step.update,
        "collisionCount": sts.status.collision_count,
        "conditions": conditions_json(sts.status.conditions),
    }
    required = ("replicas", "availableReplicas")
    return status_patch(kinds.STATEFUL_SET, sts, to_json(sts.status), wanted, required)


def _status_write(sts: StatefulSet, status: JSON) -> Patch:
    meta = sts.metadata
    patch = {"metadata": {"uid": meta.uid}, "status": status}
    return Patch(kinds.STATEFUL_SET, meta.name, patch, meta.namespace, "status")
