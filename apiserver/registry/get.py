"""GET of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.apiserver.calls import Call
from podwire.apiserver.registry.list import not_newer, state_asked_for
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """The object, or 404. ``resourceVersion=N`` demands a state not older than N."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    current = await state_asked_for(server, call)
    not_newer(call, current)
    entry = server.caches.of(call.kind).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    return server.one(entry, shape)
