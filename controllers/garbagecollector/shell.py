"""The garbage collector's informers (all kinds) and queue (keys are uids).

An owner that no cache holds is asked for live before anything is deleted: a dependent may be seen
before its owner, because each kind has its own watch.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Object, OwnerReference
from podwire.client.driver import Driver
from podwire.client.effects import Delete, Effect, Emit
from podwire.controllers.garbagecollector import core
from podwire.controllers.garbagecollector.core import Item
from podwire.controllers.garbagecollector.graph import Graph
from podwire.controllers.world import World

IGNORED = (kinds.EVENT,)
"""Kinds without owners worth following (upstream's ignoredResources)."""
COLLECTED = tuple(k for k in kinds.STORED if "watch" in k.verbs and k not in IGNORED)
ABSENT_REMEMBERED = 500

_Owner = tuple[str, str, str, str, str]
"""Group, kind, namespace, name and uid: a uid alone may be claimed for what never had it."""


class GarbageCollector:
    """Follows owner references over all kinds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._graph = Graph()
        self._absent: OrderedDict[_Owner, None] = OrderedDict()
        """Owners known to be gone for good (uids never come back)."""
        self.driver = world.driver(
            "garbagecollector",
            self._reconcile,
            component="garbage-collector-controller",
            workers=5,
        )
        for kind in COLLECTED:
            self._follow(kind)
        world.custom.follow(self._follow, self._unfollow)

    def _follow(self, kind: Kind[Any]) -> None:
        self._world.informers.informer(kind).on_change(partial(self._changed, kind))

    def _unfollow(self, kind: Kind[Any]) -> None:
        """A definition went, and its objects with it."""
        self._world.informers.forget(self._world.informers.informer(kind))

    def _changed(self, kind: Kind[Any], old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._gone(kind, old)
            return
        meta = new.metadata
        self._graph.put(Item(kind, new))
        if meta.deletion_timestamp and meta.finalizers:
            if core.waits_for_dependents(new):
                for dependent in self._graph.dependents(meta.uid):
                    self.driver.add(dependent.object.metadata.uid)
            self.driver.add(meta.uid)
        changed = old is None or old.metadata.owner_references != meta.owner_references
        if changed and meta.owner_references:
            self.driver.add(meta.uid)
            self._wake_owners(new)
        if changed and old is not None:
            self._wake_owners(old)  # a dependent that let go may unblock its old owner

    def _gone(self, kind: Kind[Any], old: Object) -> None:
        meta, uid = old.metadata, old.metadata.uid
        self._graph.remove(uid)
        self._remember_absent((kind.group, kind.kind, meta.namespace, meta.name, uid))
        for dependent in self._graph.dependents(uid):
            self.driver.add(dependent.object.metadata.uid)
        self._wake_owners(old)

    def _wake_owners(self, item: Object) -> None:
        for reference in item.metadata.owner_references:
            owner = self._graph.get(reference.uid)
            if owner is not None and owner.object.metadata.deletion_timestamp:
                self.driver.add(reference.uid)

    def _remember_absent(self, owner: _Owner) -> None:
        self._absent[owner] = None
        if len(self._absent) > ABSENT_REMEMBERED:
            self._absent.popitem(last=False)

    async def _reconcile(self, uid: str) -> list[Effect]:
        item = self._graph.get(uid)
        if item is None:
            return []
        dependents = self._graph.dependents(uid)
        if core.waits_to_orphan(item.object):
            return core.orphan(item, dependents)
        if core.waits_for_dependents(item.object):
            return core.finish_foreground(item, dependents)
        owners: dict[OwnerReference, Object | None] = {}
        effects: list[Effect] = []
        for reference in item.object.metadata.owner_references:
            owner, complaint = await self._owner(item, reference)
            owners[reference] = owner
            effects += complaint
        wanted = core.collect(item, lambda r: owners[r], dependents)
        if any(isinstance(effect, Delete) for effect in wanted) and await self._let_go(item):
            return effects
        return [*effects, *wanted]

    async def _let_go(self, item: Item) -> bool:
        """Whether an object that seems to have lost its owners is gone, or has others by now.

        Asked live: the end of an owner may be seen before the orphaning of its dependents, because
        each kind has its own watch. Source: upstream attemptToDeleteItem.
        """
        meta = item.object.metadata
        try:
            latest = await self._world.client.get(item.kind, meta.name, meta.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return True
        found = latest.metadata
        others: bool = found.owner_references != meta.owner_references
        return others or found.uid != meta.uid

    async def _owner(
        self, item: Item, reference: OwnerReference
    ) -> tuple[Object | None, list[Effect]]:
        """The owner, asked live when no cache knows it; with a complaint if it is elsewhere.

        What the reference says counts, not whose uid it names (isDangling): an owner of another
        kind or name is asked for as the reference has it. An object without a namespace cannot
        have an owner in one; nobody can look for that owner, so it is taken to be there.
        """
        uid, mine = reference.uid, item.object.metadata.namespace
        group = reference.api_version.rpartition("/")[0]
        known = self._graph.get(uid)
        if known is not None and _is(known, group, reference):
            theirs = known.object.metadata.namespace
            if theirs in {"", mine}:
                return known.object, []
            described = (
                f"[{reference.api_version}/{reference.kind}, namespace: {mine}, "
                f"name: {reference.name}, uid: {uid}]"
            )
            message = f'ownerRef {described} does not exist in namespace "{mine}"'
            complaint: list[Effect] = [
                Emit(item.object, "Warning", "OwnerRefInvalidNamespace", message)
            ]
            return (None if mine else Object()), complaint
        kind = kinds.by_gvk(reference.api_version, reference.kind) or self._world.custom.by_gvk(
            reference.api_version, reference.kind
        )
        if kind is None or (kind.namespaced and not mine):
            # A kind nobody serves (yet): it cannot be known to be gone. Keep the object.
            return Object(), []
        where = mine if kind.namespaced else ""
        owner = (group, reference.kind, where, reference.name, uid)
        if owner in self._absent:
            return None, []
        try:
            found = await self._world.client.get(kind, reference.name, where)
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            if found.metadata.uid == uid:
                return found, []
        self._remember_absent(owner)
        return None, []


def _is(item: Item, group: str, reference: OwnerReference) -> bool:
    """Whether the object is what the reference says, in whatever version."""
    told = (group, reference.kind, reference.name)
    return (item.kind.group, item.kind.kind, item.object.metadata.name) == told


def build(world: World) -> Driver:
    """The garbage collector."""
    return GarbageCollector(world).driver
