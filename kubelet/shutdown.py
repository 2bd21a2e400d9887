"""Graceful node shutdown: pods end in order of priority before the power goes.

Behaviour of pkg/kubelet/nodeshutdown (nodeshutdown_manager_linux.go): systemd-logind tells the
kubelet, which holds the shutdown up until its pods have ended or their time is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from podwire.kubelet.admission import CRITICAL_PRIORITY, Refusal
from podwire.kubelet.core import Truth
from podwire.runtime.tasks import first

if TYPE_CHECKING:
    from podwire.kubelet.state import Kubelet
    from podwire.kubelet.worker import PodWorker

POWER_OFF = ("systemctl", "poweroff")
"""What an administrator says on the node."""
NOT_READY = "node is shutting down"
_TERMINATED = "Pod was terminated in response to imminent node shutdown."
REJECTED = Refusal("NodeShutdown", "Pod was rejected as the node is shutting down.")
"""What a pod is told that comes now."""
_WRITE_S = 5.0
"""So long the last statuses may take when the API server cannot be reached."""


async def shut_down(kubelet: Kubelet) -> None:
    """End the node's pods: regular ones, then critical ones. Returns when the power may go."""
    if kubelet.shutting_down:
        return
    kubelet.shutting_down = True
    config = kubelet.config
    if (node := kubelet.node()) is not None:
        message = "Shutdown manager detected shutdown event"
        kubelet.recorder.emit(node, "Normal", "Shutdown", message)
    kubelet.report()
    total_s, critical_s = config.shutdown_grace_period_s, config.shutdown_grace_period_critical_s
    workers = list(kubelet.workers.values())
    regular = [w for w in workers if w.pod.spec.priority < CRITICAL_PRIORITY]
    critical = [w for w in workers if w.pod.spec.priority >= CRITICAL_PRIORITY]
    await _end(kubelet, regular, total_s - critical_s)
    await _end(kubelet, critical, critical_s)
    await first(kubelet.statuses.flush(), kubelet.ctx.clock.sleep(_WRITE_S))


async def _end(kubelet: Kubelet, workers: Iterable[PodWorker], period_s: int) -> None:
    """End pods together; those that last longer than their period are left to the power's end."""
    living = [worker for worker in workers if not worker.done and not worker.released]
    for worker in living:
        facts = worker.facts
        facts.reason, facts.message = "Terminated", _TERMINATED
        facts.disrupted = Truth("DisruptionTarget", True, "TerminationByKubelet", _TERMINATED)
        worker.expel(period_s)

    async def all_over() -> None:
        for worker in living:
            await worker.over.wait()

    await first(all_over(), kubelet.ctx.clock.sleep(period_s))
