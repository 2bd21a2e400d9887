"""hashicorp/http-echo: one text on one port."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from podwire.client import http1
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def flags(args: list[str]) -> dict[str, str]:
    """Go's flags: ``-name=value``, ``--name value``; a lone one is ``true``."""
    found: dict[str, str] = {}
    rest = list(args)
    while rest:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        found[name] = value
    return found


async def run(command: Command) -> int:
    """``http-echo -text TEXT [-listen :5678] [-status-code 200]``."""
    given = flags(command.args)
    text = given.get("text", command.variables.get("ECHO_TEXT", ""))
    if not text:
        command.err("Missing -text option!\n")
        return 127
    port = given.get("listen", ":5678").rpartition(":")[2]
    status = given.get("status-code", "200")
    if not (port.isdigit() and status.isdigit()):
        command.err(f"[ERR] Error starting server: listen tcp: invalid port {port}\n")
        return 1

    async def answer(request: http1.Request) -> http1.Response:
        response = http1.text(f"{text}\n", int(status))
        response.headers = [
            ("X-App-Name", "http-echo"), ("X-App-Version", "1.0.0"), *response.headers,
        ]  # fmt: skip
        now = _EPOCH + timedelta(microseconds=command.env.clock.now_ns() // 1000)
        command.out(
            f"{now:%Y/%m/%d %H:%M:%S} {request.header('host')} {request.peer[0]}:"
            f'{request.peer[1]} "{request.method} {request.target} HTTP/1.1" {status} '
            f'{len(text) + 1} "{request.header("user-agent")}"\n'
        )
        return response

    async with Server(command) as server:
        try:
            await server.http(int(port), answer)
        except OSError as error:
            command.err(f"[ERR] Error starting server: listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        command.out(f"[INFO] server is listening on :{port}\n")
        await server.until_signal()
        command.out("[INFO] received interrupt, shutting down...\n")
    return 0
