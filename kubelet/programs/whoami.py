"""traefik/whoami: tells the request back."""

from __future__ import annotations

from podwire.client import http1
from podwire.kubelet.programs.http_echo import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``whoami [--port 80] [--name NAME]``; /api and /health too."""
    given = flags(command.args)
    port = given.get("port", command.variables.get("WHOAMI_PORT_NUMBER", "80"))
    spec = command.spec

    async def answer(request: http1.Request) -> http1.Response:
        if request.path == "/health":
            return http1.Response(200)
        name = given.get("name", "")
        lines = [f"Name: {name}"] if name else []
        lines += [
            f"Hostname: {spec.hostname or spec.pod}", "IP: 127.0.0.1", "IP: ::1",
            f"IP: {spec.pod_ip}", f"RemoteAddr: {request.peer[0]}:{request.peer[1]}",
            f"{request.method} {request.target} HTTP/1.1", f"Host: {request.header('host')}",
        ]  # fmt: skip
        others = [(key, value) for key, value in request.headers if key.lower() != "host"]
        lines += [f"{key}: {value}" for key, value in sorted(others)]
        return http1.text("\n".join(lines) + "\n\n")

    if not port.isdigit():
        command.err(f"listen tcp: lookup tcp/{port}: unknown port\n")
        return 1
    async with Server(command) as server:
        try:
            await server.http(int(port), answer)
        except OSError as error:
            command.err(f"listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        command.out(f"Starting up on port {port}\n")
        await server.until_signal()
    return TERMINATED
