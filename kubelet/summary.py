"""``/stats/summary`` of the kubelet: what its containers used in the last window.

Source of the form: k8s.io/kubelet pkg/apis/stats/v1alpha1 (Summary), of which the parts that are
modelled are told. A container that has not lived through a whole window has no figures yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.usage import (
    SYSTEM_CPU_NANO,
    SYSTEM_MEMORY_BYTES,
    WINDOW_NS,
    Usage,
    used,
    window_end_ns,
)

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker


def summary(kubelet: Kubelet) -> JSON:
    """The answer."""
    now_ns = kubelet.now_ns()
    at = format_time(window_end_ns(now_ns))
    pods = []
    cpu_nano, memory_bytes = SYSTEM_CPU_NANO, SYSTEM_MEMORY_BYTES
    for worker in kubelet.workers.values():
        meta = worker.pod.metadata
        containers = []
        for instance in worker.instances.values():
            usage = usage_of(worker, instance, now_ns)
            if usage is None:
                continue
            cpu_nano += usage.cpu_nano
            memory_bytes += usage.memory_bytes
            start = format_time(instance.started_ns)
            figures = _figures(usage.cpu_nano, usage.memory_bytes, at)
            containers.append({"name": instance.name, "startTime": start, **figures})
        if worker.instances:
            reference = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
            start = worker.facts.start_time
            pods.append({"podRef": reference, "startTime": start, "containers": containers})
    node = {"nodeName": kubelet.config.node, **_figures(cpu_nano, memory_bytes, at)}
    return {"node": node, "pods": pods}


def usage_of(worker: PodWorker, instance: Instance, now_ns: int) -> Usage | None:
    """What a running container used in the last whole window; None before it lived through one."""
    if instance.started_ns > window_end_ns(now_ns) - WINDOW_NS:
        return None
    messages = instance.process.meter.last_window(now_ns)
    return used(worker.pod, worker.container(instance.name), messages)


def _figures(cpu_nano: int, memory_bytes: int, at: str) -> JSON:
    return {
        "cpu": {"time": at, "usageNanoCores": cpu_nano},
        "memory": {"time": at, "workingSetBytes": memory_bytes},
    }
