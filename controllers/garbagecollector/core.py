"""What happens to one object because of its owners (pure).

Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go (attemptToDeleteItem,
processDeletingDependentsItem, attemptToOrphan).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON, to_json
from podwire.api.views import Object, OwnerReference
from podwire.client.effects import Delete, Effect, Patch

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Item:
    """An object and its kind."""

    kind: Kind[Any]
    object: Object


OwnerState = Callable[[OwnerReference], Object | None]
"""The owner if it exists (by uid), None when it is known to be absent."""


def waits_for_dependents(item: Object) -> bool:
    """Whether the object is being deleted in the foreground."""
    return bool(item.metadata.deletion_timestamp) and FOREGROUND in item.metadata.finalizers


def waits_to_orphan(item: Object) -> bool:
    """Whether the object is being deleted and its dependents are to stay."""
    return bool(item.metadata.deletion_timestamp) and ORPHAN in item.metadata.finalizers


def collect(item: Item, owner_of: OwnerState, dependents: Sequence[Item]) -> list[Effect]:
    """What an object's own references demand: nothing, fewer references, or its deletion."""
    meta = item.object.metadata
    if not meta.owner_references or meta.deletion_timestamp:
        return []
    solid: list[OwnerReference] = []
    waiting: list[OwnerReference] = []
    for reference in meta.owner_references:
        owner = owner_of(reference)
        if owner is None:
            continue
        blocked = waits_for_dependents(owner) and reference.block_owner_deletion
        (waiting if blocked else solid).append(reference)
    if solid:
        if len(solid) == len(meta.owner_references):
            return []
        return [_set_owners(item, solid)]
    if waiting and dependents:
        # Something below waits for its own dependents: unblock us to break a possible circle.
        effects: list[Effect] = []
        if any(waits_for_dependents(d.object) for d in dependents):
            unblocked = [_unblocked(reference) for reference in meta.owner_references]
            effects.append(_patch(item, {"ownerReferences": unblocked}))
        return [*effects, _delete(item, "Foreground")]
    if ORPHAN in meta.finalizers:
        return [_delete(item, "Orphan")]
    if FOREGROUND in meta.finalizers:
        return [_delete(item, "Foreground")]
    return [_delete(item, "Background")]


def finish_foreground(item: Item, dependents: Sequence[Item]) -> list[Effect]:
    """Let an owner go once no dependent blocks it."""
    uid = item.object.metadata.uid
    if any(_blocks(dependent.object, uid) for dependent in dependents):
        return []
    return [_without_finalizer(item, FOREGROUND)]


def orphan(item: Item, dependents: Sequence[Item]) -> list[Effect]:
    """Cut the dependents loose, then let the owner go."""
    uid = item.object.metadata.uid
    cuts: list[Effect] = [
        _set_owners(d, [r for r in d.object.metadata.owner_references if r.uid != uid])
        for d in dependents
    ]
    return [*cuts, _without_finalizer(item, ORPHAN)]


def _blocks(dependent: Object, uid: str) -> bool:
    return any(r.uid == uid and r.block_owner_deletion for r in dependent.metadata.owner_references)


def _unblocked(reference: OwnerReference) -> JSON:
    return {**to_json(reference), "blockOwnerDeletion": False}


def _delete(item: Item, policy: str) -> Delete:
    meta = item.object.metadata
    return Delete(item.kind, meta.name, meta.namespace, uid=meta.uid, propagation_policy=policy)


def _set_owners(item: Item, references: Sequence[OwnerReference]) -> Patch:
    return _patch(item, {"ownerReferences": [to_json(r) for r in references] or None})


def _without_finalizer(item: Item, name: str) -> Patch:
    left = [f for f in item.object.metadata.finalizers if f != name]
    return _patch(item, {"finalizers": left or None})


def _patch(item: Item, fields: JSON) -> Patch:
    meta = item.object.metadata
    guard = {"uid": meta.uid, "resourceVersion": meta.resource_version}
    patch = {"metadata": {**guard, **fields}}
    return Patch(item.kind, meta.name, patch, meta.namespace, missing_ok=True)
