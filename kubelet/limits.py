"""What ends a pod or a container before its time: too long active, too much memory.

Behaviour of pkg/kubelet/active_deadline.go, and of the kernel's OOM killer in a container's cgroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.times import NS, parse_time
from podwire.api.views import Pod
from podwire.kubelet import usage

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker

OVERTIME = "Pod was active on the node longer than the specified deadline"


def watch_time(worker: PodWorker) -> None:
    """Call the pod off once it was active for longer than its spec allows, as it is now."""
    leave_time(worker)
    limit_s = worker.pod.spec.active_deadline_seconds
    if limit_s is None:
        return
    kubelet = worker.kubelet
    due_ns = parse_time(worker.facts.start_time) + limit_s * NS
    left_s = max(due_ns - kubelet.now_ns(), 0) / NS
    worker.deadline = kubelet.ctx.clock.call_later(left_s, _overtime, worker)


def leave_time(worker: PodWorker) -> None:
    """The pod's time counts no longer."""
    if worker.deadline is not None:
        worker.deadline.cancel()
        worker.deadline = None


def _overtime(worker: PodWorker) -> None:
    facts = worker.facts
    facts.expelled = True
    facts.reason, facts.message = "DeadlineExceeded", OVERTIME
    worker.kubelet.event(worker.pod, "Normal", "DeadlineExceeded", OVERTIME)
    worker.called.set()


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
