"""Endpoints' informers and queue (key: the Service)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Endpoints, Service
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.endpoints import core
from podwire.controllers.endpointslice.trigger import TriggerTimes
from podwire.controllers.services import ServicesOfPods
from podwire.controllers.world import World


class EndpointsController:
    """Maps pods and Endpoints to Services, and runs the core."""

    def __init__(self, world: World) -> None:
        self._services = world.informers.informer(kinds.SERVICE)
        self._pods = world.informers.informer(kinds.POD)
        self._endpoints = world.informers.informer(kinds.ENDPOINTS)
        self._triggers = TriggerTimes()
        self._ours: dict[str, None] = {}
        """Services with a selector seen so far: their Endpoints go with them."""
        self.driver = world.driver(
            "endpoints",
            self._reconcile,
            expect=(self._endpoints,),
            component="endpoint-controller",
            workers=5,
        )
        self._members = ServicesOfPods(self._services, self._pods, self.driver.add)
        self._services.on_change(self._service_changed)
        self._endpoints.on_change(self._endpoints_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        item = new if new is not None else old
        assert item is not None
        if new is None:
            self._triggers.forget(item.key)
        elif new.spec.selector:
            self._ours[new.key] = None
        self.driver.add(item.key)

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        item = new if new is not None else old
        if item is not None and item.metadata.labels.get(core.MANAGED_BY):
            self.driver.add(item.key)

    def _reconcile(self, key: str) -> list[Effect]:
        service = self._services.by_key(key)
        current = self._endpoints.by_key(key)
        if service is None:
            managed = current is not None and core.MANAGED_BY in current.metadata.labels
            known = self._ours.pop(key, "") is None
            return core.gone(current) if known or managed else []
        if not service.spec.selector or service.spec.type == "ExternalName":
            return []
        pods = self._members.pods_of(service)
        trigger = self._triggers.compute(service, pods)
        return core.reconcile(service, pods, current, trigger)


def build(world: World) -> Driver:
    """The Endpoints controller."""
    return EndpointsController(world).driver
