"""PUT. Source: apiserver pkg/endpoints/handlers/update.go, registry/generic/registry/store.go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.api import conversion, kinds
from podwire.api.kinds import Kind
from podwire.api.managed.managers import Entries, plain, same_but_times, sealed
from podwire.api.objects import check_update, default
from podwire.api.patch import APPLY_PATCH_TYPE
from podwire.api.status import ApiError
from podwire.api.validation.warnings import warnings_of
from podwire.api.view import JSON
from podwire.apiserver import allocation, calls, objects
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import attempts, create, escalation, meta, ownership, strategy
from podwire.apiserver.registry.parts import PARTS
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


Track = Callable[[JSON, JSON, Entries, Any], Entries]
"""Makes the managedFields of (old, new, the old managedFields, those that ``new`` came with)."""


async def change(
    server: Apiserver,
    call: Call,
    make: Change,
    *,
    dry_run: bool,
    managed: bool = False,
    track: Track | None = None,
) -> Entry:
    """Read, change, check, write; again when another writer came between.
    A body that names a revision is refused then. Raises ApiError.

    ``managed``: whether ``make`` is to see managedFields. ``track``: who owns what afterwards, the
    call's manager what it changed by default.
    """

    async def attempt() -> tuple[Entry, bool]:
        if call.kind.custom is not None:
            await server.definitions.prepare(call.kind)
        current = server.caches.of(call.kind).get(call.namespace, call.name)
        if current is None:
            raise call.not_found()
        old = current.json()
        entries = old["metadata"].pop("managedFields", [])
        shown = {**old, "metadata": {**old["metadata"], "resourceVersion": str(current.revision)}}
        if managed and entries:
            shown["metadata"]["managedFields"] = plain(entries)
        new = make(shown)
        meta.before_update(call, new, old, current.revision)
        stored = Stored(current, old, entries)
        entry = await replace(server, call, new, stored, dry_run=dry_run, track=track)
        return entry, entry is not current

    # A body that names its revision is refused on the second round.
    conflict = partial(calls.conflict, call.kind, call.name, calls.MODIFIED)
    return await attempts.settle(server, attempt, conflict, fresh=dry_run)


class Stored(NamedTuple):
    """An object as it is, taken apart."""

    entry: Entry
    obj: JSON
    """Without managedFields."""
    managed: Entries


async def replace(
    server: Apiserver,
    call: Call,
    new: JSON,
    stored: Stored,
    *,
    dry_run: bool,
    track: Track | None = None,
) -> Entry:
    """Write ``new`` over an object (deleting it when the last finalizer left).

    They are in the call's version, in which fields are owned, and are judged and written in the
    stored one. Raises Lost, ApiError.
    """
    kind, old = call.kind, stored.obj
    part = PARTS.get((kind, call.subresource))
    if part is not None:
        new = part(server, call, new, old)
    given = new["metadata"].pop("managedFields", None)
    default(kind, new, old, call.subresource)
    if track is not None:
        managed = track(old, new, stored.managed, given)
    else:
        now = meta.now(server)
        managed = ownership.on_update(call, old, new, stored.managed, given, now)
    if given is not None:
        ownership.check(kind, call.name, managed)
    managed = sealed(managed)
    if kinds.judged(kind) is kind:
        entry = await _write(server, kind, call, new, stored, managed, dry_run=dry_run)
        return server.caches.shown(kind, entry)
    kind = kinds.stored(kind)
    other = server.caches.of(kind).get(call.namespace, call.name)
    assert other is not None, "the caches of all versions move together"
    new, old = conversion.to_stored(call.kind, new), conversion.to_stored(call.kind, old)
    default(kind, new, old, call.subresource)
    inner = Stored(other, old, stored.managed)
    written = await _write(server, kind, call, new, inner, managed, dry_run=dry_run)
    return stored.entry if written is other else server.caches.shown(call.kind, written)


async def _write(
    server: Apiserver,
    kind: Kind[Any],
    call: Call,
    new: JSON,
    stored: Stored,
    managed: Entries,
    *,
    dry_run: bool,
) -> Entry:
    """Admit, validate, write; all in the stored version."""
    old, current = stored.obj, stored.entry
    review = Review(
        server, call, kind, "UPDATE", call.namespace, call.name, new, old, call.subresource,
        dry_run=dry_run, managed=managed, old_managed=stored.managed, revision=current.revision,
    )  # fmt: skip
    await server.admission.mutate(review)
    new = review.obj
    escalation.check(server, call, kind, new, old)
    strategy.on_update(kind, new, old, call.subresource)
    check_update(kind, new, old, call.subresource, call.kind)
    if call.subresource != "status":
        meta.bump_generation(kind, new, old)
    if not call.subresource:
        call.warnings += (w for w in warnings_of(kind, new, old) if w not in call.warnings)
    await server.admission.validate(review)
    if finished(new):
        return await allocation.delete(server, current, dry_run=dry_run)
    if (
        new == old
        and same_but_times(managed, stored.managed)
        and current.raw is None
        and not server.stale(current.key)
    ):
        return current
    ownership.store(new["metadata"], managed)
    try:
        return await allocation.update(server, kind, new, old, current, dry_run=dry_run)
    except ApiError as error:
        applied = call.content_type == APPLY_PATCH_TYPE
        if error.reason != "RequestEntityTooLarge" or applied:
            raise
        if new["metadata"].pop("managedFields", None) is None:
            raise
    # Too large with them: upstream drops them rather than the write (but for apply).
    return await allocation.update(server, kind, new, old, current, dry_run=dry_run)


def finished(obj: JSON) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace":
        return not obj.get("spec", {}).get("finalizers")
    return bool(metadata.get("deletionGracePeriodSeconds") == 0)
