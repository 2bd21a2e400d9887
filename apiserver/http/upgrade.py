"""Requests that turn into WebSockets: exec."""

from __future__ import annotations

from aiohttp import web

from podwire.api.status import ApiError
from podwire.apiserver.http import websocket
from podwire.apiserver.podstreams import open_exec
from podwire.apiserver.server import Apiserver
from podwire.client.counters import Request


class Upgrader:
    """Starts the command first, so that what is wrong is answered as plain HTTP."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server

    async def __call__(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        """Serve an upgrade. Raises ApiError."""
        self._server.authorized(request)  # what is not modelled is told before the protocol
        refusal = websocket.refusal(http)
        if refusal:
            raise ApiError("BadRequest", f"unable to upgrade: {refusal}")
        session, stdin = await open_exec(self._server, request)
        return await websocket.serve_exec(http, session, stdin=stdin)
