"""The pod garbage collector's informers and queue (key: the pod)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import NS
from podwire.api.views import Node, Pod
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.podgc import core
from podwire.controllers.world import World


class PodGarbageCollector:
    """Looks at pods whose node is unknown."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes = world.informers.informer(kinds.NODE)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("node", lambda p: (p.spec.node_name,) if p.spec.node_name else ())
        self._missing_ns: dict[str, int] = {}
        """Nodes that pods name and no cache holds, and since when."""
        self.driver = world.driver("podgc", self._reconcile, component="pod-garbage-collector")
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None:
            self._missing_ns.pop(new.metadata.name, None)
            return
        assert old is not None
        for pod in self._pods.by_index("node", old.metadata.name):
            self.driver.add(pod.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name or (old is not None and old.spec.node_name):
            return
        if self._nodes.by_key(new.spec.node_name) is None:
            self.driver.add(new.key)

    async def _reconcile(self, key: str) -> list[Effect]:
        pod = self._pods.by_key(key)
        if pod is None or self._nodes.by_key(pod.spec.node_name) is not None:
            return []
        now_ns = self._world.now_ns()
        since_ns = self._missing_ns.setdefault(pod.spec.node_name, now_ns)
        left_s = core.QUARANTINE_S - (now_ns - since_ns) / NS
        if left_s > 0:
            return [RequeueAfter(left_s)]
        try:
            await self._world.client.get(kinds.NODE, pod.spec.node_name)
        except ApiError as error:
            if error.code != 404:
                raise
            return core.orphaned(pod, now_ns)
        return []


def build(world: World) -> Driver:
    """The pod garbage collector."""
    return PodGarbageCollector(world).driver
