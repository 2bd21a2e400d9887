"""Node IPAM's informer, queue and its memory of what was promised."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Node
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.nodeipam import core
from podwire.controllers.world import World


class NodeIpamController:
    """One worker: two nodes never race for a subnet."""

    def __init__(self, world: World) -> None:
        self._config = world.config
        self._nodes = world.informers.informer(kinds.NODE)
        self._promised: dict[str, tuple[str, tuple[str, ...]]] = {}
        """Node name -> (uid, CIDRs), until the node is gone."""
        self.driver = world.driver("nodeipam", self._reconcile, component="cidrAllocator")
        self._nodes.on_change(self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._promised.pop(old.metadata.name, None)
            for node in self._nodes.list():  # a subnet became free
                if not node.spec.pod_cidr:
                    self.driver.add(node.key)
            return
        if new.spec.pod_cidr:
            held = tuple(new.spec.pod_cidrs) or (new.spec.pod_cidr,)
            self._promised[new.metadata.name] = (new.metadata.uid, held)
        else:
            self.driver.add(new.key)

    def _reconcile(self, key: str) -> list[Effect]:
        node = self._nodes.by_key(key)
        if node is None:
            return []
        uid, cidrs = self._promised.get(key, ("", ()))
        if uid != node.metadata.uid:
            used = {subnet for _, subnets in self._promised.values() for subnet in subnets}
            config = self._config
            cidrs = core.allocate(
                config.cluster_cidr,
                config.node_cidr_mask_size,
                config.node_cidr_mask_size_ipv6,
                used,
            )
            if cidrs:
                self._promised[key] = (node.metadata.uid, cidrs)
        return core.reconcile(node, cidrs)


def build(world: World) -> Driver:
    """The node IPAM controller."""
    return NodeIpamController(world).driver
