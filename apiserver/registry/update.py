"""PUT. Source: apiserver pkg/endpoints/handlers/update.go, registry/generic/registry/store.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.api import conversion, kinds
from podwire.api.kinds import Kind
from podwire.api.objects import prepare_update
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import allocation, calls, objects
from podwire.apiserver.admission.review import Review, admit
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import attempts, create, meta, strategy
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

Change = Callable[[JSON], JSON]
"""Makes the wanted object of the current one."""


async def handle(server: Apiserver, call: Call) -> Response:
    """Replace an object (or its status): 200 with the result; some kinds are created, 201."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    dry_run = call.dry_run
    body = objects.decode(call, call.kind)
    meta.fit_name(call, body["metadata"])
    meta.fit_namespace(call, body["metadata"])

    def make(_current: JSON) -> JSON:
        return {**body, "metadata": dict(body["metadata"])}

    try:
        entry = await change(server, call, make, dry_run=dry_run)
    except ApiError as error:
        absent = error.reason == "NotFound" and error.details.get("kind") == call.kind.plural
        if not absent or call.subresource or not strategy.creates_by_update(call.kind):
            raise
        return await create.handle(server, call)
    return server.one(entry, shape)


async def change(server: Apiserver, call: Call, make: Change, *, dry_run: bool) -> Entry:
    """Read, change, check, write; again when another writer came between.
    A body that names a revision is refused then. Raises ApiError.
    """

    async def attempt() -> tuple[Entry, bool]:
        current = server.caches.of(call.kind).get(call.namespace, call.name)
        if current is None:
            raise call.not_found()
        old = current.json()
        shown = {**old, "metadata": {**old["metadata"], "resourceVersion": str(current.revision)}}
        new = make(shown)
        meta.before_update(call, new, old, current.revision)
        entry = await replace(server, call, new, old, current, dry_run=dry_run)
        return entry, entry is not current

    # A body that names its revision is refused on the second round.
    conflict = calls.conflict(call.kind, call.name, calls.MODIFIED)
    return await attempts.settle(server, attempt, conflict, fresh=dry_run)


async def replace(
    server: Apiserver, call: Call, new: JSON, old: JSON, current: Entry, *, dry_run: bool
) -> Entry:
    """Write ``new`` over ``old`` (deleting it when the last finalizer left). Raises Lost.

    They are in the call's version and are judged and written in the stored one.
    """
    kind = kinds.stored(call.kind)
    if kind is not call.kind:
        stored = server.caches.of(kind).get(call.namespace, call.name)
        assert stored is not None, "the caches of all versions move together"
        new, old = conversion.to_stored(call.kind, new), conversion.to_stored(call.kind, old)
        entry = await _replace(server, kind, call, new, old, stored, dry_run=dry_run)
        return current if entry is stored else server.caches.shown(call.kind, entry)
    return await _replace(server, kind, call, new, old, current, dry_run=dry_run)


async def _replace(
    server: Apiserver,
    kind: Kind[Any],
    call: Call,
    new: JSON,
    old: JSON,
    current: Entry,
    *,
    dry_run: bool,
) -> Entry:
    strategy.on_update(kind, new, old, call.subresource)
    admit(Review(server, kind, "UPDATE", call.namespace, call.name, call.subresource, new, old))
    prepare_update(kind, new, old, call.subresource)
    if call.subresource != "status":
        meta.bump_generation(kind, new, old)
    if finished(new):
        return await allocation.delete(server, current, dry_run=dry_run)
    if new == old:
        return current
    return await allocation.update(server, kind, new, old, current, dry_run=dry_run)


def finished(obj: JSON) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace":
        return not obj.get("spec", {}).get("finalizers")
    return bool(metadata.get("deletionGracePeriodSeconds") == 0)
