"""DELETE of an object and of a collection: grace, finalizers, preconditions, propagation.

Source: apiserver pkg/registry/rest/delete.go (BeforeDelete), registry/generic/registry/store.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.times import NS, format_time, parse_time
from podwire.api.view import JSON
from podwire.apiserver import allocation, answers, calls, objects
from podwire.apiserver.admission.review import Review, admit
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import list as list_verb
from podwire.apiserver.storage import Lost, write
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ATTEMPTS = 5
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(slots=True)
class Options:
    """DeleteOptions from body and query."""

    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = ""
    dry_run: bool = False


async def handle(server: Apiserver, call: Call) -> Response:
    """Delete an object: 200 with it, or with a Status (see Kind.returned)."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    options = parse_options(call)
    await server.caches.fresh()
    name = call.name
    admit(Review(server, call.kind, "DELETE", call.namespace, name, "", {}))
    entry, gone = await delete(server, call.kind, call.namespace, name, options)
    if not gone or call.kind.returned:
        return server.one(entry, shape)
    return answers.json(_success(call.kind, entry))


async def handle_collection(server: Apiserver, call: Call) -> Response:
    """Delete every selected object; answers with the list of what was there."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    options = parse_options(call)
    selection = list_verb.select(call)
    revision = await server.caches.fresh()
    entries = server.caches.of(call.kind).entries(call.namespace)
    chosen = [entry for entry in entries if selection.matches(entry)]
    for entry in chosen:
        admit(Review(server, call.kind, "DELETE", entry.namespace, entry.name, "", {}))
        try:
            await delete(server, call.kind, entry.namespace, entry.name, options)
        except ApiError as error:
            if error.reason != "NotFound":  # somebody else was quicker
                raise
    return server.many(call.kind, chosen, {"resourceVersion": str(revision)}, shape)


def parse_options(call: Call) -> Options:
    """DeleteOptions of a call; the query fills what the body leaves out. Raises ApiError."""
    return options_of(call, objects.decode_options(call))


def options_of(call: Call, body: JSON) -> Options:
    """The same from a body that is decoded already (an Eviction holds one). Raises ApiError."""
    query = call.query
    options = Options(dry_run=call.dry_run or bool(body.get("dryRun")))
    options.grace_s = body.get("gracePeriodSeconds", query.number("gracePeriodSeconds"))
    conditions = body.get("preconditions") or {}
    options.uid = conditions.get("uid") or ""
    options.resource_version = conditions.get("resourceVersion") or ""
    policy = body.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None and query.has("orphanDependents"):
        orphan = query.flag("orphanDependents")
    if policy and orphan is not None:
        why = "Invalid value: orphanDependents and deletionPropagation cannot be both set"
        raise calls.bad_option(call, "propagationPolicy", "FieldValueInvalid", why)
    if policy and policy not in _POLICIES:
        listed = ", ".join(f'"{p}"' for p in (*_POLICIES, "nil"))
        why = f'Unsupported value: "{policy}": supported values: {listed}'
        raise calls.bad_option(call, "propagationPolicy", "FieldValueNotSupported", why)
    options.propagation = policy or ("Orphan" if orphan else "")
    return options


async def delete(
    server: Apiserver, kind: Kind[Any], namespace: str, name: str, options: Options
) -> tuple[Entry, bool]:
    """Start or complete a deletion: the object as it is now, and whether it is gone.

    The caller has made the cache fresh.
    Raises ApiError NotFound, Conflict.
    """
    stored = kinds.stored(kind)
    for attempt in range(_ATTEMPTS):
        if attempt:
            await server.caches.fresh()
        current = server.caches.of(stored).get(namespace, name)
        if current is None:
            raise calls.not_found(kind, name)
        _preconditions(kind, current, options)
        try:
            entry, gone = await _step(server, stored, current, options)
        except Lost:
            continue
        return server.caches.shown(kind, entry), gone
    raise calls.conflict(kind, name, calls.MODIFIED)


async def _step(
    server: Apiserver, kind: Kind[Any], current: Entry, options: Options
) -> tuple[Entry, bool]:
    obj = current.json()
    metadata = obj["metadata"]
    grace_s: int | None
    if "deletionTimestamp" in metadata:
        grace_s = options.grace_s
        if not _shorten(metadata, grace_s):
            return current, False  # a deletion under way can only be hastened
    else:
        grace_s = _grace(kind, obj, options)
        if grace_s is not None:
            _mark(server, metadata, grace_s)
    _propagation_finalizers(metadata, options)
    pending = bool(metadata.get("finalizers"))
    if kind is kinds.NAMESPACE and (pending or obj["spec"].get("finalizers")):
        pending = True
        _mark(server, metadata, None)
        obj.setdefault("status", {})["phase"] = "Terminating"
    elif pending and grace_s is None:
        _mark(server, metadata, 0)
    if pending or grace_s is not None:
        current = await write(server, kind, obj, current, dry_run=options.dry_run)
    if pending or grace_s:
        return current, False
    return await allocation.delete(server, current, dry_run=options.dry_run), True


def _grace(kind: Kind[Any], obj: JSON, options: Options) -> int | None:
    """The grace period of a kind that has one (Pod), else None. Source: pod strategy."""
    if kind is not kinds.POD:
        return None
    spec = obj.get("spec", {})
    phase = obj.get("status", {}).get("phase")
    if not spec.get("nodeName") or phase in {"Failed", "Succeeded"}:
        return 0
    grace_s: int | None = options.grace_s
    if grace_s is None:
        grace_s = spec.get("terminationGracePeriodSeconds", 30)
    return grace_s if grace_s >= 0 else 1


def _mark(server: Apiserver, metadata: JSON, grace_s: int | None) -> None:
    due_ns = server.world.clock.now_ns() + (grace_s or 0) * NS
    metadata["deletionTimestamp"] = format_time(due_ns)
    if grace_s is not None:
        metadata["deletionGracePeriodSeconds"] = grace_s
    if metadata.get("generation"):
        metadata["generation"] += 1


def _shorten(metadata: JSON, grace_s: int | None) -> bool:
    """Bring the deadline nearer; whether it was brought nearer."""
    running = metadata.get("deletionGracePeriodSeconds")
    if grace_s is None or running is None or grace_s >= running:
        return False
    started_ns = parse_time(metadata["deletionTimestamp"]) - running * NS
    metadata["deletionTimestamp"] = format_time(started_ns + grace_s * NS)
    metadata["deletionGracePeriodSeconds"] = grace_s
    return True


def _propagation_finalizers(metadata: JSON, options: Options) -> None:
    """Orphan and Foreground are finalizers that the garbage collector removes."""
    if not options.propagation:
        return
    kept = [f for f in metadata.get("finalizers") or () if f not in {_ORPHAN, _FOREGROUND}]
    if options.propagation == "Orphan":
        kept.append(_ORPHAN)
    elif options.propagation == "Foreground":
        kept.append(_FOREGROUND)
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)


def _preconditions(kind: Kind[Any], current: Entry, options: Options) -> None:
    if options.uid:
        uid = current.view.metadata.uid
        if options.uid != uid:
            why = (
                f"Precondition failed: UID in precondition: {options.uid}, "
                f"UID in object meta: {uid}"
            )
            raise calls.conflict(kind, current.name, why)
    if options.resource_version and options.resource_version != str(current.revision):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {current.revision}"
        )
        raise calls.conflict(kind, current.name, why)


def _success(kind: Kind[Any], entry: Entry) -> JSON:
    found = calls.details(kind, entry.name)
    found["uid"] = entry.view.metadata.uid
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": found,
    }
