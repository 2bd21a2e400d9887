"""httpbin (kennethreitz/httpbin on 80, mccutchen/go-httpbin on 8080): requests told back."""

from __future__ import annotations

import json
import re

from podwire.client import http1
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command

_METHODS = {"/get": "GET", "/post": "POST", "/put": "PUT", "/patch": "PATCH", "/delete": "DELETE"}
MAX_DELAY_S = 10.0
MAX_BYTES = 100 * 1024


async def run(command: Command) -> int:
    """/get /post /put /patch /delete /anything /headers /ip /user-agent /status/N /delay/N
    /redirect/N /bytes/N; others answer 501.
    """
    port = int(
        command.variables.get("PORT", "8080" if "go-httpbin" in command.spec.image else "80")
    )

    async def answer(request: http1.Request) -> http1.Response:
        command.out(f"{request.peer[0]} {request.method} {request.target}\n")
        found = re.fullmatch(r"/(status|delay|redirect|bytes)/(\d{1,6})", request.path)
        if found is None:
            return _plain(request)
        number = int(found[2])
        if found[1] == "delay":
            await command.env.clock.sleep(min(number, MAX_DELAY_S))
            return _json(_told(request))
        if found[1] == "status":
            return http1.Response(number) if 100 <= number < 600 else http1.text("Invalid", 400)
        if found[1] == "bytes":
            body = command.env.rng.bytes(min(number, MAX_BYTES))
            return http1.Response(200, body, [("Content-Type", "application/octet-stream")])
        to = "/get" if number <= 1 else f"/redirect/{number - 1}"
        return http1.Response(302, b"", [("Location", to)])

    async with Server(command) as server:
        try:
            await server.http(port, answer)
        except OSError as error:
            command.err(f"[ERROR] Connection in use: ('0.0.0.0', {port}): {in_use(error)}\n")
            return 1
        command.err(f"[INFO] Listening at: http://0.0.0.0:{port} (1)\n")
        await server.until_signal()
    return TERMINATED


def _plain(request: http1.Request) -> http1.Response:
    path = request.path
    if path in _METHODS and request.method not in {_METHODS[path], "HEAD"}:
        return http1.Response(405, b"", [("Allow", _METHODS[path])])
    if path in _METHODS or path == "/anything" or path.startswith("/anything/"):
        return _json(_told(request))
    if path == "/headers":
        return _json({"headers": _headers(request)})
    if path == "/ip":
        return _json({"origin": request.peer[0]})
    if path == "/user-agent":
        return _json({"user-agent": request.header("user-agent")})
    return http1.text(f"not modelled: {path}\n", 501)


def _headers(request: http1.Request) -> dict[str, str]:
    return dict(sorted(request.headers))


def _told(request: http1.Request) -> dict[str, object]:
    told: dict[str, object] = {
        "args": request.query, "headers": _headers(request), "origin": request.peer[0],
        "url": f"http://{request.header('host')}{request.target}",
    }  # fmt: skip
    if request.path not in {"/get", "/delay"}:
        told |= {"data": request.body.decode(errors="replace"), "method": request.method}
    return told


def _json(value: object) -> http1.Response:
    return http1.text(json.dumps(value, indent=2) + "\n", kind="application/json")
