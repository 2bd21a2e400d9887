"""The pod garbage collector's informers and queue (key: the pod).

Upstream looks at all pods every 20 s. Here the pods that may be garbage wait for the same ticks.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import NS
from podwire.api.views import Node, Pod
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.common import next_tick
from podwire.controllers.podgc import core
from podwire.controllers.world import World

_PERIOD_NS = round(core.CHECK_PERIOD_S * NS)
_ENDED = "ended pods"
"""The queue's key of ended pods as a whole: no pod's, for those have a namespace."""


class PodGarbageCollector:
    """Looks at pods whose node is unknown, and at terminating ones that nobody ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._origin_ns = world.now_ns()
        self._nodes = world.informers.informer(kinds.NODE)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("node", lambda p: (p.spec.node_name,) if p.spec.node_name else ())
        self._missing_ns: dict[str, int] = {}
        """Nodes that pods name and no cache holds, and at which tick that was noticed."""
        self._due_ns: dict[str, int] = {}
        """Terminating pods that nobody ends, and the tick at which they go."""
        self._ended: dict[str, None] = {}
        self._threshold = world.config.terminated_pod_gc_threshold
        self.driver = world.driver("podgc", self._reconcile, component="pod-garbage-collector")
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None:
            self._missing_ns.pop(new.metadata.name, None)
            if not core.is_out_of_service(new):
                return
        about = new or old
        assert about is not None, "a change has a before or an after"
        for pod in self._pods.by_index("node", about.metadata.name):
            self.driver.add(pod.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self._due_ns.pop(old.key, None)
            self._ended.pop(old.key, None)
            return
        if core.is_over(new):
            self._ended[new.key] = None
            if len(self._ended) > self._threshold > 0:
                self.driver.add(_ENDED)
        node = self._nodes.by_key(new.spec.node_name) if new.spec.node_name else None
        if core.is_lost(new, node) or (new.spec.node_name and node is None):
            self.driver.add(new.key)

    async def _reconcile(self, key: str) -> list[Effect]:
        if key == _ENDED:
            return self._too_many()
        pod = self._pods.by_key(key)
        if pod is None:
            return []
        name = pod.spec.node_name
        node = self._nodes.by_key(name) if name else None
        if name and node is None:
            return await self._orphaned(pod)
        if not core.is_lost(pod, node):
            self._due_ns.pop(key, None)
            return []
        now_ns = self._world.now_ns()
        due_ns = self._due_ns.setdefault(key, self._tick(now_ns))
        if due_ns > now_ns:
            return [RequeueAfter((due_ns - now_ns) / NS)]
        return core.remove(pod, now_ns)

    def _too_many(self) -> list[Effect]:
        """Ended pods beyond the threshold go, at a tick."""
        if len(self._ended) <= self._threshold:
            self._due_ns.pop(_ENDED, None)
            return []
        now_ns = self._world.now_ns()
        due_ns = self._due_ns.setdefault(_ENDED, self._tick(now_ns))
        if due_ns > now_ns:
            return [RequeueAfter((due_ns - now_ns) / NS)]
        del self._due_ns[_ENDED]
        found = [pod for pod in map(self._pods.by_key, self._ended) if pod is not None]
        gone = core.surplus(found, self._threshold)
        return [effect for pod in gone for effect in core.remove(pod, now_ns)]

    def _tick(self, now_ns: int) -> int:
        return next_tick(self._origin_ns, _PERIOD_NS, now_ns)

    async def _orphaned(self, pod: Pod) -> list[Effect]:
        """A node that stays missing beyond its quarantine is asked for before its pods go."""
        now_ns, name = self._world.now_ns(), pod.spec.node_name
        since_ns = self._missing_ns.setdefault(name, self._tick(now_ns))
        due_ns = since_ns + round(core.QUARANTINE_S * NS)
        if due_ns > now_ns:
            return [RequeueAfter((due_ns - now_ns) / NS)]
        try:
            await self._world.client.get(kinds.NODE, name)
        except ApiError as error:
            if error.code != 404:
                raise
            return core.remove(pod, now_ns, core.ORPHANED)
        return []


def build(world: World) -> Driver:
    """The pod garbage collector."""
    return PodGarbageCollector(world).driver
