"""ResourceQuota's queue: what a quota bounds is counted anew when such an object comes or goes."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object, ResourceQuota
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.resourcequota import core
from podwire.controllers.world import World

BATCH_S = 0.1
"""Counts that objects cause are not closer together than this."""


class QuotaController:
    """Counts whole objects, which it asks the API for: its caches hold views only."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quotas = world.informers.informer(kinds.RESOURCE_QUOTA)
        self.driver = world.driver(
            "resourcequota", self._reconcile, expect=(self._quotas,), workers=5
        )
        self._quotas.on_change(self._quota_changed)
        for kind in core.COUNTABLE:
            if "watch" in kind.verbs and kind is not kinds.EVENT:
                self._follow(kind)
        world.custom.follow(self._follow, self._recount)

    def _follow(self, kind: Kind[Any]) -> None:
        if kind.namespaced:
            self._world.informers.informer(kind).on_change(partial(self._changed, kind))

    def _recount(self, kind: Kind[Any]) -> None:
        """Objects went with their definition."""
        for quota in self._quotas.list():
            if core.concerns(quota, kind):
                self.driver.add(quota.key)

    def _quota_changed(self, _: ResourceQuota | None, new: ResourceQuota | None) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _changed(self, kind: Kind[Any], old: Object | None, new: Object | None) -> None:
        about = new if new is not None else old
        assert about is not None
        found = self._quotas.list(about.metadata.namespace)
        if found and core.matters(kind, old, new):
            for quota in found:
                if core.concerns(quota, kind):
                    self.driver.add_after(quota.key, BATCH_S)

    async def _reconcile(self, key: str) -> list[Effect]:
        quota = self._quotas.by_key(key)
        if quota is None or quota.metadata.deletion_timestamp:
            return []
        objects: list[tuple[Kind[Any], JSON]] = []
        for kind in (*core.COUNTABLE, *self._world.custom.all()):
            if core.concerns(quota, kind):
                answer = await self._world.client.send("GET", kind.path(quota.metadata.namespace))
                objects += [(kind, item) for item in msgspec.json.decode(answer.body)["items"]]
        return core.reconcile(quota, core.used(quota, objects, self._world.now_ns()))


def build(world: World) -> Driver:
    """The ResourceQuota controller."""
    return QuotaController(world).driver
