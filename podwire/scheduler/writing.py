"""What the scheduler writes: bindings, conditions, nominations, evictions, and events about them.

Source: kube-scheduler's bind, updatePod and PreemptPod, with their words.
"""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import PersistentVolume, PersistentVolumeClaim, Pod
from podwire.api.volumes import BOUND_BY_CONTROLLER, SELECTED_NODE
from podwire.client.api import STRATEGIC, Client
from podwire.client.recorder import Recorder
from podwire.runtime.ports import Clock
from podwire.scheduler.preemption import DISRUPTION_TARGET, PREEMPTED

NAME = "default-scheduler"
_MAX_NOTE = 1024
"""Events' messages are cut at this length."""
_CUT = " ..."


class Writer:
    """Writes about pods through the API."""

    def __init__(
        self, client: Client, clock: Clock, recorder: Recorder, log: FilteringBoundLogger
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._log = log

    async def bind(self, pod: Pod, node: str) -> ApiError | ConnectionError | None:
        """Bind the pod to the node; the error if that failed."""
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
            return error
        self._log.debug("bound", pod=pod.key, node=node)
        message = f"Successfully assigned {pod.key} to {node}"
        self._recorder.emit(pod, "Normal", "Scheduled", message)
        return None

    async def select(
        self, claim: PersistentVolumeClaim, volume: PersistentVolume | None, node: str
    ) -> ApiError | ConnectionError | None:
        """Reserve a volume for a claim, or have one provisioned for a node; the error if any."""
        meta = claim.metadata
        try:
            if volume is not None:
                held = volume.metadata
                reference = {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": meta.namespace, "name": meta.name, "uid": meta.uid,
                }  # fmt: skip
                guard = {"uid": held.uid, "resourceVersion": held.resource_version}
                marks = {BOUND_BY_CONTROLLER: "yes"}
                patch: JSON = {
                    "metadata": {**guard, "annotations": marks}, "spec": {"claimRef": reference},
                }  # fmt: skip
                await self._client.patch(kinds.PERSISTENT_VOLUME, held.name, patch)
            else:
                patch = {"metadata": {"uid": meta.uid, "annotations": {SELECTED_NODE: node}}}
                kind = kinds.PERSISTENT_VOLUME_CLAIM
                await self._client.patch(kind, meta.name, patch, meta.namespace)
        except (ApiError, ConnectionError) as error:
            return error
        return None

    def binding_rejected(self, pod: Pod, error: ApiError | ConnectionError) -> None:
        """Tell that a binding failed."""
        self._recorder.emit(pod, "Warning", "FailedScheduling", f"binding rejected: {error}")

    async def unschedulable(self, pod: Pod, message: str, nominated: str | None) -> None:
        """Event and condition; ``nominated`` None leaves status.nominatedNodeName as it is."""
        note = message if len(message) <= _MAX_NOTE else message[: _MAX_NOTE - len(_CUT)] + _CUT
        self._recorder.emit(pod, "Warning", "FailedScheduling", note)
        status: JSON = {}
        known = pod.condition("PodScheduled")
        if known is None or (known.status, known.reason, known.message) != (
            "False", "Unschedulable", message,
        ):  # fmt: skip
            status["conditions"] = [self._condition(pod, "PodScheduled", "False", {
                "reason": "Unschedulable", "message": message,
            })]  # fmt: skip
        if nominated is not None and nominated != pod.status.nominated_node_name:
            status["nominatedNodeName"] = nominated or None
        await self._patch(pod, status)

    def _condition(self, pod: Pod, type: str, status: str, words: JSON) -> JSON:
        known = pod.condition(type)
        same = known is not None and known.status == status
        now = format_time(self._clock.now_ns())
        since = known.last_transition_time if known is not None and same else now
        made: JSON = {"type": type, "status": status, "lastTransitionTime": since, **words}
        if pod.metadata.generation:
            made["observedGeneration"] = pod.metadata.generation
        return made

    async def clear_nomination(self, pod: Pod) -> None:
        """A more important pod takes the node that the pod waited for."""
        await self._patch(pod, {"nominatedNodeName": None})

    async def evict(self, victim: Pod, preemptor: Pod, node: str) -> bool:
        """Mark and delete a victim, gracefully; whether it is (or was) on its way out."""
        condition = self._condition(victim, DISRUPTION_TARGET, "True", {
            "reason": PREEMPTED,
            "message": f"{NAME}: preempting to accommodate a higher priority pod",
        })  # fmt: skip
        meta = victim.metadata
        try:
            await self._patch_status(victim, {"conditions": [condition]})
            await self._client.delete(kinds.POD, meta.name, meta.namespace, uid=meta.uid)
        except ApiError as error:
            if error.code in {404, 409}:
                return True  # it went meanwhile
            return self._not_evicted(victim, error)
        except ConnectionError as error:
            return self._not_evicted(victim, error)
        message = f"Preempted by pod {preemptor.metadata.uid} on node {node}"
        self._recorder.emit(victim, "Normal", "Preempted", message)
        return True

    def _not_evicted(self, victim: Pod, error: ApiError | ConnectionError) -> bool:
        self._log.info("victim not evicted", pod=victim.key, error=str(error))
        return False

    async def _patch(self, pod: Pod, status: JSON) -> None:
        if not status:
            return
        try:
            await self._patch_status(pod, status)
        except (ApiError, ConnectionError) as error:
            self._log.info("status not written", pod=pod.key, error=str(error))

    async def _patch_status(self, pod: Pod, status: JSON) -> None:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        await self._client.patch(
            kinds.POD, meta.name, patch, meta.namespace,
            subresource="status", content_type=STRATEGIC,
        )  # fmt: skip
