"""Writes that may need more than one key: a Service's addresses and node ports.

An allocation is a key of its own, created only if absent in the transaction that writes the
Service, and removed in the one that deletes it; there is no allocator to repair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import storage
from podwire.apiserver.allocation import services
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.storage import Extra, Lost

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ATTEMPTS = 16


async def create(server: Apiserver, kind: Kind[Any], obj: JSON, *, dry_run: bool) -> Entry:
    """Store a new object. Raises Lost when it exists; ApiError when an allocation is refused."""
    if kind is not kinds.SERVICE:
        return await storage.write(server, kind, obj, None, dry_run=dry_run)
    return await _service(server, obj, {}, None, dry_run=dry_run)


async def update(
    server: Apiserver, kind: Kind[Any], new: JSON, old: JSON, current: Entry, *, dry_run: bool
) -> Entry:
    """Replace an object. Raises Lost; ApiError when an allocation is refused."""
    if kind is not kinds.SERVICE:
        return await storage.write(server, kind, new, current, dry_run=dry_run)
    return await _service(server, new, old["spec"], current, dry_run=dry_run)


async def delete(server: Apiserver, current: Entry, *, dry_run: bool) -> Entry:
    """Delete an object and what was allocated to it. Raises Lost."""
    if current.kind is not kinds.SERVICE:
        return await storage.remove(server, current, dry_run=dry_run)
    extra = Extra()
    services.release(extra, services.held(current.json()["spec"]))
    return await storage.remove(server, current, extra, dry_run=dry_run)


async def _service(
    server: Apiserver, obj: JSON, old_spec: JSON, current: Entry | None, *, dry_run: bool
) -> Entry:
    key = server.caches.of(kinds.SERVICE).key(obj["metadata"]["namespace"], obj["metadata"]["name"])
    wanted = obj["spec"]
    for _ in range(_ATTEMPTS):
        obj["spec"] = spec = services.copied(wanted)
        extra = services.plan(server.ranges, obj["metadata"], spec, old_spec)
        try:
            return await storage.write(server, kinds.SERVICE, obj, current, extra, dry_run=dry_run)
        except Lost as lost:
            if key in lost.keys:
                raise
        await server.caches.fresh()  # another server took what we chose: choose again
    raise ApiError("InternalError", "failed to allocate: too many concurrent allocations")
