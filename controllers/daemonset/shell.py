"""DaemonSet's informers and queue."""

from __future__ import annotations

from podwire.api import kinds, selectors
from podwire.api.views import ControllerRevision, DaemonSet, Node, Pod
from podwire.client.driver import Driver, split_key
from podwire.client.effects import Effect
from podwire.controllers.common import owner_index
from podwire.controllers.daemonset import core
from podwire.controllers.daemonset.backoff import FailedPods
from podwire.controllers.owners import own_and_orphans, owner_key
from podwire.controllers.world import World


class DaemonSetController:
    """Maps pods, nodes and revisions to DaemonSets, and runs the core."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failed = FailedPods()
        self._sets = world.informers.informer(kinds.DAEMON_SET)
        self._pods = world.informers.informer(kinds.POD)
        self._nodes = world.informers.informer(kinds.NODE)
        self._revisions = world.informers.informer(kinds.CONTROLLER_REVISION)
        self._pods.add_index("owner", owner_index)
        self.driver = world.driver(
            "daemonset",
            self._reconcile,
            expect=(self._pods, self._revisions),
            component="daemonset-controller",
            workers=2,
        )
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._node_changed)
        self._revisions.on_change(self._revision_changed)

    def _set_changed(self, old: DaemonSet | None, new: DaemonSet | None) -> None:
        item = new if new is not None else old
        assert item is not None
        self.driver.add(item.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        keys = [self._owner(pod) for pod in (old, new)]
        for key in dict.fromkeys(key for key in keys if key):
            self.driver.add(key)
        if new is not None and new.metadata.controller() is None:
            for item in self._sets.list(new.metadata.namespace):
                if selectors.compile(item.spec.selector).matches(new.metadata.labels):
                    self.driver.add(item.key)

    def _owner(self, item: Pod | ControllerRevision | None) -> str:
        return owner_key(item, self._sets, kinds.DAEMON_SET)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        """Only labels, taints and existence matter for placement."""
        same = (
            old is not None
            and new is not None
            and old.metadata.labels == new.metadata.labels
            and old.spec.taints == new.spec.taints
        )
        if not same:
            for item in self._sets.list():
                self.driver.add(item.key)

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
        return core.reconcile(
            item,
            candidates,
            self._nodes.list(),
            self._revisions.list(namespace),
            self._world.now_ns(),
            self._failed,
        )


def build(world: World) -> Driver:
    """The DaemonSet controller."""
    return DaemonSetController(world).driver
