"""The scheduler: one pod at a time is decided, bindings run beside.

A decided pod is *assumed* to stand on its node at once, so that two pods never overfill it, and
forgotten again when its binding fails.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.client.api import STRATEGIC, Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.client.recorder import Recorder
from podwire.runtime.tasks import Nursery
from podwire.scheduler.core import Decision, decide, not_modelled
from podwire.scheduler.queue import SchedulingQueue, Waiting
from podwire.scheduler.resources import Cluster, demand

USER = User("system:kube-scheduler")
NAME = "default-scheduler"


async def run(ctx: Ctx) -> None:
    """Schedule until cancelled."""
    await Scheduler(ctx).run()


class Scheduler:
    """The default scheduler of a cluster."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._client = Client(ctx.api, USER, user_agent="kube-scheduler")
        self._informers = Informers(self._client, ctx)
        self._recorder = Recorder(ctx, self._client, NAME)
        self._rng = ctx.rng.child("scheduler")
        self._log = ctx.log.bind(component=NAME)
        self._queue = SchedulingQueue(ctx.clock)
        self._cluster = Cluster()
        self._assumed: dict[str, None] = {}
        """Uids of pods whose binding is on its way."""
        self._informers.informer(kinds.NODE).on_change(self._node_changed)
        self._informers.informer(kinds.POD).on_change(self._pod_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with Nursery() as nursery:
            nursery.start(self._informers.run(), name="scheduler informers")
            nursery.start(self._recorder.run(), name="scheduler events")
            await self._informers.wait_synced()
            while True:
                waiting = await self._queue.pop()
                decision = self._decide(waiting)
                name = waiting.pod.key
                if decision.node:
                    bound = self._bind(waiting.pod, decision.node)
                    nursery.start(bound, name=f"scheduler bind {name}")
                else:
                    told = self._tell_unschedulable(waiting.pod, decision.message)
                    nursery.start(told, name=f"scheduler tell {name}")

    # ------------------------------------------------------------ what happens

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._cluster.remove_node(old.metadata.name)
            return
        self._cluster.set_node(new)
        if old is None or _scheduling_facts(old) != _scheduling_facts(new):
            self._queue.move_all()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        uid = pod.metadata.uid
        if new is None or new.status.phase in {"Succeeded", "Failed"}:
            self._queue.remove(uid)
            self._assumed.pop(uid, None)
            self._cluster.remove_pod(uid)
            if pod.spec.node_name:
                self._queue.move_all()
        elif new.spec.node_name:
            self._queue.remove(uid)
            self._assumed.pop(uid, None)
            self._cluster.set_pod(new, new.spec.node_name)
        elif uid not in self._assumed and _ours(new):
            self._queue.add(new)
        elif new.metadata.deletion_timestamp:
            self._queue.remove(uid)

    # ------------------------------------------------------------ one pod

    def _decide(self, waiting: Waiting) -> Decision:
        pod = waiting.pod
        ignored = not_modelled(pod.spec) if waiting.attempts == 1 else []
        if ignored:
            message = f"{', '.join(ignored)}: not modelled, ignored"
            self._recorder.emit(pod, "Warning", "NotModelled", message)
        wanted = demand(pod)
        decision = decide(pod, wanted, self._cluster.ordered(), self._rng)
        uid = pod.metadata.uid
        if decision.node:
            self._assumed[uid] = None
            self._cluster.set_pod(pod, decision.node)
        else:
            self._queue.failed(uid, unschedulable=True)
        return decision

    async def _bind(self, pod: Pod, node: str) -> None:
        meta = pod.metadata
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"kind": "Node", "name": node},
        }
        path = kinds.POD.path(meta.namespace, meta.name, "binding")
        try:
            await self._client.send("POST", path, body=body)
        except (ApiError, ConnectionError) as error:
            self._unassume(pod, error)
            return
        self._queue.remove(meta.uid)
        self._log.debug("bound", pod=pod.key, node=node)
        message = f"Successfully assigned {pod.key} to {node}"
        self._recorder.emit(pod, "Normal", "Scheduled", message)

    def _unassume(self, pod: Pod, error: ApiError | ConnectionError) -> None:
        """The binding failed: free the place; unless an event told meanwhile where the pod is."""
        uid = pod.metadata.uid
        self._log.info("binding failed", pod=pod.key, error=str(error))
        if self._assumed.pop(uid, "") is not None:
            return
        self._cluster.remove_pod(uid)
        self._queue.failed(uid, unschedulable=False)
        self._queue.move_all()  # others may use the place
        if not isinstance(error, ApiError) or error.code != 404:
            message = f"binding rejected: {error}"
            self._recorder.emit(pod, "Warning", "FailedScheduling", message)

    async def _tell_unschedulable(self, pod: Pod, message: str) -> None:
        self._recorder.emit(pod, "Warning", "FailedScheduling", message)
        known = pod.condition("PodScheduled")
        if (
            known is not None
            and known.status == "False"
            and known.reason == "Unschedulable"
            and known.message == message
        ):
            return
        now = format_time(self._ctx.clock.now_ns())
        same = known is not None and known.status == "False"
        condition: JSON = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": known.last_transition_time if known and same else now,
        }
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                kinds.POD, meta.name, patch, meta.namespace,
                subresource="status", content_type=STRATEGIC,
            )  # fmt: skip
        except (ApiError, ConnectionError) as error:
            self._log.info("status not written", pod=pod.key, error=str(error))


def _ours(pod: Pod) -> bool:
    return (
        pod.spec.scheduler_name == NAME
        and not pod.spec.scheduling_gates
        and not pod.metadata.deletion_timestamp
    )


def _scheduling_facts(node: Node) -> tuple[object, ...]:
    """What of a node can make a pod schedulable."""
    return (
        node.status.allocatable,
        node.metadata.labels,
        node.spec.taints,
        node.spec.unschedulable,
    )
