"""Who is recorded as owner of what a request wrote: ``podwire.api.managed`` with requests in hand.

Ownership is settled on the object as the client wrote it, defaulted but not yet admitted, so that
what admission and allocation add belongs to nobody.
Source: apiserver pkg/endpoints/handlers (create.go, update.go, patch.go), the strategies'
GetResetFields.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.managed import fields as sets
from podwire.api.managed import managers
from podwire.api.managed.fields import Fields, FieldsError
from podwire.api.managed.managers import UPDATE, Entries, Manager
from podwire.api.managed.plans import KeysError, plan_of
from podwire.api.schema import type_of
from podwire.api.status import Cause
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.calls import Call

_IDENTITY = ("apiVersion", "kind", "metadata")
_ADDED_BY_DEFAULTS = {kinds.SERVICE: ("clusterIPs",)}
"""Fields of spec that podwire's defaults fill in where upstream's allocator does, for nobody."""


def manager(call: Call, operation: str = UPDATE) -> Manager:
    """Who makes a call: ?fieldManager=, else what the User-Agent begins with. ApiError Invalid."""
    name = call.query.get("fieldManager")
    if name:
        if why := managers.unfit_name(name):
            reason, message = why
            raise calls.bad_option(call, "fieldManager", reason, message)
    else:
        name = managers.name_of(call.request.headers.get("user-agent", ""))
    return Manager(name, operation, call.kind.api_version, call.subresource)


def reset(kind: Kind[Any], subresource: str) -> Fields:
    """The fields that an endpoint never takes from its clients, so that nobody gets to own them."""
    if kind.custom is None:
        return _reset(kind, subresource)
    if subresource == "status":
        return _CUSTOM_STATUS
    return _CUSTOM if kind.custom.has_status else {}


_CUSTOM = sets.of_paths([("f:status",)])
_CUSTOM_STATUS = sets.of_paths([("f:metadata",), ("f:spec",)])


@cache
def _reset(kind: Kind[Any], subresource: str) -> Fields:
    told = _TOLD.get((kind, subresource))
    if told is not None:
        return sets.of_paths([tuple(f"f:{name}" for name in path) for path in told])
    table = plan_of(kind).table
    names = [name for name in table if name not in _IDENTITY]
    found: list[tuple[str, ...]]
    if subresource == "status":
        found = [(f"f:{name}",) for name in names if name != "status"]
        found += [("f:metadata", f"f:{name}") for name in _NOT_WITH_STATUS.get(kind, ())]
        return sets.of_paths(found)
    if subresource in _ONLY:
        only = _ONLY[subresource]
        found = [(f"f:{name}",) for name in (*names, "metadata") if name != "spec"]
        found += [("f:spec", f"f:{name}") for name in table["spec"].table if name not in only]
        return sets.of_paths(found)
    return sets.of_paths([("f:status",)] if "status" in kind.subresources else [])


_CSR = kinds.CERTIFICATE_SIGNING_REQUEST
_TOLD: dict[tuple[Kind[Any], str], tuple[tuple[str, ...], ...]] = {
    (_CSR, ""): (("spec",), ("status",)),
    (_CSR, "status"): (("spec",), ("status", "conditions")),
    (_CSR, "approval"): (("spec",), ("status", "certificate")),
}
"""Endpoints whose strategies name what they reset, where it does not follow from the rest."""

_NOT_WITH_STATUS = {
    kinds.DEPLOYMENT: ("labels",),
    kinds.POD: ("deletionTimestamp", "ownerReferences"),
}
"""Metadata that a kind's /status does not take."""

_ONLY = {
    "ephemeralcontainers": ("ephemeralContainers",),
    "resize": ("containers", "initContainers"),
}
"""Subresources that change some fields of spec and nothing else."""


def zero(kind: Kind[Any]) -> JSON:
    """What Go prints of an unset object of a kind."""
    struct = type_of(kind)
    return struct.always if struct is not None else {}


def silent(kind: Kind[Any], obj: JSON) -> tuple[str, ...]:
    """Fields of spec that the client left to be chosen: ask before defaulting."""
    names = _ADDED_BY_DEFAULTS.get(kind, ())
    return tuple(name for name in names if name not in obj.get("spec", ()))


def on_create(call: Call, obj: JSON, given: Any, left_open: tuple[str, ...], now: str) -> Entries:
    """The entries of a new, defaulted object without managedFields. Raises ApiError Invalid."""
    kind = call.kind
    by = manager(call)
    if left_open:
        spec = {name: value for name, value in obj["spec"].items() if name not in left_open}
        obj = {**obj, "spec": spec}
    known = _decoded(kind, given, []) if given else []
    step, ignored = plan_of(kind), reset(kind, call.subresource)
    try:
        if known:
            return managers.updated(step, zero(kind), obj, known, by, now, ignored)
        return managers.created(step, zero(kind), obj, by, now, ignored)
    except KeysError:
        return []  # what upstream cannot type it does not track


def on_update(call: Call, old: JSON, new: JSON, entries: Entries, given: Any, now: str) -> Entries:
    """The entries of a changed object; both objects come without managedFields, ``given`` is what
    the request had of it, None when nothing.

    Raises ApiError Invalid for names that nobody may have.
    """
    by = manager(call)
    if given is not None and not call.subresource:
        entries = _given(call.kind, given, entries)
    if not entries:
        return entries  # not tracked until somebody applies
    try:
        return managers.updated(
            plan_of(call.kind), old, new, entries, by, now, reset(call.kind, call.subresource)
        )
    except KeysError:
        return entries


def _given(kind: Kind[Any], given: Any, live: Entries) -> Entries:
    if managers.is_reset(given):
        return []
    return _decoded(kind, given, live)


def _decoded(kind: Kind[Any], given: Any, live: Entries) -> Entries:
    """Entries from a request, or the live ones when it has none that can be read."""
    try:
        found = managers.decoded(given, live, lambda version: _served(version, kind))
    except FieldsError:
        return live
    return found or live


def _served(api_version: str, kind: Kind[Any]) -> bool:
    if kind.custom is None:
        return kinds.by_gvk(api_version, kind.kind) is not None
    group, _, version = api_version.rpartition("/")
    return group == kind.group and version in kind.custom.definition.kinds


def check(kind: Kind[Any], name: str, entries: Entries) -> None:
    """Refuse entries whose names are not fit to be stored. Raises ApiError Invalid."""
    causes = []
    for i, entry in enumerate(entries):
        if (why := managers.unfit(entry)) is not None:
            field, reason, message = why
            causes.append(Cause(reason, message, f"metadata.managedFields[{i}].{field}"))
    if causes:
        raise invalid_error(kind, name, causes)


def store(metadata: JSON, entries: Entries) -> None:
    """Put sealed entries into an object's metadata."""
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
