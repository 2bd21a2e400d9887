"""StatefulSet's informers and queue."""

from __future__ import annotations

from podwire.api import kinds, selectors
from podwire.api.views import ControllerRevision, Pod, StatefulSet
from podwire.client.driver import Driver, split_key
from podwire.client.effects import Effect
from podwire.controllers.common import owner_index
from podwire.controllers.owners import own_and_orphans, owner_key
from podwire.controllers.statefulset import core
from podwire.controllers.world import World


class StatefulSetController:
    """Maps pods and revisions to StatefulSets, and runs the core."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = world.informers.informer(kinds.STATEFUL_SET)
        self._pods = world.informers.informer(kinds.POD)
        self._revisions = world.informers.informer(kinds.CONTROLLER_REVISION)
        self._claims = world.informers.informer(kinds.PERSISTENT_VOLUME_CLAIM)
        self._pods.add_index("owner", owner_index)
        self.driver = world.driver(
            "statefulset",
            self._reconcile,
            expect=(self._pods, self._revisions),
            component="statefulset-controller",
            workers=5,
        )
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)
        self._revisions.on_change(self._revision_changed)

    def _set_changed(self, old: StatefulSet | None, new: StatefulSet | None) -> None:
        item = new if new is not None else old
        assert item is not None
        self.driver.add(item.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        keys = [self._owner(pod) for pod in (old, new)]
        for key in dict.fromkeys(key for key in keys if key):
            self.driver.add(key)
        pod = new if new is not None else old
        assert pod is not None
        # An orphan may be adopted; a stranger with our name, once gone, makes room.
        if pod.metadata.controller() is None or new is None:
            for item in self._sets.list(pod.metadata.namespace):
                if selectors.compile(item.spec.selector).matches(pod.metadata.labels):
                    self.driver.add(item.key)

    def _owner(self, item: Pod | ControllerRevision | None) -> str:
        return owner_key(item, self._sets, kinds.STATEFUL_SET)

    def _revision_changed(
        self, old: ControllerRevision | None, new: ControllerRevision | None
    ) -> None:
        key = self._owner(new if new is not None else old)
        if key:
            self.driver.add(key)

    def _reconcile(self, key: str) -> list[Effect]:
        item = self._sets.by_key(key)
        if item is None:
            return []
        namespace = split_key(key)[0]
        candidates = own_and_orphans(self._pods, item)
        revisions = self._revisions.list(namespace)
        claims = [claim.key for claim in self._claims.list(namespace)]
        return core.reconcile(item, candidates, revisions, self._world.now_ns(), claims)


def build(world: World) -> Driver:
    """The StatefulSet controller."""
    return StatefulSetController(world).driver
