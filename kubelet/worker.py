"""One ordered task per pod: from Pending to its end.

Behaviour of pkg/kubelet (podWorkers, syncPod, computePodActions): volumes, sandbox, init
containers, main containers, restarts; a deletion interrupts whatever is going on and leads to
``termination.terminate``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from podwire.api.times import NS, format_time
from podwire.api.views import Container, Pod, Probe
from podwire.client.counters import Container as Running
from podwire.client.hosting import KILLED
from podwire.kubelet import launch, limits, probes, resize, sandbox, termination
from podwire.kubelet.core import (
    RUNNING,
    TERMINATED,
    WAITING,
    Exit,
    initialized,
    is_sidecar,
    plan,
    starts_anew,
)
from podwire.kubelet.env import ConfigError
from podwire.kubelet.hooks import run_hook
from podwire.kubelet.images import Emit, ImageError
from podwire.kubelet.logs import ContainerLog
from podwire.kubelet.network import Sandbox
from podwire.kubelet.podstatus import PodFacts, adopt, debuggers, gates, new_records, pod_status
from podwire.kubelet.process import ContainerProcess
from podwire.kubelet.profile import image_id
from podwire.kubelet.restarting import restart_all
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.text import go_duration
from podwire.kubelet.tokens import PodTokens
from podwire.kubelet.volumes import PodVolumes
from podwire.runtime.tasks import Nursery, first

T = TypeVar("T")
LOGS_KEPT = 2
"""The running (or last) instance's log and the one before (kubectl logs --previous)."""
MOUNT_RETRY_MAX_S = 122.0
TERMINAL = ("Succeeded", "Failed")
LOST = "ContainerStatusUnknown"
LOST_MESSAGE = "The container could not be located when the pod was terminated"
"""Upstream's words (kuberuntime) for a container that its runtime no longer knows."""


class PodWorker:
    """The life of one pod on this node."""

    def __init__(self, kubelet: Kubelet, pod: Pod) -> None:
        self.kubelet = kubelet
        self.pod = pod
        self.records = new_records(pod.spec)
        self.facts = PodFacts(kubelet.info.addresses)
        self.sandbox: Sandbox | None = None
        self.around: launch.Surroundings | None = None
        self.instances: dict[str, Instance] = {}
        self.logs: dict[str, list[ContainerLog]] = {}
        self.volumes = PodVolumes(
            lambda: self.pod,
            kubelet.lookups,
            kubelet.disk,
            kubelet.client,
            PodTokens(lambda: self.pod, kubelet.client, kubelet.ctx.clock),
            lambda: (self.facts.host_ips, self.facts.pod_ips),
            kubelet.capacity,
            kubelet.ctx.clock,
            kubelet.rng.child(f"volumes {pod.metadata.uid}"),
        )
        self.ending = asyncio.Event()
        """Set when the pod is to be terminated (deleted, or its object is gone)."""
        self.gone = False
        """The object no longer exists."""
        self.done = False
        """``run`` has returned."""
        self.inherited = False
        self.over = asyncio.Event()
        """Set with ``released``."""
        self.expulsion = asyncio.Event()
        """Set when the kubelet ends the pod before its time."""
        self.grace_s: float | None = None
        """What the kubelet leaves it then, if less than the pod's own grace period."""
        self.released = False
        """The sandbox was given back and the last status told."""
        self.stopper: termination.Stopper | None = None
        self.nursery = Nursery()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.limited = asyncio.Event()
        """Set when spec.activeDeadlineSeconds changed."""
        self._busy: asyncio.Task[Any] | None = None
        self._since = {c.type: (c.status, c.last_transition_time) for c in pod.status.conditions}

    # ------------------------------------------------------------ what others tell

    def update(self, pod: Pod) -> None:
        """A newer version of the object arrived."""
        relabelled = pod.metadata.labels != self.pod.metadata.labels or (
            pod.metadata.annotations != self.pod.metadata.annotations
        )
        if relabelled:
            limits.check_usage(self, self.pod, pod)
        gated = gates(pod) != gates(self.pod)
        limited = pod.spec.active_deadline_seconds != self.pod.spec.active_deadline_seconds
        self.pod = pod
        self.kubelet.statuses.observe(pod)
        if gated and self.facts.start_time:
            self.publish()
        if limited:
            self.limited.set()
        joined = {n: r for n, r in debuggers(pod.spec).items() if n not in self.records}
        if joined:
            self.records |= joined
            self._wake.set()
        if not pod.metadata.deletion_timestamp and self.facts.start_time:
            resize.consider(self)
        if relabelled:
            self.refresh_volumes_later()
            for name in list(self.instances):
                limits.limit_memory(self, name)
        if pod.metadata.deletion_timestamp:
            self.ending.set()
            if self.stopper is not None:
                self.stopper.shorten(pod.metadata.deletion_grace_period_seconds or 0)

    def inherit(self, mirror: Pod) -> None:
        """A static pod finds what an earlier kubelet told of it: its containers ended with it."""
        told = mirror.status.start_time
        if self.inherited or not told or told == self.facts.start_time:
            return
        self.inherited = True
        found = (*mirror.status.init_container_statuses, *mirror.status.container_statuses)
        for status in found:
            if status.container_id and status.name in self.records:
                self.records[status.name].restart_count += status.restart_count + 1
        if self.facts.start_time:
            self.publish()

    def expel(self, grace_s: float) -> None:
        """End the pod, failed, within ``grace_s`` or its own grace period; it does not come back.

        ``facts`` say why.
        """
        self.grace_s = min(grace_s, self._grace_s())
        self.facts.expelled = True
        self.expulsion.set()
        if self.stopper is not None:
            self.stopper.shorten(self.grace_s)

    def removed(self) -> None:
        """The object is gone: whatever still runs is an orphan."""
        self.gone = True
        self.kubelet.statuses.forget(self.pod)
        self.ending.set()

    def source_changed(self, kind: str, name: str) -> None:
        """A ConfigMap or Secret of the namespace changed."""
        if self.volumes.uses(kind, name):
            self.refresh_volumes_later()
        self._wake.set()

    def refresh_volumes_later(self) -> None:
        """Bring volumes up to date after the kubelet's sync delay."""
        kubelet = self.kubelet
        delay_s = kubelet.profile.take(kubelet.profile.volume_sync_s, kubelet.rng)
        kubelet.ctx.clock.call_later(delay_s, self.volumes.refresh)

    # ------------------------------------------------------------ the life

    async def run(self) -> None:
        """Live until the pod object may go (and went), or until kubelet is stopped."""
        if self.pod.status.phase in TERMINAL:
            await self.ending.wait()
            self._finish_object()
            return
        limits.check_usage(self, None, self.pod)
        now = format_time(self.kubelet.now_ns())
        # Before anything is published: a pod that is ending already when it is first seen (kubelet
        # started anew) never comes to live.
        self.facts.start_time = self.pod.status.start_time or now
        adopt(self.records, self.pod, now, self.kubelet.now_ns())
        try:
            async with self.nursery as nursery:
                await first(
                    self._live(), self.ending.wait(), self.expulsion.wait(), limits.overtime(self)
                )
                if self._busy is not None:
                    await self._busy
                if self.facts.expelled:
                    await first(termination.complete(self), self.ending.wait())
                if not self.ending.is_set():  # completed: its object stays until it is deleted
                    await self.ending.wait()
                if not self.released:
                    await termination.terminate(self)
                nursery.cancel()
        finally:
            self.kill_everything()
        self._finish_object()

    def _finish_object(self) -> None:
        if not self.gone:
            self.kubelet.statuses.delete(self.pod)

    def kill_everything(self) -> None:
        """Kubelet stops (or the pod is over): programs end now, their sockets close."""
        for instance in list(self.instances.values()):
            instance.container.signal("KILL")
            self._close(instance)

    async def _live(self) -> None:
        self.publish()
        await self._mount()
        self.nursery.start(
            self.volumes.keep_tokens(self.kubelet.ctx.clock), name=f"tokens {self.pod.key}"
        )
        await sandbox.ensure(self)
        while True:
            self._wake.clear()
            if starts_anew(self.pod.spec, self.records):
                await self.uninterrupted(restart_all(self), "restart all")
            spec, facts = self.pod.spec, self.facts
            if not facts.was_initialized and initialized(spec, self.records):
                facts.was_initialized = True
            step = plan(spec, self.records, was_initialized=facts.was_initialized)
            if step.over:
                await termination.complete(self)
                return
            wait_ns = await self._start_all((*self._debuggers(), *step.start))
            self.publish()
            if not facts.was_initialized and initialized(spec, self.records):
                continue
            if wait_ns is None:
                await self._wake.wait()
            else:
                await first(self._wake.wait(), self.kubelet.ctx.clock.sleep(wait_ns / NS))

    async def uninterrupted(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Await a piece of work that a deletion must not cut in half."""
        task = self._busy = self.nursery.start(work, name=f"{name} {self.pod.key}")
        return await asyncio.shield(task)

    async def _mount(self) -> None:
        delay_s = self.kubelet.profile.resync_s
        while failures := await self.volumes.mount():
            for volume, message in failures:
                text = f'MountVolume.SetUp failed for volume "{volume}" : {message}'
                self.kubelet.event(self.pod, "Warning", "FailedMount", text)
            self._wake.clear()
            await first(self._wake.wait(), self.kubelet.ctx.clock.sleep(delay_s))
            delay_s = min(2 * delay_s, MOUNT_RETRY_MAX_S)

    # ------------------------------------------------------------ containers

    async def _start_all(self, names: tuple[str, ...]) -> int | None:
        """Start containers in order; nanoseconds until the first of those that must wait."""
        soonest: int | None = None
        for name in names:
            wait_ns = self._held_back(name)
            if wait_ns is None:
                container = self.container(name)
                wait_ns = await self._start_one(container)
            if wait_ns is not None:
                soonest = wait_ns if soonest is None else min(soonest, wait_ns)
        return soonest

    def _debuggers(self) -> list[str]:
        """Ephemeral containers to start: each once, before others that may fail to start."""
        names = (c.name for c in self.pod.spec.ephemeral_containers)
        return [
            name
            for name in names
            if self.records[name].state == WAITING and self.records[name].exit is None
        ]

    def container(self, name: str) -> Container:
        """A container of the spec by name."""
        spec = self.pod.spec
        found = (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
        return next(c for c in found if c.name == name)

    def _held_back(self, name: str) -> int | None:
        """The rest of a crash loop's delay; notes the attempt when there is none."""
        record, kubelet = self.records[name], self.kubelet
        if record.exit is None or record.exit.lost or record.exit.reset:
            return None
        meta = self.pod.metadata
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
                self.pod, "Warning", "BackOff",
                f"Back-off restarting failed container {name} in pod {pod}", name,
            )  # fmt: skip
        delay = go_duration(kubelet.backoff.delay_ns(key))
        record.state, record.reason = WAITING, "CrashLoopBackOff"
        record.message = f"back-off {delay} restarting failed container={name} pod={pod}"
        return remaining

    async def _start_one(self, container: Container) -> int | None:
        """Pull, create, start one container; nanoseconds to wait when it has to be retried."""
        kubelet = self.kubelet
        emit = partial(_emit, kubelet, self.pod, container.name)
        try:
            await kubelet.images.ensure(container, self.pod.metadata.uid, emit)
        except ImageError as error:
            self._waiting(container.name, error.reason, error.message)
            return error.retry_ns
        await launch.available(kubelet, container.image)
        instance = await self.uninterrupted(
            self._create_and_start(container, emit), f"start {container.name}"
        )
        if instance is not None:
            emit("Normal", "Started", f"Started container {container.name}")
            notice = launch.generic_notice(kubelet, container.image)
            if notice and not self.records[container.name].restart_count:
                emit("Normal", launch.GENERIC_REASON, notice)
            await self._started(container, instance)
        return None

    def _waiting(self, name: str, reason: str, message: str) -> None:
        record = self.records[name]
        record.state, record.reason, record.message = WAITING, reason, message

    async def _create_and_start(self, container: Container, emit: Emit) -> Instance | None:
        """None when it could not be started: the record says why."""
        kubelet, name = self.kubelet, container.name
        assert self.around is not None, "containers start in a sandbox"
        await kubelet.spend(kubelet.profile.create_s)
        container_id = kubelet.rng.bytes(32).hex()
        log = ContainerLog(kubelet.ctx.clock)
        around = self.around
        try:
            process = launch.make_process(kubelet, around, container, container_id, log)
        except ConfigError as error:
            emit("Warning", "Failed", f"Error: {error}")
            # Tried again when a ConfigMap or Secret of the namespace changes.
            self._waiting(name, "CreateContainerConfigError", str(error))
            return None
        emit("Normal", "Created", f"Created container: {name}")
        await kubelet.spend(kubelet.profile.start_s)
        kept = self.logs.setdefault(name, [])
        kept.append(log)
        del kept[:-LOGS_KEPT]
        record = self.records[name]
        record.image_id = image_id(container.image)
        if record.exit is not None:
            record.restart_count += 1
        try:
            running = process.container = await launch.start(kubelet, process)
        except OSError as error:
            process.leave()
            self._not_started(name, container_id, error, process, emit)
            log.end()
            self._wake.set()
            return None
        started: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._followers[name] = self.nursery.start(
            self._follow(name, container_id, process, running, started),
            name=f"container {self.pod.key}/{name}",
        )
        return await started

    def _not_started(
        self, name: str, id: str, error: OSError, process: ContainerProcess, emit: Emit
    ) -> None:
        """The command could not be run, or the room that should have run it was lost."""
        code, reason, lost = 128, "StartError", isinstance(error, ConnectionError)
        message = launch.start_failure(error, process.spec.argv)
        if lost:
            code, reason, message = KILLED, LOST, LOST_MESSAGE
        emit("Warning", LOST if lost else "Failed", message if lost else f"Error: {message}")
        now_ns = self.kubelet.now_ns()
        self._ended(name, code, f"containerd://{id}", now_ns, reason, message, lost=lost)

    async def _started(self, container: Container, instance: Instance) -> None:
        """Run postStart, then show the container as running and begin to probe it."""
        hook = container.lifecycle.post_start if container.lifecycle else None
        if hook is not None:
            failure = await run_hook(self.kubelet, instance, self.target(container), hook)
            if failure and container.name in self.instances:
                self.kubelet.event(
                    self.pod, "Warning", "FailedPostStartHook", "PostStartHook failed",
                    container.name,
                )  # fmt: skip
                self.restart(container.name, "FailedPostStartHook")
        # The program has a head start: kubelet learns from the runtime that it runs.
        await self.kubelet.spend(self.kubelet.profile.observe_s)
        if container.name not in self.instances:
            return  # it exited meanwhile
        record = self.records[container.name]
        record.state, record.reason, record.message = RUNNING, "", ""
        record.started_at = format_time(instance.started_ns)
        record.container_id = f"containerd://{instance.id}"
        record.started = container.startup_probe is None
        record.ready = container.readiness_probe is None
        record.user, record.actuated = instance.process.spec.user, record.allocated
        if container.startup_probe is not None:
            self._probe(container, instance, "startup")
        else:
            self._probe_life(container, instance)
        self.publish()
        resize.settle(self)
        limits.limit_memory(self, container.name)

    def target(self, container: Container) -> probes.Target:
        """Where probes and hooks of a container go."""
        return probes.Target(self.pod, container, self.facts.pod_ips[0])

    def _probe(self, container: Container, instance: Instance, kind: str) -> None:
        report = partial(self._verdict, container, instance)
        instance.tasks.start(
            probes.probe_forever(
                self.kubelet, instance, self.target(container), kind, report
            ),
            name=f"{kind} probe {self.pod.key}/{container.name}",
        )  # fmt: skip

    def _probe_life(self, container: Container, instance: Instance) -> None:
        for kind in ("liveness", "readiness"):
            if getattr(container, f"{kind}_probe") is not None:
                self._probe(container, instance, kind)

    def _verdict(self, container: Container, instance: Instance, kind: str, good: bool) -> None:
        record = self.records[container.name]
        if kind == "readiness":
            record.ready = good
        elif kind == "startup" and good:
            record.started = True
            self._probe_life(container, instance)
        elif not good and not instance.stopping:
            probe: Probe | None = getattr(container, f"{kind}_probe")
            assert probe is not None, "a verdict is a probe's"
            self.restart(
                container.name,
                f"Container {container.name} failed {kind} probe, will be restarted",
                probe.termination_grace_period_seconds,
            )
        self.publish()
        self._wake.set()

    def restart(self, name: str, message: str, grace_s: int | None = None) -> None:
        """Stop a container that is to be started anew by its restart policy.

        ``grace_s`` is a probe's own grace period; without one, the pod's counts.
        """
        instance = self.instances[name]
        self.nursery.start(
            termination.stop(
                self, instance, self._grace_s() if grace_s is None else float(grace_s), message
            ),
            name=f"restart {self.pod.key}/{name}",
        )

    def _grace_s(self) -> float:
        return float(self.pod.spec.termination_grace_period_seconds)

    async def _follow(
        self,
        name: str,
        id: str,
        process: ContainerProcess,
        running: Running,
        started: asyncio.Future[Instance],
    ) -> None:
        """Hold the instance's tasks, wait for its exit and take it into the record."""
        kubelet = self.kubelet
        async with Nursery() as tasks:
            instance = Instance(name, id, process, running, kubelet.now_ns(), tasks)
            self.instances[name] = instance
            started.set_result(instance)
            code, lost = await _exit_code(running)
            if process.signalled and code == KILLED:
                code = 128 + process.signalled
            self._close(instance)
            tasks.cancel()
        finished = kubelet.now_ns()
        await kubelet.spend(kubelet.profile.observe_s)
        reason = "Completed" if code == 0 else "Error"
        if instance.starved and code == KILLED:
            reason = "OOMKilled"
        said = launch.termination_message(process, self.container(name), code)
        if lost:
            reason, said = LOST, LOST_MESSAGE
            kubelet.event(self.pod, "Warning", reason, said, name)
        self._ended(
            name, code, f"containerd://{id}", finished, reason, said, instance.started_ns, lost=lost
        )
        self.publish()
        self._wake.set()

    async def quiet(self) -> None:
        """Wait until the exit of every container has been taken into the records."""
        for follower in list(self._followers.values()):
            await follower

    def _close(self, instance: Instance) -> None:
        """The program ended: its sockets close, its log is complete."""
        if self.instances.get(instance.name) is instance:
            del self.instances[instance.name]
        instance.process.leave()
        self.kubelet.ctx.sockets.release(instance.id)
        instance.process.stdio.end()
        instance.process.stdio.log.end()

    def _ended(
        self, name: str, code: int, container_id: str, finished_ns: int, reason: str,
        message: str, started_ns: int | None = None, *, lost: bool = False,
    ) -> None:  # fmt: skip
        record = self.records[name]
        record.last = record.exit
        record.exit = Exit(
            code, reason, message, format_time(started_ns or finished_ns),
            format_time(finished_ns), finished_ns, container_id, lost,
        )  # fmt: skip
        record.state, record.container_id = TERMINATED, container_id
        if not is_sidecar(self.container(name)):
            record.started = False

    # ------------------------------------------------------------ telling

    def publish(self) -> None:
        """Tell the API what the pod looks like now."""
        if self.gone:
            return
        now = format_time(self.kubelet.now_ns())
        status = pod_status(self.pod, self.facts, self.records, self._since, now)
        self._since = {
            c["type"]: (c["status"], c["lastTransitionTime"]) for c in status["conditions"]
        }
        self.kubelet.statuses.set(self.pod, status)


async def _exit_code(running: Running) -> tuple[int, bool]:
    """How a container ended, and whether it was lost with the room that ran it."""
    try:
        return await running.wait(), False
    except ConnectionError:
        return KILLED, True


def _emit(kubelet: Kubelet, pod: Pod, container: str, type: str, reason: str, message: str) -> None:
    kubelet.event(pod, type, reason, message, container)
