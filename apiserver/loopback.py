"""Requests that the API server makes of itself, as upstream's loopback client does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.client.counters import Request, Response, User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

USER = User("system:apiserver", ("system:masters", "system:authenticated"))


async def send(server: Apiserver, method: str, path: str, body: JSON | None = None) -> Response:
    """The answer; a PATCH is a merge patch. What is gone or changed meanwhile (404, 409) is no
    failure: whoever asks will hear of it. Raises ApiError.
    """
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"content-type": media, "user-agent": "kube-apiserver"}
    data = msgspec.json.encode(body) if body is not None else b""
    response = await server.handle(Request(method, path, (), headers, data, USER))
    if response.status not in {200, 201, 404, 409}:
        raise ApiError("InternalError", response.body.decode(errors="replace"))
    return response
