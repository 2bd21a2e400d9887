"""The root CA publisher's informers and queue (key: the namespace)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import ConfigMap, Namespace
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.rootca import core
from podwire.controllers.world import World


class RootCaPublisher:
    """Looks at namespaces and at its own ConfigMaps."""

    def __init__(self, world: World) -> None:
        self._root_ca = world.config.root_ca
        self._namespaces = world.informers.informer(kinds.NAMESPACE)
        self._config_maps = world.informers.informer(kinds.CONFIG_MAP)
        self.driver = world.driver("rootca", self._reconcile, expect=(self._config_maps,))
        if self._root_ca:
            self._namespaces.on_change(self._namespace_changed)
            self._config_maps.on_change(self._config_map_changed)

    def _namespace_changed(self, _: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _config_map_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        item = new if new is not None else old
        if item is not None and item.metadata.name == core.NAME:
            self.driver.add(item.metadata.namespace)

    def _reconcile(self, key: str) -> list[Effect]:
        present = self._config_maps.get(key, core.NAME)
        return core.reconcile(self._namespaces.by_key(key), present, self._root_ca)


def build(world: World) -> Driver:
    """The root CA publisher."""
    return RootCaPublisher(world).driver
