"""Starting a pod's containers anew in place: the action RestartAllContainers (KEP-5532).

Source: kubernetes pkg/kubelet (ShouldAllContainersRestart, ContainersToReset,
GenerateAllContainersRestartingCondition). The sandbox, its addresses and the volumes stay; init
containers run again, and no crash loop holds anything back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.times import format_time
from podwire.kubelet import termination
from podwire.kubelet.core import TERMINATED, WAITING, Exit, Truth
from podwire.runtime.tasks import Nursery

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker

REASON = "RestartingAllContainers"
MESSAGE = "The container is removed because RestartAllContainers in place"
GRACE_S = 2.0
"""The least that any container is left (minimumGracePeriodInSeconds)."""


async def restart_all(worker: PodWorker) -> None:
    """End what still runs and forget that anything ran: a container's rule asked for it."""
    spec, facts = worker.pod.spec, worker.facts
    why = "container exited with restart policy rule"
    facts.restarting = Truth("AllContainersRestarting", True, "RestartAllContainersStarted", why)
    worker.publish()
    mine = [container.name for container in (*spec.containers, *spec.init_containers)]
    async with Nursery() as tasks:
        for name in mine:
            if name in worker.instances:
                instance = worker.instances[name]
                tasks.start(
                    termination.stop(worker, instance, GRACE_S, "killing"),
                    name=f"restart all {worker.pod.key}/{name}",
                )
    await worker.quiet()
    now_ns = worker.kubelet.now_ns()
    for name in mine:
        record = worker.records[name]
        if record.state == TERMINATED and record.exit is not None:
            end = record.exit
            record.exit = Exit(
                137, REASON, MESSAGE, end.started_at, format_time(now_ns), now_ns,
                end.container_id, reset=True,
            )  # fmt: skip
            record.state, record.reason, record.message = WAITING, REASON, MESSAGE
        record.started = record.ready = False
    facts.was_initialized = False
    facts.restarting = None
    worker.publish()
