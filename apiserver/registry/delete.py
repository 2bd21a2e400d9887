"""DELETE of an object and of a collection: grace, finalizers, preconditions, propagation.

Source: apiserver pkg/registry/rest/delete.go (BeforeDelete), registry/generic/registry/store.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.crd import naming
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.times import NS, format_time, parse_time
from podwire.api.validation.field import Errors
from podwire.api.view import JSON
from podwire.apiserver import allocation, answers, calls, objects
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import list as list_verb
from podwire.apiserver.storage import Lost, write
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ATTEMPTS = 5
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = ("Foreground", "Background", "Orphan")

_ORPHANED_BY_DEFAULT = frozenset((("batch", "jobs"), ("", "replicationcontrollers")))
"""Kinds whose first API orphaned, so that v1 still does (DefaultGarbageCollectionPolicy)."""
_UNCOLLECTED = frozenset((("", "events"), ("events.k8s.io", "events")))
"""Kinds that the garbage collector does not follow: they never get its finalizers."""

_JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning"
)


@dataclass(slots=True)
class Options:
    """DeleteOptions from body or query."""

    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = ""
    dry_run: bool = False
    accepted: bool = False
    """Whether a deletion that only began is answered with 202 (orphanDependents=false)."""


async def handle(server: Apiserver, call: Call) -> Response:
    """Delete an object: 200 with it, or with a Status (see Kind.returned)."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    options = parse_options(call)
    if call.kind.resource == "jobs.batch" and not options.propagation:
        call.warnings.append(_JOB_WARNING)
    await server.caches.fresh()
    entry, gone = await delete(server, call, call.kind, call.namespace, call.name, options)
    if not gone or call.kind.returned:
        return server.one(entry, shape, 202 if options.accepted and not gone else 200)
    return answers.json(_success(call.kind, entry))


async def handle_collection(server: Apiserver, call: Call) -> Response:
    """Delete what a list with the same parameters shows; answers with that list.

    Not atomic, as upstream: what was deleted before a refusal stays deleted.
    """
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    options = parse_options(call)
    chosen, meta = await list_verb.page(server, call)
    for entry in chosen:
        try:
            await delete(server, call, call.kind, entry.namespace, entry.name, options)
        except ApiError as error:
            if error.reason != "NotFound":  # somebody else was quicker
                raise
    return server.many(call.kind, chosen, meta, shape)


def parse_options(call: Call) -> Options:
    """DeleteOptions of a call: its body, or its query when it has none. Raises ApiError."""
    if call.request.body:
        return options_of(objects.decode_options(call))
    query = call.query
    body: JSON = {"dryRun": query.all("dryRun")}
    body["gracePeriodSeconds"] = query.number("gracePeriodSeconds")
    body["propagationPolicy"] = query.get("propagationPolicy") or None
    if query.has("orphanDependents"):
        body["orphanDependents"] = query.flag("orphanDependents")
    return options_of(body)


def options_of(body: JSON) -> Options:
    """The same from a body that is decoded already (an Eviction holds one). Raises ApiError."""
    conditions = body.get("preconditions") or {}
    policy, orphan = body.get("propagationPolicy"), body.get("orphanDependents")
    errors = Errors()
    if policy is not None and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        errors.invalid("propagationPolicy", policy, why)
    if policy is not None and policy not in _POLICIES:
        errors.unsupported("propagationPolicy", policy, (*_POLICIES, "nil"))
    dry_run = body.get("dryRun") or []
    if any(value != "All" for value in dry_run):
        errors.unsupported("dryRun", dry_run, ("All",))
    if errors.causes:
        raise calls.bad_options("DeleteOptions", errors.causes)
    return Options(
        grace_s=body.get("gracePeriodSeconds"),
        uid=conditions.get("uid") or "",
        resource_version=conditions.get("resourceVersion") or "",
        propagation=policy or {True: "Orphan", False: "Background", None: ""}[orphan],
        dry_run=bool(dry_run),
        accepted=orphan is False,
    )


async def delete(
    server: Apiserver,
    call: Call | None,
    kind: Kind[Any],
    namespace: str,
    name: str,
    options: Options,
) -> tuple[Entry, bool]:
    """Start or complete a deletion: the object as it is now, and whether it is gone.

    The caller has made the cache fresh. An eviction was admitted as what it is; whatever else
    leads here is admitted as a deletion, but for what the server itself clears away (no ``call``).

    Raises ApiError NotFound, Conflict, a plugin's refusal.
    """
    stored = kinds.stored(kind)
    for attempt in range(_ATTEMPTS):
        if attempt:
            await server.caches.fresh()
        current = server.caches.of(stored).get(namespace, name)
        if current is None:
            raise calls.not_found(kind, name)
        check_preconditions(kind, current, options)
        if call is not None and not call.subresource and server.admission.handles(stored, "DELETE"):
            await _admit(server, call, stored, current, options)
        try:
            entry, gone = await _step(server, stored, current, options)
        except Lost:
            continue
        return server.caches.shown(kind, entry), gone
    raise calls.conflict(kind, name, calls.MODIFIED)


async def _admit(
    server: Apiserver, call: Call, kind: Kind[Any], current: Entry, options: Options
) -> None:
    """Source: rest.AdmissionToValidateObjectDeleteFunc, which knows no names in a collection."""
    old = current.json()
    managed = old["metadata"].pop("managedFields", ())
    await server.admission.admit(Review(
        server, call, kind, "DELETE", current.namespace, call.name, {}, old,
        dry_run=options.dry_run, old_managed=managed, revision=current.revision,
    ))  # fmt: skip


async def _step(
    server: Apiserver, kind: Kind[Any], current: Entry, options: Options
) -> tuple[Entry, bool]:
    obj = current.json()
    metadata = obj["metadata"]
    grace_s = _grace(kind, obj, options)
    if grace_s is not None:
        if not metadata.get("deletionTimestamp"):
            _mark(server, metadata, grace_s)
        elif metadata.get("deletionGracePeriodSeconds"):
            # A deletion under way can only be hastened; until then it keeps its finalizers too.
            if not _shorten(server, metadata, options.grace_s):
                return current, False
            grace_s = metadata["deletionGracePeriodSeconds"]
        else:
            grace_s = None
    _propagation_finalizers(kind, metadata, options)
    if kind is kinds.CUSTOM_RESOURCE_DEFINITION and not metadata.get("deletionTimestamp"):
        naming.marked(obj, format_time(server.world.clock.now_ns()))
    pending = bool(metadata.get("finalizers"))
    if kind is kinds.NAMESPACE and (pending or obj["spec"].get("finalizers")):
        pending = True
        if "deletionTimestamp" not in metadata:
            _mark(server, metadata, None)
            obj.setdefault("status", {})["phase"] = "Terminating"
    elif pending and grace_s is None:
        _mark_for_finalizers(server, metadata)
    if (pending or grace_s is not None) and obj != current.json():
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
    due_ns = server.world.clock.now_ns() + _duration(grace_s or 0)
    metadata["deletionTimestamp"] = format_time(due_ns)
    if grace_s is not None:
        metadata["deletionGracePeriodSeconds"] = grace_s
    if metadata.get("generation"):
        metadata["generation"] += 1


def _duration(seconds: int) -> int:
    """Nanoseconds as Go's time.Duration holds them, so that any grace ends in a year of four
    digits.
    """
    return (seconds * NS + 2**63) % 2**64 - 2**63


def _mark_for_finalizers(server: Apiserver, metadata: JSON) -> None:
    """Being deleted, without grace, from now on at the latest."""
    due = metadata.get("deletionTimestamp")
    if not due:
        _mark(server, metadata, 0)
        return
    now_ns = server.world.clock.now_ns()
    if parse_time(due) > now_ns:
        metadata["deletionTimestamp"] = format_time(now_ns)
    metadata["deletionGracePeriodSeconds"] = 0


def _shorten(server: Apiserver, metadata: JSON, grace_s: int | None) -> bool:
    """Bring the deadline nearer, never into the past; whether it was brought nearer."""
    running = metadata["deletionGracePeriodSeconds"]
    if grace_s is not None and grace_s < 0:
        grace_s = 1
    if grace_s is None or grace_s >= running:
        return False
    since_ns = parse_time(metadata["deletionTimestamp"]) - _duration(running)
    due_ns = since_ns + _duration(grace_s)
    now_ns = server.world.clock.now_ns()
    if due_ns < now_ns:
        # The kubelet still has to see a graceful end: the shortest one there is.
        due_ns, grace_s = now_ns, min(grace_s, 1)
    metadata["deletionTimestamp"] = format_time(due_ns)
    metadata["deletionGracePeriodSeconds"] = grace_s
    return True


def _propagation_finalizers(kind: Kind[Any], metadata: JSON, options: Options) -> None:
    """Orphan and Foreground are finalizers that the garbage collector removes.

    What the request says counts, else what the object's finalizers say, else the kind's default.
    """
    which = (kind.group, kind.plural)
    if which in _UNCOLLECTED:
        return
    present = metadata.get("finalizers") or []
    said = {"Orphan": _ORPHAN, "Foreground": _FOREGROUND}.get(options.propagation, "")
    if not options.propagation:
        own = [f for f in present if f in {_ORPHAN, _FOREGROUND}]
        said = own[0] if own else (_ORPHAN if which in _ORPHANED_BY_DEFAULT else "")
    kept = [f for f in present if f not in {_ORPHAN, _FOREGROUND}]
    if said:
        kept.append(said)
    if sorted(kept) == sorted(present):
        return
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)


def check_preconditions(kind: Kind[Any], current: Entry, options: Options) -> None:
    """Raise ApiError Conflict for another object than the one that is meant."""
    uid, revision = current.view.metadata.uid, str(current.revision)
    if options.uid and options.uid != uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid})."
            " The object might have been deleted and then recreated"
        )
        raise _unmet(kind, current.name, why)
    if options.resource_version and options.resource_version != revision:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({revision}). The object might have been modified"
        )
        raise _unmet(kind, current.name, why)


def _unmet(kind: Kind[Any], name: str, why: str) -> ApiError:
    """409 as BeforeDelete words it: by the kind, where others name the resource."""
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = {**calls.details(kind, name), "kind": kind.kind}
    message = f'Operation cannot be fulfilled on {qualified} "{name}": {why}'
    return ApiError("Conflict", message, 0, details)


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
