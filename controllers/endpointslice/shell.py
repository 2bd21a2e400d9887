"""EndpointSlices' informers and queue (key: the Service)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import EndpointSlice, Node, Service
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.endpointslice import core
from podwire.controllers.endpointslice.desired import CONTROLLER, MANAGED_BY, SERVICE_NAME
from podwire.controllers.endpointslice.topology import ZONE, Topology, facts, shares
from podwire.controllers.endpointslice.trigger import TriggerTimes
from podwire.controllers.services import ServicesOfPods
from podwire.controllers.world import World


class EndpointSliceController:
    """Maps pods, slices and nodes to Services, and runs the core."""

    def __init__(self, world: World) -> None:
        self._services = world.informers.informer(kinds.SERVICE)
        self._pods = world.informers.informer(kinds.POD)
        self._slices = world.informers.informer(kinds.ENDPOINT_SLICE)
        self._nodes = world.informers.informer(kinds.NODE)
        self._slices.add_index("service", lambda s: (f"{s.metadata.namespace}/{s.service_name}",))
        self._triggers = TriggerTimes()
        self._topology = Topology()
        self.driver = world.driver(
            "endpointslice",
            self._reconcile,
            expect=(self._slices,),
            component="endpoint-slice-controller",
            workers=5,
        )
        self._members = ServicesOfPods(self._services, self._pods, self.driver.add)
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._nodes.on_change(self._node_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        item = new if new is not None else old
        assert item is not None
        if new is None:
            self._triggers.forget(item.key)
            self._topology.forget(item.key)
        self.driver.add(item.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        item = new if new is not None else old
        if item is not None and item.metadata.labels.get(MANAGED_BY) == CONTROLLER:
            name = item.metadata.labels.get(SERVICE_NAME, "")
            self.driver.add(f"{item.metadata.namespace}/{name}")

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        """A node's zone is copied into its endpoints; its CPUs give the zone its share of hints."""
        if self._topology.given and facts(old) != facts(new):
            for key in self._topology.overloaded(shares(self._nodes.list())):
                self.driver.add(key)
        zones = [n.metadata.labels.get(ZONE, "") if n is not None else "" for n in (old, new)]
        if zones[0] != zones[1]:
            for item in self._services.list():
                self.driver.add(item.key)

    def _reconcile(self, key: str) -> list[Effect]:
        service = self._services.by_key(key)
        if service is None or not service.spec.selector or service.spec.type == "ExternalName":
            return []
        pods = self._members.pods_of(service)
        nodes = {node.metadata.name: node for node in self._nodes.list()}
        slices = self._slices.by_index("service", key)
        triggered = self._triggers.compute(service, pods)
        return core.reconcile(service, pods, slices, nodes, triggered, self._topology)


def build(world: World) -> Driver:
    """The EndpointSlice controller."""
    return EndpointSliceController(world).driver
