"""Informers and queue: a Service's key, or ``cidr <name>`` for a ServiceCIDR."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import IPAddress, Service, ServiceCIDR
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.servicecidrs import core
from podwire.controllers.world import World

_CIDR = "cidr "


def _by_parent(item: IPAddress) -> tuple[str, ...]:
    """Index function: the Service that an address is for."""
    parent = item.spec.parent_ref
    return (f"{parent.namespace}/{parent.name}",) if parent.resource == "services" else ()


class ServiceCidrController:
    """Looks after IPAddresses when Services or they themselves change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._services = world.informers.informer(kinds.SERVICE)
        self._addresses = world.informers.informer(kinds.IP_ADDRESS)
        self._cidrs = world.informers.informer(kinds.SERVICE_CIDR)
        self._addresses.add_index("parent", _by_parent)
        self.driver = world.driver(
            "servicecidrs", self._reconcile, expect=(self._addresses,), workers=5
        )
        self._services.on_change(self._service_changed)
        self._addresses.on_change(self._address_changed)
        self._cidrs.on_change(self._cidr_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        if core.addresses(old) != core.addresses(new):
            about = new if new is not None else old
            assert about is not None
            self.driver.add(about.key)

    def _address_changed(self, old: IPAddress | None, new: IPAddress | None) -> None:
        keys = [key for item in (old, new) if item is not None for key in _by_parent(item)]
        for key in dict.fromkeys(keys):
            self.driver.add(key)
        if new is None:
            self._look_again()

    def _cidr_changed(self, _: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        if new is not None:
            self.driver.add(_CIDR + new.key)
        self._look_again()

    def _look_again(self) -> None:
        """A ServiceCIDR that waits for addresses to go may go, too."""
        for item in self._cidrs.list():
            if item.metadata.deletion_timestamp:
                self.driver.add(_CIDR + item.key)

    def _reconcile(self, key: str) -> list[Effect]:
        if key.startswith(_CIDR):
            item = self._cidrs.by_key(key.removeprefix(_CIDR))
            if item is None:
                return []
            others = [other for other in self._cidrs.list() if other is not item]
            names = [address.metadata.name for address in self._addresses.list()]
            return core.reconcile_cidr(item, others, names, self._world.now_ns())
        held = self._addresses.by_index("parent", key)
        return core.reconcile(self._services.by_key(key), held)


def build(world: World) -> Driver:
    """The service CIDR controller."""
    return ServiceCidrController(world).driver
