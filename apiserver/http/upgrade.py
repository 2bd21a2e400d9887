"""Requests that ask for another protocol: exec, attach and port-forward, and what is proxied.

What is wrong is answered as plain HTTP before anything is switched. In WebSocket v5 the server
itself ends the client's protocol, so what the kubelet says comes on the error channel; in the older
dialects the kubelet answers the handshake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import answers, podstreams, proxy
from podwire.apiserver.calls import PROXY, Call
from podwire.apiserver.http import portforward, remotecommand, websocket
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.http.remotecommand import Wanted, Words
from podwire.apiserver.server import Apiserver
from podwire.client.counters import ExecSession, Request, Response

SPDY = "SPDY/3.1"


class Upgrader:
    """Decides what a connection becomes."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Switch | Response:
        """Decide an upgrade. Raises ApiError. Other protocols than those served (h2c) are ignored,
        as HTTP wants it.
        """
        server = self._server
        ours = server.aggregator.of(request.path) is None
        if not _is_upgrade(request) or (ours and server.routes.path(request.path) is not None):
            return await server.handle(request)
        if server.auditor is not None:
            return await server.auditor.observed(request, self._upgraded)
        return await self._upgraded(request)

    async def _upgraded(self, request: Request) -> Switch | Response:
        server = self._server
        remote = server.aggregator.of(request.path)
        if remote is not None:
            return await server.aggregator.upgrade(server.permitted(request), remote)
        call = server.authorized(request)
        if call is None:
            return await server.answer(request)
        if call.kind is kinds.POD and call.subresource in {"exec", "attach"}:
            return await self._remote_command(call)
        if call.kind is kinds.POD and call.subresource == "portforward":
            return await self._port_forward(call)
        if call.subresource == PROXY:
            return await proxy.upgrade(server, call)
        return await server.answer(request)

    # ------------------------------------------------------------ exec and attach

    async def _remote_command(self, call: Call) -> Switch | Response:
        server, request = self._server, call.request
        target = await podstreams.target(server, call)
        argv = call.query.all("command") if call.subresource == "exec" else []
        if call.subresource == "exec" and not argv:
            raise ApiError("BadRequest", "you must specify at least 1 command for the container")
        wanted = Wanted.of(call.query)

        async def start() -> ExecSession:
            if call.subresource == "attach":
                return await podstreams.attach(server, target, stdin=wanted.stdin)
            session = await podstreams.execute(server, target, argv, tty=wanted.tty)
            if not wanted.stdin and not wanted.tty:
                await session.send_stdin(b"")  # /dev/null, as runtimes give; a terminal stays open
            return session

        if websocket.asked_for(request):
            protocol, headers = websocket.accept(request, remotecommand.WEBSOCKET_PROTOCOLS)
            words = Words(tuple(argv), translated=protocol == remotecommand.V5)
            if not words.translated:
                begun = await _as_kubelet(start)
                if isinstance(begun, Response):
                    return begun
                start = partial(_give, begun)
            serve = partial(
                remotecommand.serve_websocket,
                protocol=protocol, start=start, wanted=wanted, words=words,
            )  # fmt: skip
            return Switch(headers, serve)
        protocol, answer = negotiated(request, remotecommand.SPDY_PROTOCOLS)
        if isinstance(answer, Response):
            return answer
        session = await _as_kubelet(start)
        if isinstance(session, Response):
            return session
        serve = partial(
            remotecommand.serve_spdy,
            protocol=protocol, session=session, wanted=wanted, words=Words(tuple(argv)),
        )  # fmt: skip
        return Switch(answer, serve)

    # ------------------------------------------------------------ port-forward

    async def _port_forward(self, call: Call) -> Switch | Response:
        server, request = self._server, call.request
        target = await podstreams.target(server, call, container=False)
        connect = partial(podstreams.port_forward, server, target)
        clock = server.world.clock
        if websocket.asked_for(request):
            protocols = (portforward.TUNNEL_PROTOCOL, *portforward.CHANNEL_PROTOCOLS)
            protocol, headers = websocket.accept(request, protocols)
            if protocol == portforward.TUNNEL_PROTOCOL:
                return Switch(
                    headers, partial(portforward.serve_tunnel, connect=connect, clock=clock)
                )
            serve = partial(
                portforward.serve_channels,
                wanted=portforward.ports(call.query), connect=connect, clock=clock,
            )  # fmt: skip
            return Switch(headers, serve)
        _, answer = negotiated(request, (portforward.SPDY_PROTOCOL,))
        if isinstance(answer, Response):
            return answer
        return Switch(answer, partial(portforward.serve_spdy, connect=connect, clock=clock))


def _is_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower()


async def _give(session: ExecSession) -> ExecSession:
    """A command that was started already."""
    return session


async def _as_kubelet(start: Callable[[], Awaitable[ExecSession]]) -> ExecSession | Response:
    """Start a command; what the kubelet refuses is its own answer, as plain text."""
    try:
        return await start()
    except ApiError as error:
        return answers.text(f"{error.message}\n", 500 if error.code == 404 else error.code)
    except ConnectionError as error:
        return podstreams.backend_lost(error)


def negotiated(request: Request, served: Sequence[str]) -> tuple[str, dict[str, str] | Response]:
    """The SPDY sub-protocol of a request and the headers of its 101; or the refusal.

    Source: apimachinery pkg/util/httpstream (Handshake). Raises ApiError for another protocol.
    """
    if request.headers.get("upgrade", "").lower() != SPDY.lower():
        raise ApiError("BadRequest", "Upgrade request required")
    header = request.headers.get("x-stream-protocol-version")
    if header is None:
        why = (
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with "
            f"{len(request.headers)} headers"
        )
        return "", answers.text(f"{why}\n", 400)
    offered = [name.strip() for name in header.split(",") if name.strip()]
    chosen = next((name for name in offered if name in served), "")
    if not chosen:
        why = (
            f"unable to upgrade: unable to negotiate protocol: client supports "
            f"[{' '.join(offered)}], server accepts [{' '.join(served)}]"
        )
        refusal = answers.text(f"{why}\n", 403)
        refusal.headers["X-Accepted-Stream-Protocol-Versions"] = ", ".join(served)
        return "", refusal
    headers = {"Upgrade": SPDY, "Connection": "Upgrade", "X-Stream-Protocol-Version": chosen}
    return chosen, headers
