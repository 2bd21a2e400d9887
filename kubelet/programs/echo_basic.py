"""echo-basic of the Gateway API's conformance suite: the request as JSON (HTTP only)."""

from __future__ import annotations

import json
import re

from podwire.client import http1
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.sleep import go_duration_s


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
            return http1.Response(200, b"OK")
        if request.path.startswith("/status/"):
            code = re.fullmatch(r"/status/([1-5]\d\d)", request.path)
            return http1.Response(int(code[1]) if code else 400)
        client = f"{request.peer[0]}:{request.peer[1]}"
        command.out(f"Echoing back request made to {request.target} to client ({client})\n")
        delay = request.query.get("delay", "")
        if delay:
            await command.env.clock.sleep(go_duration_s(delay))
        return _echo(request, context)

    async with Server(command) as server:
        try:
            await server.http(int(port), answer)
        except OSError as error:
            command.err(f"panic: Failed to start listening: listen tcp :{port}: {in_use(error)}\n")
            return 2
        command.out(f"Starting server, listening on port {port} (http)\n")
        await server.until_signal()
    return 2


def _echo(request: http1.Request, context: dict[str, str]) -> http1.Response:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name.lower() != "host":
            headers.setdefault("-".join(p.capitalize() for p in name.split("-")), []).append(value)
    shown = {
        "path": request.target, "host": request.header("host"), "method": request.method,
        "proto": request.version, "headers": dict(sorted(headers.items())), **context, "sni": "",
    }  # fmt: skip
    response = http1.text(json.dumps(shown, indent=1), kind="application/json")
    response.headers.append(("X-Content-Type-Options", "nosniff"))
    for line in headers.get("X-Echo-Set-Header", []):
        for pair in line.split(","):
            name, _, value = pair.strip().partition(":")
            response.headers.append((name, value))
    return response
