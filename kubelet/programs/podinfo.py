"""podinfo (stefanprodan/podinfo 6.9): its JSON, its probes that can be switched off."""

from __future__ import annotations

import asyncio
import json
import re

from podwire.client import grpc, http1
from podwire.kubelet.programs.agnhost_grpc import Ask, health_service
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command
from podwire.runtime.tasks import first

VERSION = "6.9.2"
PANIC = 255


async def run(command: Command) -> int:
    """``podinfo [--port 9898] [--grpc-port 0] [--grpc-service-name podinfo]``: / /version /healthz
    /readyz[/enable|/disable] /env /headers /echo /status/N /delay/N /panic, and gRPC's health;
    metrics, other gRPC, cache and tokens are not modelled (501).
    """
    given = flags(command.args)
    port, grpc_port = int(given.get("port", "9898")), int(given.get("grpc-port", "0"))
    program = _Podinfo(command)
    async with Server(command) as server:
        try:
            await server.http(port, program.answer)
            if grpc_port:
                await server.grpc(grpc_port, health_service(program.health(given)))
        except OSError as error:
            command.err(f'{{"level":"fatal","msg":"HTTP server crashed: {in_use(error)}"}}\n')
            return 1
        command.err(f'{{"level":"info","msg":"Starting HTTP Server.","addr":":{port}"}}\n')
        which, _ = await first(server.until_signal("TERM", "INT"), program.over.wait())
    return PANIC if which else 0


class _Podinfo:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.alive = {"/healthz": True, "/readyz": True}
        self.over = asyncio.Event()

    def health(self, given: dict[str, str]) -> Ask:
        """Who asks by gRPC: the service's own name is always SERVING."""
        name = given.get("grpc-service-name", "podinfo")
        return lambda service: grpc.Health.SERVING if service in {"", name} else None

    async def answer(self, request: http1.Request) -> http1.Response:
        """Route by path."""
        path = request.path
        switch = re.fullmatch(r"(/healthz|/readyz)/(enable|disable)", path)
        number = re.fullmatch(r"/(status|delay)/(\d{1,4})", path)
        if path in self.alive:
            alive = self.alive[path]
            return _json(
                {"status": "OK" if alive else "Service Unavailable"}, 200 if alive else 503
            )
        if switch and request.method == "POST":
            self.alive[switch[1]] = switch[2] == "enable"
            return http1.Response(202)
        if number and number[1] == "status":
            return _json({"status": int(number[2])}, int(number[2]))
        if number:
            await self.command.env.clock.sleep(int(number[2]))
            return _json({"delay": int(number[2])})
        return self._plain(request)

    def _plain(self, request: http1.Request) -> http1.Response:
        command, path = self.command, request.path
        if path == "/":
            return _json(self._about())
        if path == "/version":
            return _json({"commit": "unknown", "version": VERSION})
        if path == "/env":
            return _json([f"{name}={value}" for name, value in command.variables.items()])
        if path == "/headers":
            headers: dict[str, list[str]] = {}
            for name, value in request.headers:
                headers.setdefault(name, []).append(value)
            return _json(headers)
        if path in {"/echo", "/api/echo"}:
            return http1.Response(202, request.body, [("Content-Type", "application/json")])
        if path == "/panic":
            self.over.set()
            return http1.Response(200)
        return http1.text(f"not modelled: {path}\n", 501)

    def _about(self) -> dict[str, str]:
        command = self.command
        variables = command.variables
        return {
            "hostname": command.spec.hostname or command.spec.pod, "version": VERSION,
            "revision": "unknown", "color": variables.get("PODINFO_UI_COLOR", "#34577c"),
            "logo": "https://raw.githubusercontent.com/stefanprodan/podinfo/gh-pages/"
            "cuddle_clap.gif",
            "message": variables.get("PODINFO_UI_MESSAGE", f"greetings from podinfo v{VERSION}"),
            "goos": "linux", "goarch": "amd64", "runtime": "go1.25.1", "num_goroutine": "8",
            "num_cpu": "4",
        }  # fmt: skip


def _json(value: object, status: int = 200) -> http1.Response:
    return http1.text(json.dumps(value, indent=2), status, kind="application/json; charset=utf-8")
