"""How containers and pods end: preStop, TERM, grace period, KILL, then the sandbox.

Behaviour of pkg/kubelet/kuberuntime killContainer and of pod workers' terminating state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from podwire.api.times import NS
from podwire.api.views import Container
from podwire.kubelet.core import is_sidecar
from podwire.kubelet.hooks import run_hook
from podwire.kubelet.launch import Describes, host_of
from podwire.kubelet.state import Instance, Kubelet
from podwire.runtime.tasks import Nursery

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker
    from podwire.runtime.ports import Timer

MINIMUM_GRACE_S = 2.0
"""What TERM gets at least when preStop used up the grace period."""


class Stopper:
    """The deadlines of a pod's containers; a later deletion can bring them forward."""

    def __init__(self, worker: PodWorker, grace_s: float) -> None:
        self._clock = worker.kubelet.ctx.clock
        self._began_ns = self._clock.monotonic_ns()
        self._deadline_ns = self._began_ns + int(grace_s * NS)
        self._timers: dict[str, tuple[Instance, Timer]] = {}

    def left_s(self) -> float:
        """Seconds of grace that remain."""
        return max(0, self._deadline_ns - self._clock.monotonic_ns()) / NS

    def arm(self, instance: Instance, minimum_s: float = 0.0) -> None:
        """KILL the instance at the deadline, but not before ``minimum_s``."""
        self.disarm(instance)
        timer = self._clock.call_later(
            max(self.left_s(), minimum_s), instance.container.signal, "KILL"
        )
        self._timers[instance.id] = (instance, timer)

    def disarm(self, instance: Instance) -> None:
        """The instance ended."""
        found = self._timers.pop(instance.id, None)
        if found is not None:
            found[1].cancel()

    def shorten(self, grace_s: float) -> None:
        """A new grace period counts from the start of termination, when it is shorter."""
        deadline_ns = self._began_ns + int(grace_s * NS)
        if deadline_ns < self._deadline_ns:
            self._deadline_ns = deadline_ns
            for instance, _ in list(self._timers.values()):
                self.arm(instance)


async def stop(
    worker: PodWorker,
    instance: Instance,
    grace_s: float,
    message: str,
    stopper: Stopper | None = None,
) -> None:
    """Stop one container gracefully; returns when it exited."""
    if instance.stopping:
        if stopper is not None:  # a restart under way: now the pod's deadline counts
            stopper.arm(instance)
        return
    instance.stopping = True
    stopper = stopper or Stopper(worker, grace_s)
    worker.kubelet.event(worker.pod, "Normal", "Killing", message, instance.name)
    try:
        await _stop(worker, instance, stopper)
    except asyncio.CancelledError:
        instance.stopping = False  # whoever takes over begins anew
        raise
    finally:
        stopper.disarm(instance)


async def _stop(worker: PodWorker, instance: Instance, stopper: Stopper) -> None:
    kubelet, name = worker.kubelet, instance.name
    container = worker.container(name)
    hook = container.lifecycle.pre_stop if container.lifecycle else None
    if hook is not None and stopper.left_s() > 0:
        try:
            async with asyncio.timeout(stopper.left_s()):
                failure = await run_hook(kubelet, instance, worker.target(container), hook)
        except TimeoutError:
            failure = "PreStopHook did not end within the grace period"
        if failure:
            kubelet.event(worker.pod, "Warning", "FailedPreStopHook", "PreStopHook failed", name)
    stopper.arm(instance, MINIMUM_GRACE_S if hook is not None else 0.0)
    instance.container.signal(stop_signal(kubelet, container).removeprefix("SIG"))
    with suppress(ConnectionError):  # lost with its room: over, too; its follower says so
        await instance.container.wait()


def stop_signal(kubelet: Kubelet, container: Container) -> str:
    """What asks a container to end: its own word, its image's (``STOPSIGNAL``), or SIGTERM."""
    own = container.lifecycle.stop_signal if container.lifecycle else ""
    host = host_of(kubelet, container.image)
    named = host.stop_signal(container.image) if isinstance(host, Describes) else ""
    return own or named or "SIGTERM"


async def _stop_all(worker: PodWorker, grace_s: float) -> None:
    """Main containers together, then sidecars in reverse order."""
    stopper = worker.stopper = Stopper(worker, grace_s)
    sidecars = [c.name for c in worker.pod.spec.init_containers if is_sidecar(c)]
    mains = [i for name, i in worker.instances.items() if name not in sidecars]
    async with Nursery() as nursery:
        for instance in mains:
            nursery.start(
                stop(worker, instance, grace_s, f"Stopping container {instance.name}", stopper),
                name=f"stop {worker.pod.key}/{instance.name}",
            )
    for name in reversed(sidecars):
        if (found := worker.instances.get(name)) is not None:
            await stop(worker, found, grace_s, f"Stopping container {name}", stopper)
    await worker.quiet()


async def terminate(worker: PodWorker) -> None:
    """End a pod that was deleted: containers, last status, sandbox."""
    pod = worker.pod
    grace = pod.metadata.deletion_grace_period_seconds
    if grace is None:
        grace = pod.spec.termination_grace_period_seconds
    # An object that is gone already (force) leaves its containers the minimum.
    await _stop_all(worker, max(1.0, float(grace)) if worker.gone else float(grace))
    await _release(worker)


async def complete(worker: PodWorker) -> None:
    """End a pod whose containers have all ended for good."""
    grace_s = worker.grace_s
    if grace_s is None:
        grace_s = float(worker.pod.spec.termination_grace_period_seconds)
    await _stop_all(worker, grace_s)
    await _release(worker)


async def _release(worker: PodWorker) -> None:
    """Give the sandbox back; the final status says that nothing will run again."""
    worker.facts.over = True
    worker.facts.sandbox_ready = False
    worker.publish()
    if worker.sandbox is not None:
        failures = await worker.sandbox.tear_down()
        for failure in failures:
            worker.kubelet.ctx.log.warning("sandbox teardown", pod=worker.pod.key, error=failure)
        worker.sandbox = None
    if worker.around is not None:
        (worker.around.pids or worker.kubelet.pids).remove(worker.around.pause)
    worker.released = True
    worker.over.set()
    worker.kubelet.backoff.forget(f"{worker.pod.metadata.uid}/")
