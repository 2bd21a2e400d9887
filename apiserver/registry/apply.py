"""PATCH application/apply-patch+yaml: server-side apply.

Source: apiserver pkg/endpoints/handlers/patch.go (applyPatcher), registry/generic store.Update.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from podwire.api import codec
from podwire.api.managed import apply as managed
from podwire.api.managed.managers import APPLY, Entries, Manager, same_but_times, sealed
from podwire.api.managed.plans import plan_of
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import answers, calls, objects
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import attempts, create, meta, ownership, update
from podwire.apiserver.storage import Lost
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def manager(call: Call) -> Manager:
    """The applier; who applies says who it is. Raises ApiError Invalid."""
    if not call.query.get("fieldManager"):
        why = "Required value: is required for apply patch"
        raise calls.bad_option(call, "fieldManager", "FieldValueRequired", why)
    return ownership.manager(call, APPLY)


async def handle(server: Apiserver, call: Call) -> Response:
    """Apply a configuration: 200 with the object, 201 when that is new."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    by, dry_run = manager(call), call.dry_run
    config = objects.configuration(call)

    async def attempt() -> tuple[tuple[Entry, bool], bool]:
        if call.kind.custom is not None:
            await server.definitions.prepare(call.kind)
        current = server.caches.of(call.kind).get(call.namespace, call.name)
        if current is None:
            if call.subresource:
                raise call.not_found()
            return (await _created(server, call, config, by, dry_run=dry_run), True), True
        entry = await _changed(server, call, current, config, by, dry_run=dry_run)
        return (entry, False), entry is not current

    conflict = partial(calls.conflict, call.kind, call.name, calls.MODIFIED)
    entry, new = await attempts.settle(server, attempt, conflict, fresh=dry_run)
    if new and dry_run:
        return answers.raw(entry.value, 201)
    return server.one(entry, shape, 201 if new else 200)


async def _created(
    server: Apiserver, call: Call, config: JSON, by: Manager, *, dry_run: bool
) -> Entry:
    found = _applied(server, call, {}, config, [], by, new=True)
    uid = (config.get("metadata") or {}).get("uid")
    if uid:
        why = (
            f"uid mismatch: the provided object specified uid {uid}, "
            "and no existing object was found"
        )
        raise calls.conflict(call.kind, call.name, why)
    obj = _as_kind(call, found.obj)
    meta.fit_applied_name(call, obj["metadata"])
    try:
        return await create.create(server, call, obj, dry_run=dry_run, entries=found.entries)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    raise Lost((call.name,))  # somebody created it meanwhile: apply to that


async def _changed(
    server: Apiserver, call: Call, current: Entry, config: JSON, by: Manager, *, dry_run: bool
) -> Entry:
    old = current.json()
    entries = old["metadata"].pop("managedFields", [])
    found = _applied(server, call, old, config, entries, by, new=False)
    if found.obj is old and same_but_times(sealed(found.entries), entries):
        return current
    new = _as_kind(call, found.obj) if found.obj is not old else _copied(old)
    meta.fit_applied_name(call, new["metadata"])
    meta.fit_namespace(call, new["metadata"])
    new["metadata"].setdefault("resourceVersion", str(current.revision))  # the merged object's own
    meta.before_update(call, new, old, current.revision)

    def track(_old: JSON, _new: JSON, _entries: Entries, _given: Any) -> Entries:
        return found.entries

    stored = update.Stored(current, old, entries)
    return await update.replace(server, call, new, stored, dry_run=dry_run, track=track)


def _applied(
    server: Apiserver, call: Call, live: JSON, config: JSON, entries: Entries, by: Manager,
    *, new: bool,
) -> managed.Applied:  # fmt: skip
    kind = call.kind
    return managed.apply(
        plan_of(kind), live, config, entries, by, meta.now(server),
        ownership.reset(kind, call.subresource), ownership.zero(kind),
        force=call.query.flag("force"), new=new,
    )  # fmt: skip


def _as_kind(call: Call, obj: JSON) -> JSON:
    """The merged object as a decoder would have read it. Raises ApiError BadRequest."""
    kind = call.kind
    found = codec.check(obj, kind.api_version, kind.kind, codec.IGNORE, None, kind.custom).obj
    found.setdefault("metadata", {})
    return found


def _copied(obj: JSON) -> JSON:
    """A copy whose first two levels may be changed."""
    return {name: dict(value) if isinstance(value, dict) else value for name, value in obj.items()}
