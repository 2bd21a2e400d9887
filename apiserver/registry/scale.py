"""The scale subresource: autoscaling/v1 Scale of the kinds that have replicas.

Source: upstream pkg/registry/{apps,core}/*/storage (ScaleREST).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds, selectors
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver import answers, objects
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import update
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

SCALE = Kind(Object, "autoscaling", "v1", "Scale", "scales", "scale")
"""The subresource's own kind; it is served nowhere else."""


async def get(server: Apiserver, call: Call) -> Response:
    """The Scale of an object."""
    await server.caches.fresh()
    entry = server.caches.of(call.kind).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    return answers.json(of(entry))


async def put(server: Apiserver, call: Call) -> Response:
    """Set spec.replicas from a whole Scale."""
    scale = objects.decode(call, SCALE)
    return await _set(server, call, lambda _current: scale)


async def patch(server: Apiserver, call: Call) -> Response:
    """Set spec.replicas from a patch of the Scale."""
    return await _set(server, call, lambda current: objects.patched(call, current, SCALE))


async def _set(server: Apiserver, call: Call, make: Any) -> Response:
    cache = server.caches.of(call.kind)

    def change(current: JSON) -> JSON:
        entry = cache.get(call.namespace, call.name)
        assert entry is not None, "change() was given this object a moment ago"
        scale = make(of(entry))
        name = scale.get("metadata", {}).get("name", call.name)
        if name != call.name:
            message = f"the name of the object ({name}) does not match the name on the URL"
            raise ApiError("BadRequest", f"{message} ({call.name})")
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        _check(call.name, replicas)
        version = scale.get("metadata", {}).get("resourceVersion")
        if version:
            current["metadata"]["resourceVersion"] = version
        return {**current, "spec": {**current["spec"], "replicas": replicas}}

    return answers.json(of(await update.change(server, call, change, dry_run=call.dry_run)))


def _check(name: str, replicas: Any) -> None:
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        found = {"name": name, "group": "autoscaling", "kind": SCALE.kind}
        message = f'Scale.autoscaling "{name}" is invalid: spec.replicas: {why}'
        cause = Cause("FieldValueInvalid", why, "spec.replicas")
        raise ApiError("Invalid", message, 0, found, (cause,))


def of(entry: Entry) -> JSON:
    """The Scale of a stored object."""
    obj = entry.json()
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    shown = {
        key: meta[key] for key in ("name", "namespace", "uid", "creationTimestamp") if key in meta
    }
    shown["resourceVersion"] = str(entry.revision)
    replicas = spec.get("replicas", 1)
    selector = spec.get("selector")
    found: JSON = {"replicas": status.get("replicas", 0)}
    if selector is not None:
        if entry.kind is kinds.REPLICATION_CONTROLLER:  # whose selector is a plain map
            selector = {"matchLabels": selector}
        found["selector"] = str(selectors.from_json(selector))
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": shown,
        "spec": {"replicas": replicas} if replicas else {},
        "status": found,
    }
