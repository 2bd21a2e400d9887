"""The aggregation controller's informer and queue (key: the name of a ClusterRole)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import ClusterRole
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.clusterroleaggregation import core
from podwire.controllers.world import World


class ClusterRoleAggregation:
    """Looks at every ClusterRole: any may be selected by any."""

    def __init__(self, world: World) -> None:
        self._roles = world.informers.informer(kinds.CLUSTER_ROLE)
        self._aggregated: dict[str, None] = {}
        self.driver = world.driver("clusterrole-aggregation-controller", self._reconcile)
        self._roles.on_change(self._changed)

    def _changed(self, old: ClusterRole | None, new: ClusterRole | None) -> None:
        about = new or old
        assert about is not None, "a change has a before or an after"
        if new is not None and new.aggregation_rule is not None:
            self._aggregated[new.key] = None
        else:
            self._aggregated.pop(about.key, None)
        for key in self._aggregated:
            self.driver.add(key)

    def _reconcile(self, key: str) -> list[Effect]:
        return core.reconcile(self._roles.by_key(key), self._roles.list())


def build(world: World) -> Driver:
    """The ClusterRole aggregation controller."""
    return ClusterRoleAggregation(world).driver
