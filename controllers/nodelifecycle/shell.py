"""Node lifecycle's informers and queue (key: the node).

Leases only move a number; a timer per node fires at the end of its grace period.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import NS
from podwire.api.views import Lease, Node
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.nodelifecycle import core
from podwire.controllers.nodelifecycle.core import Health
from podwire.controllers.world import World

LEASES = "kube-node-lease"


class NodeLifecycleController:
    """Watches nodes and their Leases."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._config = world.config
        self._nodes = world.informers.informer(kinds.NODE)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("node", lambda p: (p.spec.node_name,) if p.spec.node_name else ())
        self._health: dict[str, Health] = {}
        self._fallen: dict[str, None] = {}
        """Nodes that were Ready and are not: only their pods are marked (a node that is still
        coming up has pods which its kubelet speaks for)."""
        self._unhealthy_ns: dict[str, int] = {}
        """Since when (own clock) a node has not been Ready; for the first NoExecute taint."""
        self.driver = world.driver(
            "nodelifecycle", self._reconcile, component="node-controller", workers=8
        )
        self._nodes.on_change(self._node_changed)
        world.informers.informer(kinds.LEASE).on_change(self._lease_changed)

    def _lease_changed(self, _: Lease | None, new: Lease | None) -> None:
        if new is not None and new.metadata.namespace == LEASES:
            self._heard(new.metadata.name)

    def _heard(self, name: str) -> None:
        now_ns = self._world.now_ns()
        self._health[name] = Health(now_ns, self._config.node_monitor_grace_period_s)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            name = old.metadata.name
            self._health.pop(name, None)
            self._unhealthy_ns.pop(name, None)
            self._fallen.pop(name, None)
            message = f"Node {name} event: Removing Node {name} from Controller"
            self.driver.recorder.emit(old, "Normal", "RemovingNode", message)
            return
        name = new.metadata.name
        if old is None:
            # A node that never reported gets more time to start.
            known = any(c.type == "Ready" for c in new.status.conditions)
            config = self._config
            grace_s = (
                config.node_monitor_grace_period_s if known else config.node_startup_grace_period_s
            )
            self._health[name] = Health(self._world.now_ns(), grace_s)
            message = f"Node {name} event: Registered Node {name} in Controller"
            self.driver.recorder.emit(new, "Normal", "RegisteredNode", message)
        elif _heartbeats(old) != _heartbeats(new) and core.ready_status(new) != "Unknown":
            self._heard(name)
        if core.ready_status(new) == "True":
            self._unhealthy_ns.pop(name, None)
            self._fallen.pop(name, None)
            if old is not None and core.ready_status(old) != "True":
                for other in self._nodes.list():  # full disruption may have ended
                    self.driver.add(other.key)
        else:
            self._unhealthy_ns.setdefault(name, self._world.now_ns())
            if old is not None and old.ready:
                self._fallen[name] = None
        self.driver.add(name)

    def _reconcile(self, key: str) -> list[Effect]:
        node = self._nodes.by_key(key)
        health = self._health.get(key)
        if node is None or health is None:
            return []
        now_ns = self._world.now_ns()
        effects: list[Effect] = []
        late_s = core.silent_for_s(health, now_ns)
        if late_s < 0:
            effects.append(RequeueAfter(-late_s))
        else:
            effects += core.mark_unknown(node, now_ns)
        evict = False
        if core.ready_status(node) != "True":
            if key in self._fallen:
                effects += core.pods_not_ready(node, self._pods.by_index("node", key), now_ns)
            # Upstream looks at nodes every nodeMonitorPeriod: a node that recovers sooner is
            # never marked for eviction.
            waited_s = (now_ns - self._unhealthy_ns.get(key, now_ns)) / NS
            left_s = self._config.node_monitor_period_s - waited_s
            if left_s > 0:
                effects.append(RequeueAfter(left_s))
            else:
                evict = any(other.ready for other in self._nodes.list())
        effects += core.taint_effects(node, evict=evict, now_ns=now_ns)
        return effects


def _heartbeats(node: Node) -> list[str]:
    return [c.last_heartbeat_time for c in node.status.conditions]


def build(world: World) -> Driver:
    """The node lifecycle controller."""
    return NodeLifecycleController(world).driver
