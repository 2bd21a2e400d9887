"""PUT namespaces/{name}/finalize: the namespace controller says it emptied the namespace."""

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
    """Take spec.finalizers (only) from the body; without any left the namespace goes."""
    body = objects.decode(call, call.kind)
    meta.fit_name(call, body["metadata"])
    dry_run = call.dry_run
    finalizers = (body.get("spec") or {}).get("finalizers") or []
    version = body["metadata"].get("resourceVersion")
    uid = body["metadata"].get("uid")

    def make(current: JSON) -> JSON:
        spec = {**current.get("spec", {}), "finalizers": finalizers}
        if not finalizers:
            del spec["finalizers"]
        metadata = {**current["metadata"], "resourceVersion": version or ""}
        if uid:
            metadata["uid"] = uid
        return {**current, "metadata": metadata, "spec": spec}

    return server.one(await update.change(server, call, make, dry_run=dry_run), None)
