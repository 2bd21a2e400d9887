"""The scheduler: one pod at a time is decided, bindings and preemptions run beside.

A decided pod is *assumed* to stand on its node at once, so that two pods never overfill it, and
forgotten again when its binding fails. Source: kube-scheduler's eventhandlers.go, schedule_one.go
and framework/preemption/executor.go (preemption runs beside the next decisions).
"""

from __future__ import annotations

import asyncio

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.views import Namespace, Node, Object, Pod
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.client.recorder import Recorder
from podwire.runtime.tasks import Event, Nursery
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.core import Decision, Scheduler
from podwire.scheduler.defaults import Defaults
from podwire.scheduler.hints import Change, What
from podwire.scheduler.preemption import Preemption, preempt
from podwire.scheduler.queue import SchedulingQueue, Waiting
from podwire.scheduler.terms import PodInfo, info, same_demands
from podwire.scheduler.verdicts import NO_NODES
from podwire.scheduler.volumes import Claims
from podwire.scheduler.writing import NAME, Writer

USER = User("system:kube-scheduler")
BIND_TIMEOUT_S = 600.0
"""How long a pod's claims may take (VolumeBindingArgs.bindTimeoutSeconds)."""


async def run(ctx: Ctx) -> None:
    """Schedule until cancelled."""
    await SchedulerShell(ctx).run()


class SchedulerShell:
    """The default scheduler of a cluster."""

    def __init__(self, ctx: Ctx) -> None:
        client = Client(ctx.api, USER, user_agent="kube-scheduler")
        informers = self._informers = Informers(client, ctx)
        self._recorder = Recorder(ctx, client, NAME, folds=False)
        self._log = ctx.log.bind(component=NAME)
        self._writer = Writer(client, ctx.clock, self._recorder, self._log)
        self._queue = SchedulingQueue(ctx.clock)
        self._cluster = Cluster()
        claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIM)
        volumes = informers.informer(kinds.PERSISTENT_VOLUME)
        classes = informers.informer(kinds.STORAGE_CLASS)
        self._budgets = informers.informer(kinds.POD_DISRUPTION_BUDGET)
        self._scheduler = Scheduler(
            self._cluster,
            ctx.rng.child("scheduler"),
            Defaults(informers).constraints,
            Claims(
                claims.get,
                lambda name: volumes.get("", name),
                lambda name: classes.get("", name),
                volumes.list,
            ),
        )
        self._storage_moved = Event()
        """Set when claims changed or a pod is assumed no more: bindings that wait look again."""
        self._assumed: dict[str, None] = {}
        """Uids of pods whose binding is on its way."""
        for storage in (claims, volumes, classes):
            storage.on_change(self._storage_changed)
        informers.informer(kinds.NAMESPACE).on_change(self._namespace_changed)
        informers.informer(kinds.NODE).on_change(self._node_changed)
        self._pods = informers.informer(kinds.POD)
        self._pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with Nursery() as nursery:
            nursery.start(self._informers.run(), name="scheduler informers")
            nursery.start(self._recorder.run(), name="scheduler events")
            await self._informers.wait_synced()
            while True:
                waiting = await self._queue.pop()
                self._schedule(waiting, nursery)

    # ------------------------------------------------------------ what happens

    def _storage_changed(self, _old: Object | None, new: Object | None) -> None:
        self._moved()
        if new is not None:
            self._queue.changed(Change(What.STORAGE))

    def _moved(self) -> None:
        self._storage_moved.set()
        self._storage_moved = Event()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        namespace = new or old
        assert namespace is not None, "a change has a before or an after"
        labels = new.metadata.labels if new is not None else None
        self._cluster.set_namespace(namespace.metadata.name, labels)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None, "a change has a before or an after"
            self._cluster.remove_node(old.metadata.name)
            self._queue.changed(Change(What.NODE_GONE, old))
        elif old is None or _scheduling_facts(old) != _scheduling_facts(new):
            self._cluster.set_node(new)
            what = What.NODE_ADDED if old is None else What.NODE_CHANGED
            self._queue.changed(Change(what, old, new))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None, "a change has a before or an after"
        uid = pod.metadata.uid
        if new is None or new.status.phase in {"Succeeded", "Failed"}:
            self._forget(uid)
            if pod.spec.node_name:
                self._gone(pod)
        elif new.spec.node_name:
            self._stands(old, new)
        elif new.metadata.deletion_timestamp:
            self._forget(uid)
        elif uid not in self._assumed and new.spec.scheduler_name == NAME:
            self._waits(old, new)

    def _forget(self, uid: str) -> None:
        self._queue.remove(uid)
        if self._assumed.pop(uid, "") is None:
            self._moved()
        self._cluster.forget_nomination(uid)

    def _gone(self, pod: Pod) -> None:
        if self._cluster.remove_pod(pod.metadata.uid) is not None:
            self._queue.changed(
                Change(What.POD_GONE, pod, None, namespaces=self._cluster.namespaces)
            )

    def _stands(self, old: Pod | None, new: Pod) -> None:
        uid, namespaces = new.metadata.uid, self._cluster.namespaces
        self._forget(uid)
        before = self._cluster.node_of(uid)
        self._cluster.set_pod(new, new.spec.node_name)
        if old is None or not old.spec.node_name:
            # Who was assumed here helped (or did not) when it was assumed.
            if before != new.spec.node_name:
                self._queue.changed(Change(What.POD_PLACED, None, new, namespaces=namespaces))
        elif old.metadata.labels != new.metadata.labels:
            self._queue.changed(Change(What.POD_CHANGED, old, new, namespaces=namespaces))

    def _waits(self, old: Pod | None, new: Pod) -> None:
        waiting = self._queue.get(new.metadata.uid)
        if waiting is None:
            made = info(new)
            self._queue.add(made)
        elif old is not None and same_demands(old, new):
            waiting.info.pod = new
            made = waiting.info
        else:
            made = info(new)
            self._queue.update(made)
        self._cluster.nominate(made, new.status.nominated_node_name)

    # ------------------------------------------------------------ one pod

    def _schedule(self, waiting: Waiting, nursery: Nursery) -> None:
        pod = waiting.info
        decision = self._scheduler.decide(pod)
        if decision.node:
            self._assume(pod, decision.node)
            nursery.start(self._bind(pod, decision.node), name=f"scheduler bind {pod.pod.key}")
            return
        found = self._preempt(pod, decision)
        message = f"{decision.message} {found.message}".rstrip()
        victims = tuple(v for v in found.victims if not v.pod.metadata.deletion_timestamp)
        self._queue.refused(pod.uid, decision.plugins, hold=bool(victims))
        if found.node is not None:
            self._cluster.nominate(pod, found.node)
        told = self._writer.unschedulable(pod.pod, message, found.node)
        nursery.start(told, name=f"scheduler tell {pod.pod.key}")
        if victims and found.node:
            evicted = self._evict(pod, found.node, victims)
            nursery.start(evicted, name=f"scheduler preempt {pod.pod.key}")

    def _preempt(self, pod: PodInfo, decision: Decision) -> Preemption:
        if decision.message == NO_NODES:
            return Preemption("", "")
        return preempt(self._scheduler, pod, decision, self._budgets.list())

    def _assume(self, pod: PodInfo, node: str) -> None:
        self._assumed[pod.uid] = None
        self._cluster.forget_nomination(pod.uid)
        self._cluster.set_pod(pod, node)
        change = Change(What.POD_PLACED, None, pod.pod, namespaces=self._cluster.namespaces)
        self._queue.changed(change)

    async def _bind(self, pod: PodInfo, node: str) -> None:
        error = await self._volumes_bound(pod, node) or await self._writer.bind(pod.pod, node)
        if error is None:
            self._queue.remove(pod.uid)
        else:
            self._unassume(pod, error)

    async def _volumes_bound(self, pod: PodInfo, node: str) -> ApiError | ConnectionError | None:
        """PreBind of VolumeBinding: tell the claims the node, and wait until they are bound."""
        claims = self._scheduler.claims
        waiting = claims.delayed(pod.pod)
        if not waiting:
            return None
        found = self._cluster.nodes.get(node)
        for claim in waiting:
            volume = claims.match(claim, found.node) if found is not None else None
            error = await self._writer.select(claim, volume, node)
            if error is not None:
                return error
        try:
            async with asyncio.timeout(BIND_TIMEOUT_S):
                while claims.delayed(pod.pod):
                    if pod.uid not in self._assumed:
                        return ApiError("NotFound", f"pod {pod.pod.key} is gone")
                    await self._storage_moved.wait()
        except TimeoutError:
            return ApiError("Timeout", "binding volumes: context deadline exceeded")
        return None

    def _unassume(self, pod: PodInfo, error: ApiError | ConnectionError) -> None:
        """The binding failed: free the place; unless an event told meanwhile where the pod is."""
        self._log.info("binding failed", pod=pod.pod.key, error=str(error))
        if self._assumed.pop(pod.uid, "") is not None:
            return
        self._queue.failed(pod.uid)
        self._gone(pod.pod)  # others may use the place
        if not isinstance(error, ApiError) or error.code != 404:
            self._writer.binding_rejected(pod.pod, error)

    async def _evict(self, pod: PodInfo, node: str, victims: tuple[PodInfo, ...]) -> None:
        """End the victims, and the nominations of less important pods that wait for the node."""
        rivals = [
            rival
            for rival in self._cluster.nominated.get(node, {}).values()
            if rival.priority < pod.priority
        ]
        for rival in rivals:
            self._cluster.forget_nomination(rival.uid)
            await self._writer.clear_nomination(rival.pod)
        done = True
        for victim in victims:
            done &= await self._writer.evict(victim.pod, pod.pod, node)
        self._queue.release(pod.uid, retry=not done)


def _scheduling_facts(node: Node) -> tuple[object, ...]:
    """What of a node filters and scores read."""
    return (
        node.status.allocatable,
        node.metadata.labels,
        node.spec.taints,
        node.spec.unschedulable,
        node.status.images,
    )
