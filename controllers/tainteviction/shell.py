"""Taint eviction's informers and queue (key: the pod)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Node, Pod
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.client.placement import NO_EXECUTE
from podwire.controllers.tainteviction import core
from podwire.controllers.world import World


class TaintEvictionController:
    """Looks at pods on nodes with NoExecute taints."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes = world.informers.informer(kinds.NODE)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("node", lambda p: (p.spec.node_name,) if p.spec.node_name else ())
        self._due_ns: dict[str, tuple[str, int]] = {}
        """Pods (uid) with a deadline. It stays when another taint takes the place of the first
        (not-ready, unreachable), and is told when it is called off."""
        self.driver = world.driver(
            "tainteviction",
            self._reconcile,
            component="taint-eviction-controller",
            workers=8,
        )
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or _no_execute(old) == _no_execute(new):
            return
        for pod in self._pods.by_index("node", new.metadata.name):
            self.driver.add(pod.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self._due_ns.pop(old.key, None)
            return
        bound = old is None or old.spec.node_name != new.spec.node_name
        if not new.spec.node_name or not (bound or old is None or _differs(old, new)):
            return
        if _no_execute(self._nodes.by_key(new.spec.node_name)):
            self.driver.add(new.key)

    def _reconcile(self, key: str) -> list[Effect]:
        pod = self._pods.by_key(key)
        if pod is None or not pod.spec.node_name or pod.metadata.deletion_timestamp:
            return []
        node = self._nodes.by_key(pod.spec.node_name)
        now_ns = self._world.now_ns()
        due_ns = core.due_ns(pod, node, now_ns) if node is not None else core.FOREVER
        before = self._due_ns.pop(key, None)
        if before is not None and before[0] != pod.metadata.uid:
            before = None
        if due_ns is None:
            if before is not None:
                message = f"Cancelling deletion of Pod {key}"
                self.driver.recorder.emit(pod, "Normal", "TaintManagerEviction", message)
            return []
        if before is not None:
            due_ns = min(due_ns, before[1])
        self._due_ns[key] = (pod.metadata.uid, due_ns)
        return core.reconcile(pod, due_ns, now_ns)


def _no_execute(node: Node | None) -> list[tuple[str, str, str]]:
    taints = node.spec.taints if node is not None else []
    return [(t.key, t.value, t.time_added) for t in taints if t.effect == NO_EXECUTE]


def _differs(old: Pod, new: Pod) -> bool:
    return old.spec.tolerations != new.spec.tolerations


def build(world: World) -> Driver:
    """The taint eviction controller."""
    return TaintEvictionController(world).driver
