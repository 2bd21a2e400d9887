"""traefik/whoami: tells the request back.

Behaviour: traefik/whoami app.go, content.go; Go's ``Request.Write`` for the request itself.
"""

from __future__ import annotations

import re
from contextlib import suppress

from podwire.client import http1
from podwire.kubelet.programs import go
from podwire.kubelet.programs.serving import Server, in_use, now
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import go_duration_s

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_FILL = "-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WRITTEN = {"User-Agent", "Content-Length", "Transfer-Encoding", "Trailer"}
"""Headers that ``Request.Write`` puts in places of their own."""


async def run(command: Command) -> int:
    """``whoami [-port 80] [-name NAME] [-verbose] [-cert FILE -key FILE]``: / /api /bench /data
    /health; WebSockets (/echo), gRPC and /openapi.yaml are not modelled.
    """
    try:
        given, _ = go.parse(command.args, ("port", "name", "cert", "key", "cacert"), ("verbose",))
    except UsageError as error:
        command.err(f"{error}\nUsage of /whoami:\n")
        return error.code
    port = given.get("port", command.variables.get("WHOAMI_PORT_NUMBER") or "80")
    name = given.get("name", command.variables.get("WHOAMI_NAME", ""))
    tls = bool(given.get("cert") and given.get("key"))
    program = _Whoami(command, name, given.get("verbose") in _TRUE)
    go.log(command, f"Starting up {'with TLS ' * tls}on port {port}")
    if not port.isdigit():
        go.log(command, f"listen tcp: lookup tcp/{port}: unknown port")
        return 1
    if given.get("cacert"):
        go.log(command, "not modelled: -cacert (clients are asked for no certificate)")
    async with Server(command) as server:
        try:
            for name in ("cert", "key") if tls else ():
                command.env.read_file(given[name])
            await server.http(int(port), program.answer, tls=tls)
        except FileNotFoundError:
            go.log(command, f"open {given[name]}: no such file or directory")
            return 1
        except OSError as error:
            go.log(command, f"listen tcp :{port}: bind: {in_use(error)}")
            return 1
        await server.until_signal()
    return go.KILLED


class _Whoami:
    def __init__(self, command: Command, name: str, verbose: bool) -> None:
        self.command = command
        self.name = name
        self.verbose = verbose
        self.health = 200
        spec = command.spec
        self.hostname = spec.hostname or spec.pod
        self.ips = ["127.0.0.1", "::1", spec.pod_ip]

    async def answer(self, request: http1.Request) -> http1.Response:
        """Answer one request, and log it when asked to."""
        response = await self._route(request)
        if self.verbose:
            go.log(
                self.command,
                f"{request.peer[0]}:{request.peer[1]} - - "
                f'[{now(self.command):%d/%b/%Y:%H:%M:%S} +0000] "{request.method} {request.path} '
                f'{request.version}" - -',
            )
        return response

    async def _route(self, request: http1.Request) -> http1.Response:
        command, path = self.command, request.path
        if path == "/health":
            return self._health(request)
        if path == "/bench":
            own = {"Connection": "keep-alive", "Content-Type": "text/plain"}
            return go.answer(command, "1", own=own)
        if path == "/data":
            return self._data(request)
        if path == "/api":
            told = go.marshal(self._api(request))
            return go.answer(command, f"{told}\n", own={"Content-Type": "application/json"})
        if path in {"/echo", "/openapi.yaml"} or path.startswith("/whoami.Whoami/"):
            return go.error(command, f"not modelled: {path}", 501)
        if wait := request.query.get("wait"):
            with suppress(UsageError):  # whoami does not wait for what is no duration
                await command.env.clock.sleep(go_duration_s(wait))
        return go.answer(command, self._told(request))

    def _told(self, request: http1.Request) -> str:
        lines = [f"Name: {self.name}"] if self.name else []
        lines += [f"Hostname: {self.hostname}", *(f"IP: {ip}" for ip in self.ips)]
        lines.append(f"RemoteAddr: {request.peer[0]}:{request.peer[1]}")
        agent = request.header("user-agent", "Go-http-client/1.1")
        sent = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.header('host')}"]
        sent += [f"User-Agent: {agent}"] if agent else []
        if request.body or request.method in {"POST", "PUT", "PATCH"}:
            sent.append(f"Content-Length: {len(request.body)}")
        for key, values in go.headers(request).items():
            sent += [f"{key}: {value}" for value in values if key not in _WRITTEN]
        body = request.body.decode(errors="replace")
        text = "\n".join(lines) + "\n" + "\r\n".join(sent) + f"\r\n\r\n{body}"
        return text + "".join(f"{line}\n" for line in self._environ(request))

    def _environ(self, request: http1.Request) -> list[str]:
        if request.query.get("env") not in _TRUE:
            return []
        return [f"{name}={value}" for name, value in self.command.variables.items()]

    def _api(self, request: http1.Request) -> dict[str, object]:
        environ = dict(sorted(line.split("=", 1) for line in self._environ(request)))
        told = {
            "hostname": self.hostname, "ip": self.ips, "headers": go.headers(request),
            "url": request.target, "host": request.header("host"), "method": request.method,
            "name": self.name, "remoteAddr": f"{request.peer[0]}:{request.peer[1]}",
            "environ": environ,
        }  # fmt: skip
        return {key: value for key, value in told.items() if value}

    def _health(self, request: http1.Request) -> http1.Response:
        if request.method != "POST":
            return go.answer(self.command, b"", self.health)
        code = re.match(rb"\s*(\d{3})\s*$", request.body)
        if code is None or int(code[1]) < 100:
            return go.error(self.command, "not modelled: no status code in the body", 400)
        self.health = int(code[1])
        self.command.out(f"Update health check status code [{self.health}]\n")
        return go.answer(self.command)

    def _data(self, request: http1.Request) -> http1.Response:
        query = request.query
        text = query.get("size", "")
        size = max(0, int(text)) if re.fullmatch(r"-?\d{1,18}", text) else 1
        size *= _UNITS.get(query.get("unit", "").lower(), 1)
        if size > http1.MAX_BODY_BYTES:
            return go.error(self.command, f"not modelled: more than {http1.MAX_BODY_BYTES}", 501)
        if size < 2:
            return go.answer(self.command)
        inner = (_FILL * (size // len(_FILL) + 1))[1 : size - 1]
        own = {"Content-Disposition": "Attachment"} if query.get("attachment") in _TRUE else {}
        return go.answer(self.command, f"|{inner}|", own=own)
