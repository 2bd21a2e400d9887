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


class GarbageCollector:
    """Follows owner references over all kinds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._graph = Graph()
        self._absent: OrderedDict[str, None] = OrderedDict()
        """Uids of owners known to be gone for good (uids never come back)."""
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
            self._gone(old)
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

    def _gone(self, old: Object) -> None:
        uid = old.metadata.uid
        self._graph.remove(uid)
        self._remember_absent(uid)
        for dependent in self._graph.dependents(uid):
            self.driver.add(dependent.object.metadata.uid)
        self._wake_owners(old)

    def _wake_owners(self, item: Object) -> None:
        for reference in item.metadata.owner_references:
            owner = self._graph.get(reference.uid)
            if owner is not None and owner.object.metadata.deletion_timestamp:
                self.driver.add(reference.uid)

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
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
        owners: dict[str, Object | None] = {}
        effects: list[Effect] = []
        for reference in item.object.metadata.owner_references:
            owner, complaint = await self._owner(item, reference)
            owners[reference.uid] = owner
            effects += complaint
        wanted = core.collect(item, lambda r: owners[r.uid], dependents)
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
        """The owner, asked live when no cache knows it; with a complaint if it is elsewhere."""
        uid, mine = reference.uid, item.object.metadata.namespace
        known = self._graph.get(uid)
        if known is not None:
            theirs = known.object.metadata.namespace
            if theirs in {"", mine}:
                return known.object, []
            described = (
                f"[{reference.api_version}/{reference.kind}, namespace: {mine}, "
                f"name: {reference.name}, uid: {uid}]"
            )
            message = f'ownerRef {described} does not exist in namespace "{mine}"'
            return None, [Emit(item.object, "Warning", "OwnerRefInvalidNamespace", message)]
        if uid in self._absent:
            return None, []
        kind = kinds.by_gvk(reference.api_version, reference.kind) or self._world.custom.by_gvk(
            reference.api_version, reference.kind
        )
        if kind is None:
            # A kind nobody serves (yet): it cannot be known to be gone. Keep the object.
            return Object(), []
        try:
            found = await self._world.client.get(
                kind, reference.name, mine if kind.namespaced else ""
            )
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            if found.metadata.uid == uid:
                return found, []
        self._remember_absent(uid)
        return None, []


def build(world: World) -> Driver:
    """The garbage collector."""
    return GarbageCollector(world).driver
