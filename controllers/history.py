"""ControllerRevisions of DaemonSets and StatefulSets (pure).

Source: kubernetes pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import ControllerRevision, DaemonSet, Labels, StatefulSet
from podwire.client.effects import Create, Delete, Effect, Patch
from podwire.controllers.common import owner_json, safe_hash, template_json

HASH = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Revisions:
    """The history of one owner.

    ``digest`` labels pods of the current template; ``collided`` asks for a higher collisionCount.
    """

    name: str
    digest: str
    number: int
    effects: list[Effect]
    items: list[ControllerRevision]
    collided: bool = False


def revision_data(template: JSON) -> JSON:
    """``data`` of a ControllerRevision: a patch that restores the template."""
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: ControllerRevision) -> JSON:
    """The pod template that a revision keeps."""
    template = revision.data
    for name in ("spec", "template"):  # anybody may write a revision with any data
        template = template.get(name) if isinstance(template, dict) else None
    if not isinstance(template, dict):
        return {}
    return {name: value for name, value in template.items() if name != "$patch"}


def by_number(items: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """Oldest revision first."""
    return sorted(items, key=lambda r: (r.revision, r.metadata.creation_timestamp, r.metadata.name))


def sync(
    owner: DaemonSet | StatefulSet,
    kind: Kind[Any],
    mine: Sequence[ControllerRevision],
    taken: Collection[str],
    labels: Labels,
) -> Revisions:
    """Find or create the revision of the current template and give it the highest number."""
    data = revision_data(template_json(owner.spec.template))
    ordered = by_number(mine)
    equal = next((r for r in reversed(ordered) if r.data == data), None)
    top = ordered[-1].revision if ordered else 0
    if equal is not None:
        effects: list[Effect] = []
        number = equal.revision
        if equal.revision != top:
            number = top + 1
            meta = equal.metadata
            effects = [
                Patch(kinds.CONTROLLER_REVISION, meta.name, {"revision": number}, meta.namespace)
            ]
        digest = equal.metadata.labels.get(HASH, "")
        return Revisions(equal.metadata.name, digest, number, effects, ordered)
    digest = safe_hash(data, owner.status.collision_count)
    name = f"{owner.metadata.name}-{digest}"
    if name in taken or any(r.metadata.name == name for r in ordered):
        return Revisions(name, digest, top + 1, [], ordered, collided=True)
    body = {
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": {**labels, HASH: digest},
            "ownerReferences": [owner_json(owner, kind)],
        },
        "data": data,
        "revision": top + 1,
    }
    create = Create(kinds.CONTROLLER_REVISION, body, owner.metadata.namespace)
    return Revisions(name, digest, top + 1, [create], ordered)


def truncate(
    items: Sequence[ControllerRevision], live: Collection[str], limit: int
) -> list[Effect]:
    """Delete the oldest revisions beyond ``limit`` that neither pods nor the status name."""
    idle = [r for r in by_number(items) if r.metadata.name not in live]
    return [
        Delete(kinds.CONTROLLER_REVISION, r.metadata.name, r.metadata.namespace, uid=r.metadata.uid)
        for r in idle[: max(0, len(idle) - limit)]
    ]
