"""ServiceAccount's informers and queue (key: the namespace)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Namespace, ServiceAccount
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.serviceaccount import core
from podwire.controllers.world import World


class ServiceAccountController:
    """Looks at namespaces and at deleted accounts."""

    def __init__(self, world: World) -> None:
        self._namespaces = world.informers.informer(kinds.NAMESPACE)
        self._accounts = world.informers.informer(kinds.SERVICE_ACCOUNT)
        self.driver = world.driver("serviceaccount", self._reconcile, expect=(self._accounts,))
        self._namespaces.on_change(self._namespace_changed)
        self._accounts.on_change(self._account_changed)

    def _namespace_changed(self, _: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is None and old is not None and old.metadata.name == core.NAME:
            self.driver.add(old.metadata.namespace)

    def _reconcile(self, key: str) -> list[Effect]:
        present = self._accounts.get(key, core.NAME) is not None
        return core.reconcile(self._namespaces.by_key(key), present=present)


def build(world: World) -> Driver:
    """The ServiceAccount controller."""
    return ServiceAccountController(world).driver
