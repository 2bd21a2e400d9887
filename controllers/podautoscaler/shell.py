"""HorizontalPodAutoscaler's queue: every 15 s it reads the target's scale and its pods' metrics."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api import kinds, selectors
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Pod, PodMetrics
from podwire.api.views.autoscaling import HorizontalPodAutoscaler, Scale
from podwire.client.api import MERGE
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.podautoscaler import core
from podwire.controllers.podautoscaler.core import Seen
from podwire.controllers.podautoscaler.limits import Memory
from podwire.controllers.world import World

_RESOURCES = ("Resource", "ContainerResource")


class AutoscalerController:
    """Asks, lets the core decide, and writes the new scale."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._autoscalers = world.informers.informer(kinds.HORIZONTAL_POD_AUTOSCALER)
        self._pods = world.informers.informer(kinds.POD)
        self._memories: dict[str, Memory] = {}
        self._selectors: dict[str, str] = {}
        self.driver = world.driver(
            "horizontalpodautoscaler",
            self._reconcile,
            expect=(self._autoscalers,),
            component="horizontal-pod-autoscaler",
            workers=5,
        )
        self._autoscalers.on_change(self._changed)

    def _changed(
        self, old: HorizontalPodAutoscaler | None, new: HorizontalPodAutoscaler | None
    ) -> None:
        if new is None:
            assert old is not None
            self._memories.pop(old.key, None)
            self._selectors.pop(old.key, None)
        elif old is None or old.metadata.generation != new.metadata.generation:
            self.driver.add(new.key)

    async def _reconcile(self, key: str) -> list[Effect]:
        hpa = self._autoscalers.by_key(key)
        if hpa is None:
            return []
        again = RequeueAfter(core.SYNC_S)
        decision = core.begin(hpa, self._memories.get(key, Memory()), self._world.now_ns())
        reference = hpa.spec.scale_target_ref
        namespace = hpa.metadata.namespace
        try:
            kind = self._scalable(reference.api_version, reference.kind)
            path = kind.path(namespace, reference.name, "scale")
            answer = await self._world.client.send("GET", path)
        except ApiError as error:
            return [*core.without_scale(decision, error.message), again]
        scale = msgspec.json.decode(answer.body, type=Scale)
        core.decide(decision, await self._see(hpa, scale))
        refused = ""
        if decision.rescale:
            body = {"spec": {"replicas": decision.desired}}
            try:
                await self._world.client.send("PATCH", path, (), body, MERGE)
            except ApiError as error:
                refused = error.message
        effects = core.finish(decision, refused)
        self._memories[key] = decision.memory
        return [*effects, again]

    async def _see(self, hpa: HorizontalPodAutoscaler, scale: Scale) -> Seen:
        namespace, text = hpa.metadata.namespace, scale.status.selector
        self._selectors[hpa.key] = text
        if not text:
            return Seen(scale, [], [])
        pods = self._matching(namespace, text)
        metrics: list[PodMetrics] = []
        failure = ""
        if any(metric.get("type") in _RESOURCES for metric in hpa.spec.metrics):
            try:
                found = await self._world.client.list(
                    kinds.POD_METRICS, namespace, label_selector=text
                )
            except ApiError as error:
                failure = f"unable to fetch metrics from resource metrics API: {error.message}"
            else:
                metrics = found.items
                failure = "" if metrics else "no metrics returned from resource metrics API"
        return Seen(scale, pods, metrics, failure, self._rivals(namespace, pods))

    def _matching(self, namespace: str, text: str) -> list[Pod]:
        selector = selectors.parse(text)
        return [p for p in self._pods.list(namespace) if selector.matches(p.metadata.labels)]

    def _rivals(self, namespace: str, pods: list[Pod]) -> list[str]:
        """Autoscalers of the namespace that select one of the pods."""
        found = []
        for key, text in self._selectors.items():
            if text and key.startswith(f"{namespace}/"):
                selector = selectors.parse(text)
                if any(selector.matches(pod.metadata.labels) for pod in pods):
                    found.append(key)
        return sorted(found)

    def _scalable(self, api_version: str, name: str) -> Kind[Any]:
        """The kind of a scaleTargetRef, in whatever version. Raises ApiError."""
        group = api_version.rpartition("/")[0]
        served = (*kinds.ALL, *self._world.custom.all())
        found = [k for k in served if (k.group, k.kind) == (group, name)]
        if not found:
            raise ApiError("NotFound", f'no matches for kind "{name}" in group "{group}"')
        if "scale" not in found[0].parts:
            raise ApiError("NotFound", "the server could not find the requested resource")
        return found[0]


def build(world: World) -> Driver:
    """The HorizontalPodAutoscaler controller."""
    return AutoscalerController(world).driver
