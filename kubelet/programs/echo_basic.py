"""echo-basic of the Gateway API's conformance suite: the request as JSON (HTTP only)."""

from __future__ import annotations

import re

from podwire.client import http1
from podwire.kubelet.programs import go
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import go_duration_s

_JSON = {"Content-Type": "application/json", **go.NOSNIFF}


async def run(command: Command) -> int:
    """Serve HTTP_PORT (3000): /health, /status/NNN, anything else is echoed; ``?delay=1s`` waits.

    h2c, TLS, WebSockets and GRPC_ECHO_SERVER are not modelled.
    """
    given = command.variables
    port = given.get("HTTP_PORT") or "3000"
    if given.get("GRPC_ECHO_SERVER"):
        command.err("not modelled: GRPC_ECHO_SERVER\n")
        return 1
    context = {
        "namespace": given.get("NAMESPACE", ""), "ingress": given.get("INGRESS_NAME", ""),
        "service": given.get("SERVICE_NAME", ""), "pod": given.get("POD_NAME", ""),
    }  # fmt: skip

    async def answer(request: http1.Request) -> http1.Response:
        if request.path == "/health":
            return go.answer(command, "OK")
        if request.path.startswith("/status/"):
            code = re.fullmatch(r"/status/([1-9]\d\d)", request.target)
            return go.answer(command, b"", int(code[1]) if code else 400)
        client = f"{request.peer[0]}:{request.peer[1]}"
        command.out(f"Echoing back request made to {request.target} to client ({client})\n")
        if delay := request.query.get("delay"):
            try:
                await command.env.clock.sleep(go_duration_s(delay))
            except UsageError:
                why = go.marshal({"message": f'time: invalid duration "{delay}"'})
                return go.answer(command, why, 500, _JSON)
        return _echo(command, request, context)

    async with Server(command) as server:
        try:
            await server.http(int(port), answer)
        except OSError as error:
            command.err(f"panic: Failed to start listening: listen tcp :{port}: {in_use(error)}\n")
            return 2
        command.out(f"Starting server, listening on port {port} (http)\n")
        await server.until_signal()
    return go.KILLED


def _echo(command: Command, request: http1.Request, context: dict[str, str]) -> http1.Response:
    headers = go.headers(request)
    shown = {
        "path": request.target, "host": request.header("host"), "method": request.method,
        "proto": request.version, "headers": headers, **context, "sni": "",
    }  # fmt: skip
    fields: dict[str, str] = {}
    for pair in ",".join(headers.get("X-Echo-Set-Header", [])).split(","):
        name, _, value = pair.strip().partition(":")
        if name:
            fields[name] = f"{fields[name]},{value.strip()}" if name in fields else value
    return go.answer(command, go.marshal(shown, indent=1), own={**fields, **_JSON})
