"""Informers and queue of ReplicaSets, and of ReplicationControllers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from podwire.api import kinds, selectors
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Object, Pod, ReplicaSet
from podwire.client.driver import Driver
from podwire.client.effects import Create, Effect
from podwire.controllers.common import owner_index, pod_active
from podwire.controllers.echoes import Echoes
from podwire.controllers.owners import own_and_orphans, owner_key
from podwire.controllers.replicaset import core
from podwire.controllers.world import World


class ReplicaSetController:
    """Maps pods to the sets that care, and runs the core.

    ``shape`` makes an object of ``kind`` a ReplicaSet.
    """

    def __init__(
        self, world: World, kind: Kind[Any], component: str, shape: Callable[[Any], ReplicaSet]
    ) -> None:
        self._world = world
        self._kind = kind
        self._shape = shape
        self._sets = world.informers.informer(kind)
        self._pods = world.informers.informer(kinds.POD)
        self._failures: dict[str, tuple[str, ApiError]] = {}
        self._echoes = Echoes()
        self._memories: dict[str, core.Memory] = {}
        self._sets.add_index("owner", owner_index)
        self._pods.add_index("owner", owner_index)
        self.driver = world.driver(
            kind.singular,
            self._reconcile,
            expect=(self._pods, self._sets),
            hears_itself=True,
            on_failure=self._failed,
            component=component,
            workers=5,
        )
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and self._echoes.heard(old, new):
            return
        item = new if new is not None else old
        assert item is not None
        if new is None:
            self._echoes.forget(item.key)
        self.driver.add(item.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _counts(old) == _counts(new):
            return
        mine = [self._owner(pod) for pod in (old, new)]
        for key in dict.fromkeys(key for key in mine if key):
            self.driver.add(key)
        if new is not None and new.metadata.controller() is None:
            for item in self._sets.list(new.metadata.namespace):
                selector = selectors.compile(self._shape(item).spec.selector)
                if selector.matches(new.metadata.labels):
                    self.driver.add(item.key)

    def _owner(self, item: Pod | None) -> str:
        return owner_key(item, self._sets, self._kind)

    def _failed(self, key: str, effect: Effect, error: ApiError) -> None:
        reason = "FailedCreate" if isinstance(effect, Create) else "FailedDelete"
        if error.code not in {404, 409}:
            self._failures[key] = (reason, error)

    def _reconcile(self, key: str) -> list[Effect]:
        found = self._sets.by_key(key)
        failure = self._failures.pop(key, None)
        if found is None:
            self._memories.pop(key, None)
            return []
        item = self._shape(found)
        memory = self._memories.setdefault(key, core.Memory())
        candidates = own_and_orphans(self._pods, item)
        now_ns = self._world.now_ns()
        effects = core.reconcile(
            item, candidates, partial(self._related, item), now_ns, failure, self._kind, memory
        )
        self._echoes.told(key, item, effects)
        return effects

    def _related(self, item: ReplicaSet) -> list[Pod]:
        """Active pods of all ReplicaSets with the same owner."""
        reference = item.metadata.controller()
        family: list[Object] = (
            [item] if reference is None else [*self._sets.by_index("owner", reference.uid)]
        )
        return [
            pod
            for member in family
            for pod in self._pods.by_index("owner", member.metadata.uid)
            if pod_active(pod)
        ]


def _counts(pod: Pod) -> tuple[Any, ...]:
    """What a set's decisions depend on; the rest matters only once it scales (``ranking``)."""
    meta, ready = pod.metadata, pod.condition("Ready")
    return (
        meta.uid, meta.labels, meta.owner_references, meta.deletion_timestamp, pod.status.phase,
        ready is not None and (ready.status, ready.last_transition_time),
    )  # fmt: skip


def build(world: World) -> Driver:
    """The ReplicaSet controller."""
    return ReplicaSetController(
        world, kinds.REPLICA_SET, "replicaset-controller", lambda item: item
    ).driver


def build_replication(world: World) -> Driver:
    """The ReplicationController controller."""
    return ReplicaSetController(
        world, kinds.REPLICATION_CONTROLLER, "replication-controller", core.adapted
    ).driver
