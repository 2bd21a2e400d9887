"""PATCH: JSON patch, merge patch, strategic merge patch.

Source: apiserver pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.view import JSON
from podwire.apiserver import objects
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import meta, update
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """Patch an object (or its status): 200 with the result."""
    objects.check_patch_type(call)
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    dry_run = call.dry_run

    def make(current: JSON) -> JSON:
        new = objects.patched(call, current)
        meta.fit_name(call, new["metadata"])
        meta.fit_namespace(call, new["metadata"])
        return new

    entry = await update.change(server, call, make, dry_run=dry_run)
    return server.one(entry, shape)
