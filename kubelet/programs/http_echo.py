"""hashicorp/http-echo: one text on one port."""

from __future__ import annotations

from podwire.client import http1
from podwire.kubelet.programs import go
from podwire.kubelet.programs.serving import Server, in_use, now
from podwire.kubelet.shell.command import Command, UsageError

VERSION = "1.0.0"


async def run(command: Command) -> int:
    """``http-echo [-text TEXT] [-listen :5678] [-status-code 200]`` of version 1.0.0; /health too.

    Behaviour: hashicorp/http-echo main.go, handlers.go; the image sets ECHO_TEXT (Dockerfile).
    """
    try:
        given, words = go.parse(command.args, ("text", "listen", "status-code"), ("version",))
    except UsageError as error:
        command.err(f"{error}\nUsage of /http-echo:\n")
        return error.code
    if "version" in given:
        command.out(f"http-echo v{VERSION}\n")
        return 0
    text = given.get("text") or command.variables.get("ECHO_TEXT", "hello-world")
    if not text or words:
        missing = "Missing -text option or ECHO_TEXT env var!"
        command.err(f"{'Too many arguments!' if text else missing}\n")
        return 127
    listen, status = given.get("listen", ":5678"), given.get("status-code", "200")
    port = listen.rpartition(":")[2]
    if not (port.isdigit() and int(port) < 65536):
        go.log(command, f"[ERR] server exited with: listen tcp: address {listen}: invalid port")
        return 1
    if not (status.isdigit() and 100 <= int(status) < 1000):
        command.err(f'invalid value "{status}" for flag -status-code: not modelled\n')
        return 2

    async def answer(request: http1.Request) -> http1.Response:
        app = {"X-App-Name": "http-echo", "X-App-Version": VERSION}
        if request.path == "/health":
            return go.answer(command, '{"status":"ok"}\n', own=app)
        command.out(
            f"{now(command):%Y/%m/%d %H:%M:%S} {request.header('host')} {request.peer[0]}:"
            f'{request.peer[1]} "{request.method} {request.path} {request.version}" {status} '
            f'{len(text.encode()) + 1} "{request.header("user-agent")}" 0s\n'
        )
        return go.answer(command, f"{text}\n", int(status), app)

    async with Server(command) as server:
        go.log(command, f"[INFO] server is listening on {listen}")
        try:
            await server.http(int(port), answer)
        except OSError as error:
            why = f"listen tcp {listen}: bind: {in_use(error)}"
            go.log(command, f"[ERR] server exited with: {why}")
            return 1
        await server.until_signal("TERM", "INT")
        go.log(command, "[INFO] received interrupt, shutting down...")
    return 2
