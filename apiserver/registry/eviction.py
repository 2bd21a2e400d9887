"""POST pods/{name}/eviction: a deletion that asks the PodDisruptionBudget first.

Source: upstream core/pod/storage/eviction.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.budgets import protects
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Object, Pod, PodDisruptionBudget
from podwire.apiserver import answers, calls, objects
from podwire.apiserver.admission.review import Review
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import delete
from podwire.apiserver.storage import Lost, write
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

EVICTION = Kind(Object, "policy", "v1", "Eviction", "evictions", "eviction")
"""The subresource's own kind; it is served nowhere else."""
_ATTEMPTS = 5
_UNGUARDED = ("Pending", "Succeeded", "Failed")
"""Phases in which no budget protects a pod."""
MAX_DISRUPTED = 2000


async def handle(server: Apiserver, call: Call) -> Response:
    """Evict the pod: 201 with a Status. Raises ApiError TooManyRequests for a spent budget."""
    eviction = objects.decode_as(call, "policy/v1", "Eviction")
    name = eviction["metadata"].get("name") or call.name
    if name != call.name:
        raise ApiError("BadRequest", "name in URL does not match name in Eviction object")
    options = delete.options_of(_with_dry_run(call, eviction.get("deleteOptions") or {}))
    await server.caches.fresh()
    current = server.caches.of(kinds.POD).get(call.namespace, name)
    if current is None:
        raise call.not_found()
    delete.check_preconditions(kinds.POD, current, options)
    await server.admission.admit(Review(
        server, call, call.kind, "CREATE", call.namespace, name, eviction, None, call.subresource,
        EVICTION, options.dry_run,
    ))  # fmt: skip
    pod = current.view
    ending = pod.status.phase in _UNGUARDED or pod.metadata.deletion_timestamp
    if not ending:
        budget = _budget(server, pod)
        if budget is not None and not _unhealthy(pod, budget):
            await _spend(server, pod, budget, dry_run=options.dry_run)
        await _mark(server, call, dry_run=options.dry_run)
    await delete.delete(server, call, kinds.POD, call.namespace, name, options)
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return answers.json({**success, "code": 201}, 201)


def _with_dry_run(call: Call, options: JSON) -> JSON:
    """What the query and the body say of a dry run must not differ. Raises ApiError."""
    query, body = ["All"] if call.dry_run else [], options.get("dryRun") or []
    if query and body and query != body:
        message = "Non-matching dry-run options in request and content: "
        raise ApiError("InternalError", f"{message}[{' '.join(query)}] and [{' '.join(body)}]")
    return {**options, "dryRun": body or query}


def _budget(server: Apiserver, pod: Pod) -> PodDisruptionBudget | None:
    """The budget that selects the pod. Raises ApiError when there are several."""
    cache = server.caches.of(kinds.POD_DISRUPTION_BUDGET)
    found: list[PodDisruptionBudget] = [
        entry.view for entry in cache.entries(pod.metadata.namespace) if protects(entry.view, pod)
    ]
    if len(found) > 1:
        raise ApiError(
            "InternalError",
            "This pod has more than one PodDisruptionBudget, "
            "which the eviction subresource does not support.",
        )
    return found[0] if found else None


def _unhealthy(pod: Pod, budget: PodDisruptionBudget) -> bool:
    """A running pod that is not Ready costs nothing while the others suffice, or by policy."""
    if pod.ready:
        return False
    status = budget.status
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    return status.current_healthy >= status.desired_healthy > 0


async def _spend(
    server: Apiserver, pod: Pod, budget: PodDisruptionBudget, *, dry_run: bool
) -> None:
    """Take one from what the budget allows. Raises ApiError."""
    kind, cache = kinds.POD_DISRUPTION_BUDGET, server.caches.of(kinds.POD_DISRUPTION_BUDGET)
    name = budget.metadata.name
    for _ in range(_ATTEMPTS):
        current = cache.get(budget.metadata.namespace, name)
        if current is None:
            return  # the budget was deleted meanwhile: nothing protects the pod
        _check(current.view)
        body = current.json()
        status: JSON = body["status"]
        status["disruptionsAllowed"] -= 1
        now = format_time(server.world.clock.now_ns())
        status["disruptedPods"] = {**status.get("disruptedPods", {}), pod.metadata.name: now}
        try:
            await write(server, kind, body, current, dry_run=dry_run)
        except Lost:
            await server.caches.fresh()
            continue
        return
    raise calls.conflict(kind, name, calls.MODIFIED)


def _check(budget: PodDisruptionBudget) -> None:
    name, status = budget.metadata.name, budget.status
    if status.observed_generation < budget.metadata.generation:
        raise _too_many(f"The disruption budget {name} is still being processed by the server.")
    if len(status.disrupted_pods) > MAX_DISRUPTED:
        raise ApiError(
            "Forbidden",
            f"poddisruptionbudgets.policy {name!r} is forbidden: DisruptedPods map too big - "
            "too many evictions not confirmed by PDB controller",
        )
    if status.disruptions_allowed <= 0:
        raise _too_many(
            f"The disruption budget {name} needs {status.desired_healthy} healthy pods "
            f"and has {status.current_healthy} currently"
        )


def _too_many(why: str) -> ApiError:
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiError("TooManyRequests", message, causes=(Cause("DisruptionBudget", why),))


async def _mark(server: Apiserver, call: Call, *, dry_run: bool) -> None:
    """Tell in the pod's conditions why it goes."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": format_time(server.world.clock.now_ns()),
    }
    for _ in range(_ATTEMPTS):
        current = server.caches.of(kinds.POD).get(call.namespace, call.name)
        if current is None:
            raise call.not_found()
        body = current.json()
        status = body.setdefault("status", {})
        rest = [c for c in status.get("conditions") or () if c.get("type") != "DisruptionTarget"]
        status["conditions"] = [*rest, condition]
        try:
            await write(server, kinds.POD, body, current, dry_run=dry_run)
        except Lost:
            await server.caches.fresh()
            continue
        return
    raise calls.conflict(kinds.POD, call.name, calls.MODIFIED)
