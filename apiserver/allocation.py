"""Writes that may need more than one key: Service addresses and node ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver import storage
from podwire.apiserver.cache.entry import Entry

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def create(server: Apiserver, kind: Kind[Any], obj: JSON, *, dry_run: bool) -> Entry:
    """Store a new object. Raises Lost when it exists."""
    return await storage.write(server, kind, obj, None, dry_run=dry_run)


async def update(
    server: Apiserver, kind: Kind[Any], new: JSON, current: Entry, *, dry_run: bool
) -> Entry:
    """Replace an object. Raises Lost."""
    return await storage.write(server, kind, new, current, dry_run=dry_run)


async def delete(server: Apiserver, current: Entry, *, dry_run: bool) -> Entry:
    """Delete an object. Raises Lost."""
    return await storage.remove(server, current, dry_run=dry_run)
