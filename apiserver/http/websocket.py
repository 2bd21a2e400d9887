"""exec over WebSocket: ``v5.channel.k8s.io`` (kubectl >= 1.31) and ``v4.channel.k8s.io``.

Source of the framing: apimachinery pkg/util/remotecommand and KEP-4006. The first byte of a
message is the channel: 0 stdin, 1 stdout, 2 stderr, 3 a Status as JSON, 4 resize; v5 adds 255,
followed by the channel to close.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from podwire.client.counters import ExecSession
from podwire.runtime.tasks import Nursery

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5 = "v5.channel.k8s.io"
PROTOCOLS = (V5, "v4.channel.k8s.io")
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024


def refusal(request: web.BaseRequest) -> str:
    """Why an upgrade cannot be served, "" when it can."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if not any(name.strip() in PROTOCOLS for name in offered.split(",")):
        return f"WebSocket protocol {offered!r} is not modelled; use {' or '.join(PROTOCOLS)}"
    if not web.WebSocketResponse(protocols=PROTOCOLS).can_prepare(request):
        return "the WebSocket handshake is incomplete"
    return ""


async def serve_exec(
    request: web.BaseRequest, session: ExecSession, *, stdin: bool
) -> web.StreamResponse:
    """Carry a running command over a WebSocket until it ends or the client leaves."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=_MAX_MESSAGE_BYTES)
    ended = False
    try:
        await socket.prepare(request)
        async with Nursery() as nursery:
            reading = _read_client(socket, session, stdin=stdin)
            reader = nursery.start(reading, name="exec stdin")
            async for channel, data in session.output():
                await socket.send_bytes(bytes((channel,)) + data)
            code = await session.wait()
            ended = True
            reader.cancel()  # what the client sends now has no reader any more
        await socket.send_bytes(bytes((ERROR,)) + msgspec.json.encode(exit_status(code)))
        await socket.close()
    except ConnectionError:
        pass  # the client left: nobody is there to be told
    finally:
        if not ended:
            session.cancel()
    return socket


async def _read_client(socket: web.WebSocketResponse, session: ExecSession, *, stdin: bool) -> None:
    """Pass stdin on; a client that goes away kills its command."""
    async for message in socket:
        if message.type != WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STDIN and stdin and data:
            await session.send_stdin(data)
        elif channel == CLOSE and socket.ws_protocol == V5 and data[:1] == bytes((STDIN,)):
            await session.send_stdin(b"")
        # RESIZE has no effect: modelled programs have no screen.
    session.cancel()


def exit_status(code: int) -> dict[str, Any]:
    """The Status that ends an exec: success, or NonZeroExitCode with the code as a cause."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
