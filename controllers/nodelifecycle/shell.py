"""Node lifecycle's informers and queue (keys: the nodes, and ``MONITOR`` for all of them).

Leases only move a number; a timer wakes the monitor when it may find something.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import NS
from podwire.api.views import Lease, Node
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.nodelifecycle import core
from podwire.controllers.nodelifecycle.monitor import Monitor
from podwire.controllers.nodelifecycle.zones import Change
from podwire.controllers.world import World

LEASES = "kube-node-lease"
MONITOR = "//monitor"
"""A key that is no node's name."""


class NodeLifecycleController:
    """Watches nodes and their Leases."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes = world.informers.informer(kinds.NODE)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("node", lambda p: (p.spec.node_name,) if p.spec.node_name else ())
        self._monitor = Monitor(world.config, world.now_ns())
        self.driver = world.driver(
            "nodelifecycle", self._reconcile, component="node-controller", workers=8
        )
        self._nodes.on_change(self._node_changed)
        world.informers.informer(kinds.LEASE).on_change(self._lease_changed)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is None or new.metadata.namespace != LEASES:
            return
        renewed = old is None or old.spec.renew_time != new.spec.renew_time
        if renewed and self._nodes.by_key(new.metadata.name) is not None:
            self._monitor.heard(new.metadata.name, self._world.now_ns())

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        now_ns = self._world.now_ns()
        if new is None:
            assert old is not None
            name = old.metadata.name
            self._monitor.removed(name, now_ns)
            self._wake(now_ns)
            message = f"Node {name} event: Removing Node {name} from Controller"
            self.driver.recorder.emit(old, "Normal", "RemovingNode", message)
            return
        name = new.metadata.name
        if old is None or old.metadata.uid != new.metadata.uid:
            self._monitor.added(new, now_ns)
            message = f"Node {name} event: Registered Node {name} in Controller"
            self.driver.recorder.emit(new, "Normal", "RegisteredNode", message)
        elif _heartbeat(old) != _heartbeat(new):
            self._monitor.heard(name, now_ns)
        if old is None or _judged(old) != _judged(new):
            self._wake(now_ns)
        self.driver.add(name)

    def _wake(self, now_ns: int) -> None:
        """However many nodes changed, the next pass looks at them together."""
        self.driver.add_after(MONITOR, (self._monitor.changed(now_ns) - now_ns) / NS)

    def _reconcile(self, key: str) -> list[Effect]:
        if key == MONITOR:
            return self._watch()
        node = self._nodes.by_key(key)
        if node is None:
            return []
        now_ns = self._world.now_ns()
        monitor = self._monitor
        effects: list[Effect] = []
        if key in monitor.late:
            effects += core.mark_unknown(node, now_ns)
        if key in monitor.fallen and not node.ready:
            effects += core.pods_not_ready(self._pods.by_index("node", key), now_ns)
        grant = monitor.granted.get(key)
        no_execute = grant.key if grant is not None else ""
        return effects + core.taint_effects(node, no_execute=no_execute, now_ns=now_ns)

    def _watch(self) -> list[Effect]:
        """Let the monitor look at all nodes, if it is time, and wake it when it is again."""
        nodes = {node.metadata.name: node for node in self._nodes.list()}
        now_ns = self._world.now_ns()
        touched, change = self._monitor.step(nodes, now_ns)
        if change is not Change.NONE:
            self._world.ctx.log.info("node lifecycle", change=change.value)
        for name in touched:
            self.driver.add(name)
        next_ns = self._monitor.next_ns(nodes)
        return [] if next_ns is None else [RequeueAfter((next_ns - now_ns) / NS)]


def _heartbeat(node: Node) -> str:
    return next((c.last_heartbeat_time for c in node.status.conditions if c.type == "Ready"), "")


def _judged(node: Node) -> tuple[object, ...]:
    """What a pass looks at, heartbeats apart."""
    return core.ready_status(node), node.spec.taints, node.metadata.labels


def build(world: World) -> Driver:
    """The node lifecycle controller."""
    return NodeLifecycleController(world).driver
