"""What ends a pod or a container before its time: too long active, too much memory.

Behaviour of pkg/kubelet/active_deadline.go, and of the kernel's OOM killer in a container's cgroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.times import NS, parse_time
from podwire.api.views import Pod
from podwire.kubelet import usage
from podwire.runtime.tasks import first

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker

OVERTIME = "Pod was active on the node longer than the specified deadline"


async def overtime(worker: PodWorker) -> None:
    """Return when the pod has been active for longer than its spec allows."""
    kubelet, facts = worker.kubelet, worker.facts
    began_ns = parse_time(facts.start_time)
    while True:
        worker.limited.clear()
        limit_s = worker.pod.spec.active_deadline_seconds
        if limit_s is None:
            await worker.limited.wait()
            continue
        left_ns = began_ns + limit_s * NS - kubelet.now_ns()
        if left_ns <= 0:
            break
        await first(worker.limited.wait(), kubelet.ctx.clock.sleep(left_ns / NS))
    facts.expelled = True
    facts.reason, facts.message = "DeadlineExceeded", OVERTIME
    kubelet.event(worker.pod, "Normal", "DeadlineExceeded", OVERTIME)


def limit_memory(worker: PodWorker, name: str) -> None:
    """Kill a container that uses more memory than it may."""
    instance = worker.instances[name]
    if usage.starves(worker.pod, worker.container(name)):
        instance.starved = True
        instance.container.signal("KILL")


def check_usage(worker: PodWorker, old: Pod | None, new: Pod) -> None:
    """Tell of annotations that say nothing about use."""
    known = usage.complaints(old) if old is not None else []
    for complaint in usage.complaints(new):
        if complaint not in known:
            worker.kubelet.event(new, "Warning", "InvalidUsage", complaint)
