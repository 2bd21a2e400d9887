"""Disruption's informers and queue (key: the PodDisruptionBudget)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.budgets import protects
from podwire.api.views import Pod, PodDisruptionBudget
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.disruption import core
from podwire.controllers.world import World


class DisruptionController:
    """Watches budgets and pods; asks for the scale of what owns the pods."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._budgets = world.informers.informer(kinds.POD_DISRUPTION_BUDGET)
        self._pods = world.informers.informer(kinds.POD)
        self._sets = world.informers.informer(kinds.REPLICA_SET)
        self._controllers = world.informers.informer(kinds.REPLICATION_CONTROLLER)
        self._deployments = world.informers.informer(kinds.DEPLOYMENT)
        self._stateful_sets = world.informers.informer(kinds.STATEFUL_SET)
        self.driver = world.driver("disruption", self._reconcile, component="controllermanager")
        self._budgets.on_change(self._budget_changed)
        self._pods.on_change(self._pod_changed)

    def _budget_changed(
        self, _: PodDisruptionBudget | None, new: PodDisruptionBudget | None
    ) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        about = new or old
        assert about is not None, "a change has a before or an after"
        for budget in self._budgets.list(about.metadata.namespace):
            if any(pod is not None and protects(budget, pod) for pod in (old, new)):
                self.driver.add(budget.key)

    def _reconcile(self, key: str) -> list[Effect]:
        budget = self._budgets.by_key(key)
        if budget is None:
            return []
        pods = [p for p in self._pods.list(budget.metadata.namespace) if protects(budget, p)]
        return core.reconcile(budget, pods, self._scale(pods), self._world.now_ns())

    def _scale(self, pods: list[Pod]) -> int:
        """Replicas that the controllers of the pods want together; bare pods have none."""
        found: dict[str, int] = {}
        for pod in pods:
            reference = pod.metadata.controller()
            if reference is None:
                continue
            namespace = pod.metadata.namespace
            if reference.kind == "StatefulSet":
                stateful = self._stateful_sets.get(namespace, reference.name)
                if stateful is not None:
                    found[reference.uid] = stateful.spec.replicas
            elif reference.kind == "ReplicationController":
                controller = self._controllers.get(namespace, reference.name)
                if controller is not None:
                    found[reference.uid] = controller.spec.replicas
            elif reference.kind == "ReplicaSet":
                replica_set = self._sets.get(namespace, reference.name)
                owner = replica_set.metadata.controller() if replica_set is not None else None
                if owner is not None and owner.kind == "Deployment":
                    deployment = self._deployments.get(namespace, owner.name)
                    if deployment is not None:
                        found[owner.uid] = deployment.spec.replicas
                elif replica_set is not None:
                    found[reference.uid] = replica_set.spec.replicas
        return sum(found.values())


def build(world: World) -> Driver:
    """The disruption controller."""
    return DisruptionController(world).driver
