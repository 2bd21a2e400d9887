"""Starts a pod's containers: back-off, pull, create, start, postStart, probes.

Behaviour of pkg/kubelet/kuberuntime (startContainer, doBackOff) and pkg/kubelet/prober; what a
container does until its exit is the worker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from podwire.api.times import format_time
from podwire.api.views import Container, Pod, Probe
from podwire.client.hosting import KILLED
from podwire.kubelet import launch, limits, probes, resize
from podwire.kubelet.core import RUNNING, TERMINATED, WAITING
from podwire.kubelet.env import ConfigError
from podwire.kubelet.hooks import run_hook
from podwire.kubelet.images import Emit, ImageError
from podwire.kubelet.launch import LOST, LOST_MESSAGE
from podwire.kubelet.logs import ContainerLog
from podwire.kubelet.process import ContainerProcess
from podwire.kubelet.profile import image_id
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.termination import stop_signal
from podwire.kubelet.text import go_duration

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker

LOGS_KEPT = 2
"""The running (or last) instance's log and the one before (kubectl logs --previous)."""


async def start_all(worker: PodWorker, names: Sequence[str]) -> int | None:
    """Start containers in order; nanoseconds until the first of those that must wait."""
    soonest: int | None = None
    for name in names:
        wait_ns = _held_back(worker, name)
        if wait_ns is None:
            container = worker.container(name)
            wait_ns = await _start_one(worker, container)
        if wait_ns is not None:
            soonest = wait_ns if soonest is None else min(soonest, wait_ns)
    return soonest


def _held_back(worker: PodWorker, name: str) -> int | None:
    """The rest of a crash loop's delay; notes the attempt when there is none."""
    record, kubelet = worker.records[name], worker.kubelet
    if record.exit is None or record.exit.lost or record.exit.reset:
        return None
    meta = worker.pod.metadata
    key, now = f"{meta.uid}/{name}", kubelet.now_ns()
    since = record.exit.finished_ns
    remaining = kubelet.backoff.remaining_ns(key, since, now)
    if not remaining:
        if record.state == TERMINATED or record.reason == "CrashLoopBackOff":
            kubelet.backoff.next(key, since, now)
        return None
    pod = f"{meta.name}_{meta.namespace}({meta.uid})"
    if record.state == TERMINATED:
        kubelet.event(
            worker.pod, "Warning", "BackOff",
            f"Back-off restarting failed container {name} in pod {pod}", name,
        )  # fmt: skip
    delay = go_duration(kubelet.backoff.delay_ns(key))
    record.state, record.reason = WAITING, "CrashLoopBackOff"
    record.message = f"back-off {delay} restarting failed container={name} pod={pod}"
    return remaining


async def _start_one(worker: PodWorker, container: Container) -> int | None:
    """Pull, create, start one container; nanoseconds to wait when it has to be retried."""
    kubelet = worker.kubelet
    emit = partial(_emit, kubelet, worker.pod, container.name)
    try:
        await kubelet.images.ensure(container, worker.pod.metadata.uid, emit)
    except ImageError as error:
        emit("Warning", "Failed", f"Error: {error.reason}")
        _waiting(worker, container.name, error.reason, error.message)
        return error.retry_ns
    await launch.available(kubelet, container.image)
    instance = await worker.uninterrupted(
        _create_and_start(worker, container, emit), f"start {container.name}"
    )
    if instance is not None:
        worker.records[container.name].failure = None
        emit("Normal", "Started", "Container started")
        notice = launch.generic_notice(kubelet, container.image)
        if notice and not worker.records[container.name].restart_count:
            emit("Normal", launch.GENERIC_REASON, notice)
        await _started(worker, container, instance)
    return None


def _waiting(worker: PodWorker, name: str, reason: str, message: str) -> None:
    record = worker.records[name]
    record.state, record.reason, record.message = WAITING, reason, message


async def _create_and_start(worker: PodWorker, container: Container, emit: Emit) -> Instance | None:
    """None when it could not be started: the record says why."""
    kubelet, name = worker.kubelet, container.name
    assert worker.around is not None, "containers start in a sandbox"
    await kubelet.spend(kubelet.profile.create_s)
    container_id = kubelet.rng.bytes(32).hex()
    log = ContainerLog(kubelet.ctx.clock)
    around = worker.around
    try:
        process = launch.make_process(kubelet, worker.pod, around, container, container_id, log)
    except ConfigError as error:
        emit("Warning", "Failed", f"Error: {error}")
        # Tried again when a ConfigMap or Secret of the namespace changes.
        _waiting(worker, name, "CreateContainerConfigError", str(error))
        return None
    if why := launch.objection(kubelet, process):
        process.leave()
        emit("Warning", launch.NOT_MODELLED, why)
        _waiting(worker, name, launch.NOT_MODELLED, why)
        return None
    emit("Normal", "Created", "Container created")
    await kubelet.spend(kubelet.profile.start_s)
    kept = worker.logs.setdefault(name, [])
    kept.append(log)
    del kept[:-LOGS_KEPT]
    record = worker.records[name]
    record.image_id = image_id(container.image)
    if _names_signals(worker.pod):
        record.stop_signal = stop_signal(kubelet, container)
    if record.exit is not None:
        record.restart_count += 1
    try:
        running = process.container = await launch.start(kubelet, process)
    except OSError as error:
        process.leave()
        _not_started(worker, name, container_id, error, process, emit)
        log.end()
        worker.wake.set()
        return None
    return await worker.follow(name, container_id, process, running)


def _names_signals(pod: Pod) -> bool:
    """Whether a container has a stopSignal: those of such pods' containers are told (the gate
    ContainerStopSignals; the status of other pods is as without it).
    """
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    return any(c.lifecycle is not None and c.lifecycle.stop_signal for c in containers)


def _not_started(
    worker: PodWorker, name: str, id: str, error: OSError, process: ContainerProcess, emit: Emit
) -> None:
    """The command could not be run, or the room that should have run it was lost."""
    code, reason, lost = 128, "StartError", isinstance(error, ConnectionError)
    message = launch.start_failure(error, process.spec.argv)
    if lost:
        code, reason, message = KILLED, LOST, LOST_MESSAGE
    emit("Warning", LOST if lost else "Failed", message if lost else f"Error: {message}")
    worker.records[name].failure = None if lost else ("RunContainerError", message)
    now_ns = worker.kubelet.now_ns()
    worker.ended(name, code, f"containerd://{id}", now_ns, reason, message, lost=lost)


async def _started(worker: PodWorker, container: Container, instance: Instance) -> None:
    """Run postStart, then show the container as running and begin to probe it."""
    hook = container.lifecycle.post_start if container.lifecycle else None
    if hook is not None:
        failure = await run_hook(worker.kubelet, instance, worker.target(container), hook)
        if failure and container.name in worker.instances:
            worker.kubelet.event(
                worker.pod, "Warning", "FailedPostStartHook", "PostStartHook failed",
                container.name,
            )  # fmt: skip
            worker.records[container.name].failure = ("PostStartHookError", failure)
            worker.restart(container.name, "FailedPostStartHook")
    # The program has a head start: kubelet learns from the runtime that it runs.
    await worker.kubelet.spend(worker.kubelet.profile.observe_s)
    if container.name not in worker.instances:
        return  # it exited meanwhile
    record = worker.records[container.name]
    record.state, record.reason, record.message = RUNNING, "", ""
    record.started_at = format_time(instance.started_ns)
    record.container_id = f"containerd://{instance.id}"
    record.started = container.startup_probe is None
    record.ready = container.readiness_probe is None
    record.user, record.actuated = instance.process.spec.user, record.allocated
    if container.startup_probe is not None:
        _probe(worker, container, instance, "startup")
    else:
        _probe_life(worker, container, instance)
    worker.publish()
    resize.settle(worker)
    limits.limit_memory(worker, container.name)


def _probe(worker: PodWorker, container: Container, instance: Instance, kind: str) -> None:
    report = partial(_verdict, worker, container, instance)
    instance.tasks.start(
        probes.probe_forever(
            worker.kubelet, instance, worker.target(container), kind, report
        ),
        name=f"{kind} probe {worker.pod.key}/{container.name}",
    )  # fmt: skip


def _probe_life(worker: PodWorker, container: Container, instance: Instance) -> None:
    for kind in ("liveness", "readiness"):
        if getattr(container, f"{kind}_probe") is not None:
            _probe(worker, container, instance, kind)


def _verdict(
    worker: PodWorker, container: Container, instance: Instance, kind: str, good: bool
) -> None:
    record = worker.records[container.name]
    if kind == "readiness":
        record.ready = good
    elif kind == "startup" and good:
        record.started = True
        _probe_life(worker, container, instance)
    elif not good and not instance.stopping:
        probe: Probe | None = getattr(container, f"{kind}_probe")
        assert probe is not None, "a verdict is a probe's"
        worker.restart(
            container.name,
            f"Container {container.name} failed {kind} probe, will be restarted",
            probe.termination_grace_period_seconds,
        )
    worker.publish()
    worker.wake.set()


def _emit(kubelet: Kubelet, pod: Pod, container: str, type: str, reason: str, message: str) -> None:
    kubelet.event(pod, type, reason, message, container)
