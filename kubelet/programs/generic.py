"""The generic program: what an image nobody modelled does. It says so in every answer."""

from __future__ import annotations

from podwire.client import http1
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """Listen on the declared containerPorts: HTTP 200 on TCP, echo on UDP; TERM ends with 143."""
    spec = command.spec

    async def answer(request: http1.Request) -> http1.Response:
        body = f"{spec.pod} ({spec.image} is modelled by podwire's generic program)\n"
        response = http1.text(body)
        response.headers.append(("X-Podwire-Modelled", "generic"))
        command.out(f'{request.peer[0]} "{request.method} {request.target}" 200\n')
        return response

    async def echo(data: bytes, _address: str, _port: int) -> bytes:
        return data

    async with Server(command) as server:
        for port, protocol in spec.ports:
            try:
                if protocol == "UDP":
                    await server.udp(port, echo)
                elif protocol == "TCP":
                    await server.http(port, answer)
                else:
                    command.err(f"{protocol} {port}: not modelled\n")
            except OSError as error:
                command.err(f"listen :{port}: bind: {in_use(error)}\n")
                return 1
        ports = ", ".join(f"{port}/{protocol}" for port, protocol in spec.ports) or "no port"
        command.out(f"podwire: {spec.image} is not modelled; generic program on {ports}\n")
        await server.until_signal()
    return TERMINATED
