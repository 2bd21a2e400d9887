"""Disruption's informers and queue (key: the PodDisruptionBudget)."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.budgets import protects
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Object, OwnerReference, Pod, PodDisruptionBudget
from podwire.api.views.autoscaling import Scale
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.disruption import core
from podwire.controllers.world import World

TARGET = "//target/"
"""Begins the keys of pods that are to be disrupted; no budget's key does."""


class DisruptionController:
    """Watches budgets and pods; asks for the scale of what owns the pods."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._budgets = world.informers.informer(kinds.POD_DISRUPTION_BUDGET)
        self._pods = world.informers.informer(kinds.POD)
        self._controllers = {
            kind.resource: world.informers.informer(kind)
            for kind in (
                kinds.REPLICA_SET, kinds.REPLICATION_CONTROLLER, kinds.DEPLOYMENT,
                kinds.STATEFUL_SET,
            )
        }  # fmt: skip
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
        if new is not None and core.targeted(new):
            self.driver.add(TARGET + new.key)

    async def _reconcile(self, key: str) -> list[Effect]:
        if key.startswith(TARGET):
            pod = self._pods.by_key(key.removeprefix(TARGET))
            return core.relent(pod, self._world.now_ns()) if pod is not None else []
        budget = self._budgets.by_key(key)
        if budget is None:
            return []
        pods = [p for p in self._pods.list(budget.metadata.namespace) if protects(budget, p)]
        scale = await self._scale(pods) if core.by_scale(budget) else core.Scale()
        return core.reconcile(budget, pods, scale, self._world.now_ns())

    async def _scale(self, pods: list[Pod]) -> core.Scale:
        """Replicas that the controllers of the pods want together."""
        found: dict[str, int] = {}
        seen: dict[str, None] = {}
        bare = False
        for pod in pods:
            reference = pod.metadata.controller()
            if reference is None:
                bare = True
                continue
            if reference.uid in seen:
                continue
            seen[reference.uid] = None
            namespace = pod.metadata.namespace
            try:
                controller = core.known(reference, partial(self._get, namespace))
                controller = controller or await self._asked(reference, namespace)
            except ApiError as error:
                return core.Scale(failure=error.message)
            if controller is None:
                message = f'found no controllers for pod "{pod.metadata.name}"'
                return core.Scale(failure=message)
            found[controller[0]] = controller[1]
        return core.Scale(sum(found.values()), bare)

    def _get(self, namespace: str, kind: Kind[Any], name: str) -> Object | None:
        return self._controllers[kind.resource].get(namespace, name)

    async def _asked(self, reference: OwnerReference, namespace: str) -> tuple[str, int] | None:
        """What the scale subresource of any kind says; None if it is gone. Raises ApiError."""
        version, name = reference.api_version, reference.kind
        kind = kinds.by_gvk(version, name) or self._world.custom.by_gvk(version, name)
        if kind is None:
            raise ApiError("NotFound", f'no matches for kind "{name}" in version "{version}"')
        if "scale" not in kind.parts:
            message = f"{kind.resource} does not implement the scale subresource"
            raise ApiError("NotFound", message)
        try:
            path = kind.path(namespace, reference.name, "scale")
            answer = await self._world.client.send("GET", path)
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        scale = msgspec.json.decode(answer.body, type=Scale)
        if scale.metadata.uid != reference.uid:
            return None
        return scale.metadata.uid, scale.spec.replicas


def build(world: World) -> Driver:
    """The disruption controller."""
    return DisruptionController(world).driver
