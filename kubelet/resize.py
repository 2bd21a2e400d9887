"""In-place resize: what a pod's containers were allocated, what they have, what they wait for.

Behaviour of pkg/kubelet/allocation (allocation_manager.go: canResizePod), kuberuntime's
doPodResizeAction and the status manager's two conditions. Not modelled: pod-level resources.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from podwire.api import quantity
from podwire.api.view import JSON, to_json
from podwire.api.views import Container, Pod, ResourceRequirements
from podwire.kubelet import limits
from podwire.kubelet.admission import demand
from podwire.kubelet.core import RUNNING, Truth, is_sidecar

if TYPE_CHECKING:
    from podwire.kubelet.state import Kubelet
    from podwire.kubelet.worker import PodWorker

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
_MILLI, _NANO = 10**6, 10**9


def resizable(pod: Pod) -> list[Container]:
    """The containers that run side by side: sidecars and main ones."""
    return [*filter(is_sidecar, pod.spec.init_containers), *pod.spec.containers]


def consider(worker: PodWorker) -> None:
    """The pod's resources may have changed: allocate and actuate them, or say why not."""
    pod, records, kubelet = worker.pod, worker.records, worker.kubelet
    if all(records[c.name].allocated == c.resources for c in resizable(pod)):
        if worker.facts.resize and worker.facts.resize.type == PENDING:
            worker.facts.resize = None
            worker.publish()
        return
    refusal = _refusal(worker)
    if refusal is not None:
        if refusal != worker.facts.resize:
            worker.facts.resize = refusal
            kubelet.event(pod, "Warning", f"Resize{refusal.reason}", _told(pod, "", refusal))
            worker.publish()
        return
    for container in resizable(pod):
        records[container.name].allocated = container.resources
    worker.demand = demand(pod.spec)
    worker.facts.resize = Truth(IN_PROGRESS, True)
    kubelet.event(pod, "Normal", "ResizeStarted", _told(pod, "Pod resize started"))
    worker.publish()
    worker.nursery.start(_actuate(worker), name=f"resize {pod.key}")
    retry(kubelet)


async def _actuate(worker: PodWorker) -> None:
    await worker.kubelet.spend(worker.kubelet.profile.observe_s)
    for container in resizable(worker.pod):
        record = worker.records[container.name]
        if record.state != RUNNING or record.actuated == record.allocated:
            continue
        if _must_restart(container, record.actuated or ResourceRequirements(), record.allocated):
            worker.restart(container.name, f"Container {container.name} resize requires restart")
        else:
            record.actuated = record.allocated
            limits.limit_memory(worker, container.name)
    settle(worker)


def settle(worker: PodWorker) -> None:
    """A container has what it was allocated: the resize may be complete."""
    facts = worker.facts
    if facts.resize is None or facts.resize.type != IN_PROGRESS:
        return
    records = [worker.records[c.name] for c in resizable(worker.pod)]
    if all(r.actuated == r.allocated for r in records if r.state == RUNNING):
        facts.resize = None
        told = _told(worker.pod, "Pod resize completed")
        worker.kubelet.event(worker.pod, "Normal", "ResizeCompleted", told)
        worker.publish()


def retry(kubelet: Kubelet) -> None:
    """Room may have been made on the node: look again at resizes that were put off."""
    for worker in list(kubelet.workers.values()):
        waiting = worker.facts.resize
        if waiting is not None and waiting.reason == "Deferred" and not worker.ending.is_set():
            consider(worker)


def _must_restart(
    container: Container, had: ResourceRequirements, has: ResourceRequirements
) -> bool:
    return any(
        policy.get("restartPolicy") == "RestartContainer"
        and any(
            old.get(policy["resourceName"]) != new.get(policy["resourceName"])
            for old, new in ((had.limits, has.limits), (had.requests, has.requests))
        )
        for policy in container.resize_policy
    )


def _requested(worker: PodWorker, resource: str, *, wanted: bool) -> int:
    """Nano units that a pod asks for (``wanted``) or was allocated."""
    total = 0
    for container in resizable(worker.pod):
        asked = container.resources if wanted else worker.records[container.name].allocated
        total += quantity.parse(asked.requests.get(resource, "0")).nano
    return total


def _refusal(worker: PodWorker) -> Truth | None:
    """Why the node cannot give what the pod asks for: never, or not now."""
    kubelet = worker.kubelet
    for resource, unit in (("memory", _NANO), ("cpu", _MILLI)):
        requested = _requested(worker, resource, wanted=True)
        capacity = quantity.parse(kubelet.capacity[resource]).nano
        if requested > capacity:
            why = f"{resource}, requested: {requested // unit}, capacity: {capacity // unit}"
            message = f"Node didn't have enough capacity: {why}"
            return Truth(PENDING, True, "Infeasible", message)
    for resource, unit in (("cpu", _MILLI), ("memory", _NANO)):
        requested = _requested(worker, resource, wanted=True)
        capacity = quantity.parse(kubelet.capacity[resource]).nano
        others = [w for w in kubelet.workers.values() if w is not worker and not w.released]
        used = sum(_requested(other, resource, wanted=False) for other in others)
        if used + requested > capacity:
            why = f"requested: {requested // unit}, used: {used // unit}, "
            why += f"capacity: {capacity // unit}"
            message = f"Node didn't have enough resource: {resource}, {why}"
            return Truth(PENDING, True, "Deferred", message)
    return None


def _told(pod: Pod, words: str, refusal: Truth | None = None) -> str:
    """The event's message: what happens, and the resources as JSON."""
    told: JSON = {}
    for key, found in (
        ("initContainers", [c for c in pod.spec.init_containers if is_sidecar(c)]),
        ("containers", pod.spec.containers),
    ):
        if found:
            told[key] = [{"name": c.name, "resources": to_json(c.resources)} for c in found]
    told["generation"] = pod.metadata.generation
    if refusal is not None:
        words = f"Pod resize {refusal.reason.lower()}"
        told["error"] = refusal.message
    return f"{words}: {json.dumps(told, separators=(',', ':'))}"
