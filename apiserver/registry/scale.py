"""The scale subresource: autoscaling/v1 Scale of the kinds that have replicas.

Source: upstream pkg/registry/{apps,core}/*/storage (ScaleREST).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.api import kinds, selectors
from podwire.api.crd.objects import at
from podwire.api.kinds import Kind
from podwire.api.managed import apply as managed
from podwire.api.managed import fields as sets
from podwire.api.managed import scale as scales
from podwire.api.managed.fields import Fields
from podwire.api.managed.managers import Entries, updated
from podwire.api.managed.plans import plan_of
from podwire.api.managed.typed import merge
from podwire.api.patch import APPLY_PATCH_TYPE
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver import objects
from podwire.apiserver.cache.entry import Entry, Representation, Splice
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import apply, meta, ownership, update
from podwire.apiserver.registry.patch import check_options
from podwire.apiserver.storage import encode
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

SCALE = Kind(Object, "autoscaling", "v1", "Scale", "scales", "scale")
"""The subresource's own kind; it is served nowhere else."""
_SPLICE = Splice(SCALE)


async def get(server: Apiserver, call: Call) -> Response:
    """The Scale of an object."""
    _shape(server, call)
    await server.caches.fresh()
    entry = server.caches.of(call.kind).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    return _answered(server, call, entry)


async def put(server: Apiserver, call: Call) -> Response:
    """Set spec.replicas from a whole Scale."""
    scale = objects.decode(call, SCALE)
    return await _set(server, call, lambda _current: scale)


async def patch(server: Apiserver, call: Call) -> Response:
    """Set spec.replicas from a patch of the Scale, or by applying one."""
    if objects.check_patch_type(call) == APPLY_PATCH_TYPE:
        return await _apply(server, call)
    check_options(call)
    return await _set(server, call, lambda current: objects.patched(call, current, SCALE))


def _shape(server: Apiserver, call: Call) -> Representation | None:
    return server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))


def _answered(server: Apiserver, call: Call, parent: Entry) -> Response:
    """The Scale of a stored object, in the shape that the client asks for."""
    obj = parent.json()
    scale = call.kind.custom.scale if call.kind.custom is not None else None
    if scale is not None and at(obj, scale["specReplicasPath"]) is None:
        why = f'the spec replicas field "{scale["specReplicasPath"]}" does not exist'
        raise ApiError("InternalError", f"Internal error occurred: {why}")
    value = encode(SCALE, shown(call.kind, obj))
    return server.one(
        Entry(SCALE, _SPLICE, parent.key, value, parent.revision), _shape(server, call)
    )


async def _set(server: Apiserver, call: Call, make: Callable[[JSON], JSON]) -> Response:
    _shape(server, call)  # refused before anything is written
    by = ownership.manager(call)._replace(api_version=SCALE.api_version)

    def change(current: JSON) -> JSON:
        return _scaled(call, current, make(shown(call.kind, current)))

    def track(old: JSON, new: JSON, entries: Entries, _given: Any) -> Entries:
        replicas = _owned(call)
        before = scales.to_scale(entries, replicas)
        was, wanted = shown(call.kind, old), shown(call.kind, new)
        now = meta.now(server)
        after = updated(plan_of(SCALE), was, wanted, before, by, now, _RESET) if entries else []
        return scales.to_parent(entries, before, after, call.kind.api_version, replicas)

    entry = await update.change(server, call, change, dry_run=call.dry_run, track=track)
    return _answered(server, call, entry)


async def _apply(server: Apiserver, call: Call) -> Response:
    """Server-side apply of a Scale: it owns the replicas of the parent."""
    _shape(server, call)
    by = apply.manager(call)._replace(api_version=SCALE.api_version)
    config = objects.configuration(call, SCALE)
    managed.check_schema(plan_of(SCALE), config)

    def change(current: JSON) -> JSON:
        return _scaled(call, current, merge(plan_of(SCALE), shown(call.kind, current), config))

    def track(old: JSON, _new: JSON, entries: Entries, _given: Any) -> Entries:
        replicas = _owned(call)
        before = scales.to_scale(entries, replicas)
        applied = managed.apply(
            plan_of(SCALE), shown(call.kind, old), config, before, by, meta.now(server), _RESET,
            ownership.zero(SCALE), force=call.query.flag("force"), new=not entries,
        )  # fmt: skip
        version = call.kind.api_version
        return scales.to_parent(entries, before, applied.entries, version, replicas)

    entry = await update.change(server, call, change, dry_run=call.dry_run, track=track)
    return _answered(server, call, entry)


_RESET = sets.of_paths([("f:status",)])


def _scaled(call: Call, current: JSON, scale: JSON) -> JSON:
    """The parent with the replicas of a Scale. Raises ApiError."""
    metadata = scale.get("metadata") or {}
    name = metadata.get("name", call.name)
    if name != call.name:
        message = f"the name of the object ({name}) does not match the name on the URL"
        raise ApiError("BadRequest", f"{message} ({call.name})")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if call.kind.custom is None:
        _check(call.name, replicas)
    kept = dict(current["metadata"])
    for field in ("resourceVersion", "uid"):
        if metadata.get(field):
            kept[field] = metadata[field]
    if call.kind.custom is not None and call.kind.custom.scale is not None:
        path = call.kind.custom.scale["specReplicasPath"].removeprefix(".").split(".")
        return {**_with(current, path, replicas), "metadata": kept}
    return {**current, "metadata": kept, "spec": {**current["spec"], "replicas": replicas}}


def _with(obj: Any, path: list[str], value: Any) -> Any:
    """A copy with a value at a path."""
    if not path:
        return value
    name, *rest = path
    found = obj if isinstance(obj, dict) else {}
    return {**found, name: _with(found.get(name), rest, value)}


def _owned(call: Call) -> Fields:
    """The parent's replicas as a set of fields."""
    custom = call.kind.custom
    if custom is None or custom.scale is None:
        return scales.REPLICAS
    path = custom.scale["specReplicasPath"].removeprefix(".").split(".")
    return sets.of_paths([tuple(f"f:{name}" for name in path)])


_SHARED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
"""Metadata that a Scale has of its parent."""


def _check(name: str, replicas: Any) -> None:
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        found = {"name": name, "group": "autoscaling", "kind": SCALE.kind}
        message = f'Scale.autoscaling "{name}" is invalid: spec.replicas: {why}'
        cause = Cause("FieldValueInvalid", why, "spec.replicas")
        raise ApiError("Invalid", message, 0, found, (cause,))


def shown(kind: Kind[Any], obj: JSON) -> JSON:
    """The Scale of an object of a kind."""
    known, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    metadata = {key: known[key] for key in _SHARED if key in known}
    if kind.custom is not None and kind.custom.scale is not None:
        return _custom(kind.custom.scale, obj, metadata)
    replicas = spec.get("replicas", 1)
    selector = spec.get("selector")
    found: JSON = {"replicas": status.get("replicas", 0)}
    if selector is not None:
        if obj.get("kind") == kinds.REPLICATION_CONTROLLER.kind:  # whose selector is a plain map
            selector = {"matchLabels": selector}
        found["selector"] = str(selectors.from_json(selector))
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": metadata,
        "spec": {"replicas": replicas} if replicas else {},
        "status": found,
    }


def _custom(scale: JSON, obj: JSON, shown: JSON) -> JSON:
    """The Scale of a custom object, whose definition says where its parts stand."""
    wanted, told = at(obj, scale["specReplicasPath"]), at(obj, scale["statusReplicasPath"])
    status: JSON = {"replicas": told or 0}
    selector = at(obj, scale["labelSelectorPath"]) if scale.get("labelSelectorPath") else None
    if selector:
        status["selector"] = selector
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": shown,
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }
