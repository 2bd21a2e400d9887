"""Which ReplicaSet is which: the new one, the old ones, their revisions and annotations (pure).

Source: kubernetes pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.api.views import Deployment, ReplicaSet
from podwire.controllers.common import LAST_APPLIED, owner_json, safe_hash, template_json

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = (
    LAST_APPLIED,
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
)


def by_age(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Oldest first; names decide ties."""
    return sorted(sets, key=lambda s: (s.metadata.creation_timestamp, s.metadata.name))


def revision(item: ReplicaSet) -> int:
    """The revision annotation, 0 without."""
    text = item.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def same_template(item: ReplicaSet, wanted: JSON) -> bool:
    """Whether a ReplicaSet was made from this pod template (pod-template-hash aside)."""
    template = template_json(item.spec.template)
    labels = {k: v for k, v in template["metadata"].get("labels", {}).items() if k != HASH}
    meta = {**template["metadata"], "labels": labels}
    return {**template, "metadata": {k: v for k, v in meta.items() if v}} == wanted


def find_new(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the current template: the oldest, should there be several."""
    wanted = template_json(deployment.spec.template)
    return next((item for item in by_age(sets) if same_template(item, wanted)), None)


def new_body(deployment: Deployment, replicas: int, max_replicas: int, number: int) -> JSON:
    """The ReplicaSet to create for the current template."""
    template = template_json(deployment.spec.template)
    digest = safe_hash(template, deployment.status.collision_count)
    meta = template["metadata"]
    labels = {**meta.get("labels", {}), HASH: digest}
    selector = to_json(deployment.spec.selector)
    selector["matchLabels"] = {**selector.get("matchLabels", {}), HASH: digest}
    return {
        "metadata": {
            "name": f"{deployment.metadata.name}-{digest}",
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": {
                **copied_annotations(deployment),
                REVISION: str(number),
                DESIRED: str(deployment.spec.replicas),
                MAXIMUM: str(max_replicas),
            },
            "ownerReferences": [owner_json(deployment, kinds.DEPLOYMENT)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": selector,
            "template": {**template, "metadata": {**meta, "labels": labels}},
        },
    }


def copied_annotations(deployment: Deployment) -> dict[str, str]:
    """The annotations a ReplicaSet takes over from its Deployment."""
    return {k: v for k, v in deployment.metadata.annotations.items() if k not in _NOT_COPIED}


def sync_patch(deployment: Deployment, new: ReplicaSet, number: int) -> JSON:
    """What an existing new ReplicaSet lacks: copied annotations, revision, minReadySeconds."""
    have = new.metadata.annotations
    annotations = {k: v for k, v in copied_annotations(deployment).items() if have.get(k) != v}
    current = revision(new)
    if current < number:
        annotations[REVISION] = str(number)
        if current:
            past = have.get(HISTORY, "")
            annotations[HISTORY] = f"{past},{current}" if past else str(current)
    patch: JSON = {}
    if annotations:
        patch["metadata"] = {"annotations": annotations}
    if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
        patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
    return patch
