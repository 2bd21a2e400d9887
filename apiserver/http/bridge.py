"""Upgrades that are still served by aiohttp: the connection is handed to a protocol of it.

Goes away with the last ``Upgrader`` that takes aiohttp's requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from podwire.api.status import ApiError
from podwire.apiserver.http import writing
from podwire.client.counters import Request

if TYPE_CHECKING:
    from podwire.apiserver.http.connection import Connection
    from podwire.apiserver.http.parser import Incoming


async def serve(connection: Connection, incoming: Incoming, request: Request) -> None:
    """Let aiohttp answer this request and speak from then on; returns when the client is gone."""
    from aiohttp import web  # noqa: PLC0415  only where something is upgraded

    upgrade: Any = connection.server.upgrade
    ended = asyncio.get_running_loop().create_future()

    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await upgrade(http, request)
        except ApiError as error:
            told = writing.status(error)
            answer = web.Response(status=told.status, body=told.body, headers=told.headers)
            answer.force_close()
        return answer

    class Protocol(web.RequestHandler):
        __slots__ = ()

        def connection_lost(self, error: BaseException | None) -> None:
            super().connection_lost(error)
            connection.connection_lost(None)
            if not ended.done():
                ended.set_result(None)

    server = web.Server(handle, handler_cancellation=True, access_log=None)
    protocol = Protocol(server, loop=asyncio.get_running_loop())
    protocol.connection_made(connection.transport)
    connection.transport.set_protocol(protocol)
    head = [f"{incoming.method} {incoming.target} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in incoming.headers.items()]
    protocol.data_received("\r\n".join([*head, "", ""]).encode())
    protocol.data_received(connection.parser.upgraded or b"")
    await ended
