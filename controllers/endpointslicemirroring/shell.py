"""Mirroring's informers and queue (key: the Endpoints object, which is the Service's too)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Endpoints, EndpointSlice, Object, Service
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.endpointslicemirroring import core
from podwire.controllers.world import World


def _by_service(item: EndpointSlice) -> tuple[str, ...]:
    """Index function: the Service of a mirroring slice."""
    meta = item.metadata
    if meta.labels.get(core.MANAGED_BY) != core.CONTROLLER:
        return ()
    return (f"{meta.namespace}/{meta.labels.get(core.SERVICE_NAME, '')}",)


class MirroringController:
    """Looks after Endpoints whose Service selects no pods."""

    def __init__(self, world: World) -> None:
        self._services = world.informers.informer(kinds.SERVICE)
        self._endpoints = world.informers.informer(kinds.ENDPOINTS)
        self._slices = world.informers.informer(kinds.ENDPOINT_SLICE)
        self._slices.add_index("mirrored service", _by_service)
        self.driver = world.driver(
            "endpointslicemirroring",
            self._reconcile,
            expect=(self._slices,),
            component="endpoint-slice-mirroring-controller",
            workers=5,
        )
        self._services.on_change(self._service_changed)
        self._endpoints.on_change(self._endpoints_changed)
        self._slices.on_change(self._slice_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        selects = [item is not None and bool(item.spec.selector) for item in (old, new)]
        if old is None or new is None or selects[0] != selects[1]:
            self._add(new if new is not None else old)

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        self._add(new if new is not None else old)

    def _add(self, item: Object | None) -> None:
        assert item is not None
        service = self._services.by_key(item.key)
        if service is None or not service.spec.selector:
            self.driver.add(item.key)
        elif self._slices.by_index("mirrored service", item.key):
            self.driver.add(item.key)  # it has a selector since a moment ago

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        keys = [key for item in (old, new) if item is not None for key in _by_service(item)]
        for key in dict.fromkeys(keys):
            self.driver.add(key)

    def _reconcile(self, key: str) -> list[Effect]:
        slices = self._slices.by_index("mirrored service", key)
        return core.reconcile(self._endpoints.by_key(key), self._services.by_key(key), slices)


def build(world: World) -> Driver:
    """The EndpointSlice mirroring controller."""
    return MirroringController(world).driver
