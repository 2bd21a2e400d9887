"""POST pods/{name}/binding: the scheduler's decision. Source: upstream core/pod/storage."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import answers, calls, objects
from podwire.apiserver.admission.review import Review
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import attempts, meta
from podwire.apiserver.storage import write
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


BINDING = kinds.named("v1", "Binding")


async def handle(server: Apiserver, call: Call) -> Response:
    """Assign the pod to a node: 201 with a Status."""
    binding = objects.decode_as(call, "v1", "Binding")
    target = binding.get("target") or {}
    name = (binding.get("metadata") or {}).get("name") or call.name
    if name != call.name:
        raise ApiError("BadRequest", "name in URL does not match name in Binding object")
    if target.get("kind") not in {None, "", "Node"} or not target.get("name"):
        raise ApiError("BadRequest", "binding target must be a Node with a name")
    dry_run = call.dry_run
    await server.admission.admit(Review(
        server, call, call.kind, "CREATE", call.namespace, name, binding, None, call.subresource,
        BINDING, dry_run,
    ))  # fmt: skip

    async def attempt() -> tuple[None, bool]:
        current = server.caches.of(call.kind).get(call.namespace, call.name)
        if current is None:
            raise call.not_found()
        pod = current.json()
        _assign(call, pod, binding, meta.now(server))
        await write(server, call.kind, pod, current, dry_run=dry_run)
        return None, True

    conflict = partial(calls.conflict, call.kind, call.name, calls.MODIFIED, "binding")
    await attempts.settle(server, attempt, conflict, fresh=dry_run)
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return answers.json({**success, "code": 201}, 201)


def _assign(call: Call, pod: JSON, binding: JSON, now: str) -> None:
    """Set nodeName and the PodScheduled condition, end a nomination. Raises ApiError Conflict."""
    name, metadata, spec = call.name, pod["metadata"], pod["spec"]
    given = binding.get("metadata") or {}
    if given.get("uid") and given["uid"] != metadata["uid"]:
        why = (
            f"Precondition failed: UID in precondition: {given['uid']}, "
            f"UID in object meta: {metadata['uid']}"
        )
        raise calls.conflict(call.kind, name, why, "binding")
    if "deletionTimestamp" in metadata:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
        raise calls.conflict(call.kind, name, why, "binding")
    if spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise calls.conflict(call.kind, name, why, "binding")
    if spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
        raise calls.conflict(call.kind, name, why, "binding")
    spec["nodeName"] = binding["target"]["name"]
    if given.get("annotations"):
        metadata["annotations"] = {**metadata.get("annotations", {}), **given["annotations"]}
    if given.get("labels"):
        metadata["labels"] = {**metadata.get("labels", {}), **given["labels"]}
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)  # it has served
    others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    status["conditions"] = [*others, scheduled]
