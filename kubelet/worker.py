"""One ordered task per pod: from Pending to its end.

Behaviour of pkg/kubelet (podWorkers, syncPod, computePodActions): volumes, sandbox, init
containers, main containers, restarts; a deletion interrupts whatever is going on and leads to
``termination.terminate``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from podwire.api.times import NS, format_time
from podwire.api.views import Container, Pod
from podwire.client.counters import Container as Running
from podwire.client.hosting import KILLED
from podwire.kubelet import launch, limits, probes, resize, sandbox, starting, termination
from podwire.kubelet.admission import demand
from podwire.kubelet.core import (
    TERMINATED,
    WAITING,
    Exit,
    initialized,
    is_sidecar,
    plan,
    starts_anew,
)
from podwire.kubelet.launch import LOST, LOST_MESSAGE
from podwire.kubelet.logs import ContainerLog
from podwire.kubelet.network import Sandbox
from podwire.kubelet.podstatus import PodFacts, adopt, debuggers, gates, new_records, pod_status
from podwire.kubelet.process import ContainerProcess
from podwire.kubelet.restarting import restart_all
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.tokens import PodTokens
from podwire.kubelet.volumes import PodVolumes
from podwire.runtime.ports import Timer
from podwire.runtime.tasks import Event, Nursery, first

T = TypeVar("T")
MOUNT_RETRY_MAX_S = 122.0
TERMINAL = ("Succeeded", "Failed")


class PodWorker:
    """The life of one pod on this node."""

    def __init__(self, kubelet: Kubelet, pod: Pod) -> None:
        self.kubelet = kubelet
        self.pod = pod
        self.records = new_records(pod.spec)
        self.facts = PodFacts(kubelet.info.addresses)
        self.demand = demand(pod.spec)
        """What it takes of the node."""
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
        self.ending = Event()
        """Set when the pod is to be terminated (deleted, or its object is gone)."""
        self.gone = False
        """The object no longer exists."""
        self.done = False
        """``run`` has returned."""
        self.inherited = False
        self.over = Event()
        """Set with ``released``."""
        self.called = Event()
        """Set when the pod shall not go on: it ends, was expelled, or had its time."""
        self.grace_s: float | None = None
        """What the kubelet leaves it then, if less than the pod's own grace period."""
        self.released = False
        """The sandbox was given back and the last status told."""
        self.stopper: termination.Stopper | None = None
        self.nursery = Nursery()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self.wake = Event()
        self.living = False
        """Whether it goes on unless it is called off."""
        self.deadline: Timer | None = None
        """What calls it off once it had its time (``limits.watch_time``)."""
        self._renewal: Timer | None = None
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
        if limited and self.living:
            limits.watch_time(self)
        joined = {n: r for n, r in debuggers(pod.spec).items() if n not in self.records}
        if joined:
            self.records |= joined
            self.wake.set()
        if not pod.metadata.deletion_timestamp and self.facts.start_time:
            resize.consider(self)
        if relabelled:
            self.refresh_volumes_later()
            for name in list(self.instances):
                limits.limit_memory(self, name)
        if pod.metadata.deletion_timestamp:
            self.end()
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
        self.called.set()
        if self.stopper is not None:
            self.stopper.shorten(self.grace_s)

    def removed(self) -> None:
        """The object is gone: whatever still runs is an orphan."""
        self.gone = True
        self.kubelet.statuses.forget(self.pod)
        self.end()

    def end(self) -> None:
        """The pod is to be terminated."""
        self.ending.set()
        self.called.set()

    def source_changed(self, kind: str, name: str) -> None:
        """A ConfigMap or Secret of the namespace changed."""
        if self.volumes.uses(kind, name):
            self.refresh_volumes_later()
        self.wake.set()

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
                limits.watch_time(self)
                self.living = True
                await self.called.unless(self._live())
                self.living = False
                limits.leave_time(self)
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
            limits.leave_time(self)
            if self._renewal is not None:
                self._renewal.cancel()
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
        self._renew_later()
        await sandbox.ensure(self)
        while True:
            self.wake.clear()
            if starts_anew(self.pod.spec, self.records):
                await self.uninterrupted(restart_all(self), "restart all")
            spec, facts = self.pod.spec, self.facts
            if not facts.was_initialized and initialized(spec, self.records):
                facts.was_initialized = True
            step = plan(spec, self.records, was_initialized=facts.was_initialized)
            if step.over:
                await termination.complete(self)
                return
            names = [name for name in (*self._debuggers(), *step.start) if not self._lives(name)]
            wait_ns = await starting.start_all(self, names)
            self.publish()
            if not facts.was_initialized and initialized(spec, self.records):
                continue
            if wait_ns is None:
                await self.wake.wait()
            else:
                await first(self.wake.wait(), self.kubelet.ctx.clock.sleep(wait_ns / NS))

    def _renew_later(self) -> None:
        """Renew the tokens in projected volumes as long as the pod lives."""
        left_s = self.volumes.tokens_due_s()
        if left_s is not None:
            self._renewal = self.kubelet.ctx.clock.call_later(left_s, self._renew)

    def _renew(self) -> None:
        self.nursery.start(self._renewed(), name=f"tokens {self.pod.key}")

    async def _renewed(self) -> None:
        await self.volumes.renew_tokens()
        self._renew_later()

    async def uninterrupted(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Await a piece of work that a deletion must not cut in half."""
        task: asyncio.Task[T] = self.nursery.start(work, name=f"{name} {self.pod.key}")
        self._busy = task
        done = await asyncio.shield(task)
        self._busy = None
        return done

    async def _mount(self) -> None:
        delay_s = self.kubelet.profile.resync_s
        while failures := await self.volumes.mount():
            for volume, message in failures:
                text = f'MountVolume.SetUp failed for volume "{volume}" : {message}'
                self.kubelet.event(self.pod, "Warning", "FailedMount", text)
            self.wake.clear()
            await first(self.wake.wait(), self.kubelet.ctx.clock.sleep(delay_s))
            delay_s = min(2 * delay_s, MOUNT_RETRY_MAX_S)

    # ------------------------------------------------------------ containers

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

    def target(self, container: Container) -> probes.Target:
        """Where probes and hooks of a container go."""
        return probes.Target(self.pod, container, self.facts.pod_ips[0])

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

    async def follow(
        self, name: str, id: str, process: ContainerProcess, running: Running
    ) -> Instance:
        """Take charge of a container that runs, up to its exit."""
        started: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._followers[name] = self.nursery.start(
            self._follow(name, id, process, running, started),
            name=f"container {self.pod.key}/{name}",
        )
        return await started

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
        self.ended(
            name, code, f"containerd://{id}", finished, reason, said, instance.started_ns, lost=lost
        )
        # The end of a terminating pod's last container is told with the pod's (syncTerminatingPod).
        if self.stopper is None or self.instances:
            self.publish()
        self.wake.set()

    def _lives(self, name: str) -> bool:
        """Whether an instance runs, or its exit has still to be taken into the record."""
        follower = self._followers.get(name)
        return follower is not None and not follower.done()

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

    def ended(
        self, name: str, code: int, container_id: str, finished_ns: int, reason: str,
        message: str, started_ns: int | None = None, *, lost: bool = False,
    ) -> None:  # fmt: skip
        """Take the end of a container into its record; ``lost``: nobody knows how it ended."""
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
