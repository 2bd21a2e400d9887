"""Deployment's decisions (pure). Source: kubernetes pkg/controller/deployment.

One pass makes at most one step of a rollout; the ReplicaSets' own events bring the next pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podwire.api import kinds, selectors
from podwire.api.view import JSON
from podwire.api.views import Deployment, Pod, ReplicaSet
from podwire.client.effects import Announce, Create, Delete, Effect, Emit, Patch
from podwire.controllers.common import claim, conditions_json, set_condition
from podwire.controllers.deployment import progress, revisions, sizes
from podwire.controllers.deployment.revisions import DESIRED, MAXIMUM, REVISION

_FAILED = ("ReplicaSetCreateError", "Failed to create new replica set: {error}")


class Pass:
    """One pass over one Deployment; collects effects in order."""

    def __init__(
        self,
        deployment: Deployment,
        sets: Sequence[ReplicaSet],
        taken: Mapping[str, ReplicaSet],
        now_ns: int,
    ) -> None:
        self.d = deployment
        self.sets = list(sets)
        self.taken = taken
        self.now_ns = now_ns
        self.effects: list[Effect] = []
        self.conditions: list[JSON] = conditions_json(deployment.status.conditions)
        self.new = revisions.find_new(deployment, sets)
        self.old = [item for item in self.sets if item is not self.new]

    # -------------------------------------------------------- steps

    def pause_conditions(self) -> None:
        """Condition Progressing while paused and after resuming."""
        current = progress.find(self.conditions, progress.PROGRESSING)
        if not progress.has_deadline(self.d) or (
            current is not None and current.get("reason") == progress.TIMED_OUT_REASON
        ):
            return
        paused = current is not None and current.get("reason") == "DeploymentPaused"
        if self.d.spec.paused and not paused:
            words = ("DeploymentPaused", "Deployment is paused")
        elif not self.d.spec.paused and paused:
            words = ("DeploymentResumed", "Deployment is resumed")
        else:
            return
        set_condition(self.conditions, progress.progressing("Unknown", *words, self.now_ns))

    def sync_revision(self, *, create: bool) -> bool:
        """See to the new ReplicaSet and the revision numbers; whether a ReplicaSet was written."""
        number = max((revisions.revision(item) for item in self.old), default=0) + 1
        if self.new is not None:
            patch = revisions.sync_patch(self.d, self.new, number)
            if patch:
                self._patch_set(self.new, patch)
                return True
            self._deployment_revision(revisions.revision(self.new))
            if progress.has_deadline(self.d) and not progress.find(
                self.conditions, progress.PROGRESSING
            ):
                message = f'Found new replica set "{self.new.metadata.name}"'
                fresh = progress.progressing("True", "FoundNewReplicaSet", message, self.now_ns)
                set_condition(self.conditions, fresh)
            return False
        if create:
            self._create(number)
        return create

    def _create(self, number: int) -> None:
        most = self.d.spec.replicas + sizes.max_surge(self.d)
        size = sizes.new_size(self.d, self.old, 0)
        body = revisions.new_body(self.d, size, most, number)
        name = body["metadata"]["name"]
        if name in self.taken:
            # Another owner or template has the name: hash again with a higher count.
            count = self.d.status.collision_count + 1
            self._patch_status({"collisionCount": count})
            return
        done = ("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")
        announce = Announce(self.d, done if size else ("", ""), _FAILED)
        self.effects.append(
            Create(kinds.REPLICA_SET, body, self.d.metadata.namespace, announce=announce)
        )
        self._deployment_revision(number)
        if progress.has_deadline(self.d):
            message = f'Created new replica set "{name}"'
            fresh = progress.progressing("True", "NewReplicaSetCreated", message, self.now_ns)
            set_condition(self.conditions, fresh)

    def _deployment_revision(self, number: int) -> None:
        # Through /status, as upstream: written to the object, it would count its generation up.
        if self.d.metadata.annotations.get(REVISION) != str(number):
            meta = {"uid": self.d.metadata.uid, "annotations": {REVISION: str(number)}}
            self.effects.append(
                Patch(
                    kinds.DEPLOYMENT, self.d.metadata.name, {"metadata": meta},
                    self.d.metadata.namespace, subresource="status", missing_ok=True,
                )
            )  # fmt: skip

    def resize(self, wanted: sizes.Sizes) -> bool:
        """Scale ReplicaSets, and note the Deployment's size on them; whether any changed."""
        most = str(self.d.spec.replicas + sizes.max_surge(self.d))
        notes = {DESIRED: str(self.d.spec.replicas), MAXIMUM: most}
        for item in self.sets:
            size = wanted.get(item.metadata.name)
            if size is None:
                continue
            patch: JSON = {"metadata": {"annotations": notes}, "spec": {"replicas": size}}
            self._patch_set(item, patch)
            verb = "up" if size > item.spec.replicas else "down"
            message = (
                f"Scaled {verb} replica set {item.metadata.name} "
                f"from {item.spec.replicas} to {size}"
            )
            self.effects.append(Emit(self.d, "Normal", "ScalingReplicaSet", message))
        return bool(wanted)

    def note_sizes(self) -> None:
        """Bring the size annotations of active ReplicaSets up to date."""
        most = str(self.d.spec.replicas + sizes.max_surge(self.d))
        notes = {DESIRED: str(self.d.spec.replicas), MAXIMUM: most}
        for item in sizes.active(self.sets):
            if any(item.metadata.annotations.get(k) != v for k, v in notes.items()):
                self._patch_set(item, {"metadata": {"annotations": notes}})

    def clean_up(self) -> None:
        """Delete the oldest empty ReplicaSets beyond revisionHistoryLimit."""
        alive = [item for item in self.old if not item.metadata.deletion_timestamp]
        surplus = len(alive) - self.d.spec.revision_history_limit
        for item in sorted(alive, key=revisions.revision)[: max(0, surplus)]:
            settled = item.metadata.generation <= item.status.observed_generation
            if item.status.replicas or item.spec.replicas or not settled:
                continue
            meta = item.metadata
            self.effects.append(Delete(kinds.REPLICA_SET, meta.name, meta.namespace, uid=meta.uid))

    def status(self, *, rollout: bool) -> None:
        """The status patch."""
        self.effects += progress.status_effects(
            self.d, self.sets, self.new, self.conditions, self.now_ns, rollout=rollout
        )

    # -------------------------------------------------------- writes

    def _patch_set(self, item: ReplicaSet, patch: JSON) -> None:
        meta = {
            **patch.get("metadata", {}),
            "uid": item.metadata.uid,
            "resourceVersion": item.metadata.resource_version,
        }
        full = {**patch, "metadata": meta}
        self.effects.append(
            Patch(kinds.REPLICA_SET, item.metadata.name, full, item.metadata.namespace)
        )

    def _patch_status(self, status: JSON) -> None:
        patch = {"metadata": {"uid": self.d.metadata.uid}, "status": status}
        self.effects.append(
            Patch(
                kinds.DEPLOYMENT, self.d.metadata.name, patch, self.d.metadata.namespace, "status"
            )
        )


def reconcile(
    deployment: Deployment,
    candidates: Sequence[ReplicaSet],
    pods: Mapping[str, Sequence[Pod]],
    now_ns: int,
) -> list[Effect]:
    """One pass. ``candidates``: the namespace's ReplicaSets; ``pods``: by ReplicaSet uid."""
    selector = selectors.compile(deployment.spec.selector)
    claimed = claim(deployment, kinds.DEPLOYMENT, kinds.REPLICA_SET, selector, candidates)
    mine = {item.metadata.uid for item in claimed.items}
    taken = {i.metadata.name: i for i in candidates if i.metadata.uid not in mine}
    step = Pass(deployment, claimed.items, taken, now_ns)
    if deployment.metadata.deletion_timestamp:
        step.status(rollout=False)
        return step.effects
    step.pause_conditions()
    if deployment.spec.paused or sizes.is_scaling(deployment, step.sets):
        _sync(step)
    elif sizes.is_rolling(deployment):
        _roll(step)
    else:
        _recreate(step, pods)
    return [*claimed.effects, *step.effects]


def _sync(step: Pass) -> None:
    """Scale only: paused, or spec.replicas changed."""
    written = step.sync_revision(create=False)
    if not written:
        if not step.resize(sizes.scale(step.d, step.new, step.old)):
            step.note_sizes()
        if step.d.spec.paused:
            step.clean_up()
    step.status(rollout=False)


def _roll(step: Pass) -> None:
    written = step.sync_revision(create=True)
    if not written and step.new is not None:
        resized = step.resize(sizes.roll_new(step.d, step.sets, step.new))
        if not resized:
            resized = step.resize(sizes.roll_old(step.d, step.old, step.new))
        if not resized and progress.complete(step.d, _observed(step.d)):
            step.clean_up()
    step.status(rollout=True)


def _recreate(step: Pass, pods: Mapping[str, Sequence[Pod]]) -> None:
    """All old pods go before the first new one comes."""
    if step.new is not None and step.sync_revision(create=False):
        step.status(rollout=True)
        return
    shrunk = step.resize({item.metadata.name: 0 for item in sizes.active(step.old)})
    if not shrunk and not _old_pods_running(step, pods):
        if step.new is None:
            step.sync_revision(create=True)
        elif not step.resize(sizes.roll_new(step.d, step.sets, step.new)) and progress.complete(
            step.d, _observed(step.d)
        ):
            step.clean_up()
    step.status(rollout=True)


def _old_pods_running(step: Pass, pods: Mapping[str, Sequence[Pod]]) -> bool:
    new_uid = step.new.metadata.uid if step.new else ""
    return any(
        pod.status.phase not in {"Failed", "Succeeded"}
        for uid, owned in pods.items()
        if uid != new_uid
        for pod in owned
    )


def _observed(deployment: Deployment) -> JSON:
    status = deployment.status
    return {
        "updatedReplicas": status.updated_replicas,
        "replicas": status.replicas,
        "availableReplicas": status.available_replicas,
        "observedGeneration": status.observed_generation,
    }
