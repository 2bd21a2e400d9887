"""Deployment's informers and queue."""

from __future__ import annotations

from podwire.api import kinds, selectors
from podwire.api.views import Deployment, Pod, ReplicaSet
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.common import owned_by_kind, owner_index
from podwire.controllers.deployment import core, progress
from podwire.controllers.echoes import Echoes
from podwire.controllers.owners import owner_key
from podwire.controllers.world import World


class DeploymentController:
    """Maps ReplicaSets (and, for Recreate, pods) to Deployments, and runs the core."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._deployments = world.informers.informer(kinds.DEPLOYMENT)
        self._sets = world.informers.informer(kinds.REPLICA_SET)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("owner", owner_index)
        self._echoes = Echoes()
        self.driver = world.driver(
            "deployment",
            self._reconcile,
            expect=(self._sets, self._deployments),
            hears_itself=True,
            component="deployment-controller",
            workers=5,
        )
        self._deployments.on_change(self._deployment_changed)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    def _deployment_changed(self, old: Deployment | None, new: Deployment | None) -> None:
        if old is not None and new is not None and self._echoes.heard(old, new):
            return
        item = new if new is not None else old
        assert item is not None
        if new is None:
            self._echoes.forget(item.key)
        self.driver.add(item.key)

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        keys = [self._owner(item) for item in (old, new)]
        for key in dict.fromkeys(key for key in keys if key):
            self.driver.add(key)
        if new is not None and new.metadata.controller() is None:
            for item in self._deployments.list(new.metadata.namespace):
                if selectors.compile(item.spec.selector).matches(new.metadata.labels):
                    self.driver.add(item.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """The last old pod's end lets a Recreate go on."""
        if new is not None or old is None:
            return
        reference = owned_by_kind(old, kinds.REPLICA_SET)
        if reference is None:
            return
        key = self._owner(self._sets.get(old.metadata.namespace, reference.name))
        item = self._deployments.by_key(key)
        if item is not None and item.spec.strategy.type == "Recreate":
            self.driver.add(key)

    def _owner(self, item: ReplicaSet | None) -> str:
        return owner_key(item, self._deployments, kinds.DEPLOYMENT)

    def _reconcile(self, key: str) -> list[Effect]:
        item = self._deployments.by_key(key)
        if item is None:
            return []
        sets = self._sets.list(item.metadata.namespace)
        pods: dict[str, list[Pod]] = {}
        if item.spec.strategy.type == "Recreate":
            uid = item.metadata.uid
            mine = [s.metadata.uid for s in sets if (c := s.metadata.controller()) and c.uid == uid]
            pods = {uid: self._pods.by_index("owner", uid) for uid in mine}
        effects = core.reconcile(item, sets, pods, self._world.now_ns())
        told = self._echoes.told(key, item, effects)
        if told is not None and progress.complete(item, told):
            self._echoes.forget(key)  # the next pass deletes what history need not hold
        return effects


def build(world: World) -> Driver:
    """The Deployment controller."""
    return DeploymentController(world).driver
