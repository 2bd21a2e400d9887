"""PATCH: JSON patch, merge patch, strategic merge patch; apply is in ``apply``.

Source: apiserver pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.patch import APPLY_PATCH_TYPE
from podwire.api.view import JSON
from podwire.apiserver import calls, objects
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import apply, meta, update
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """Patch an object (or its status): 200 with the result, 201 when an apply created it."""
    if objects.check_patch_type(call) == APPLY_PATCH_TYPE:
        return await apply.handle(server, call)
    check_options(call)
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    dry_run = call.dry_run

    def make(current: JSON) -> JSON:
        new = objects.patched(call, current)
        meta.fit_name(call, new["metadata"])
        meta.fit_namespace(call, new["metadata"])
        return new

    # They are large and seldom meant: a patch that does not name them need not carry them along.
    managed = b"managedFields" in call.request.body
    entry = await update.change(server, call, make, dry_run=dry_run, managed=managed)
    return server.one(entry, shape)


def check_options(call: Call) -> None:
    """Refuse options that only apply has. Raises ApiError Invalid."""
    if call.query.has("force"):
        why = "Forbidden: may not be specified for non-apply patch"
        raise calls.bad_option(call, "force", "FieldValueForbidden", why)
