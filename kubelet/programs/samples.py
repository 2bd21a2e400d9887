"""The servers that Kubernetes' own pages deploy, each known by its image.

Sources: registry.k8s.io/echoserver (kubernetes/kubernetes test/images/echoserver), server.js of
gcr.io/google-samples/kubernetes-bootcamp, GoogleCloudPlatform/kubernetes-engine-samples hello-app,
jmalloc/echo-server, kubernetes/website php-apache (registry.k8s.io/hpa-example).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime

from podwire.client import http1
from podwire.client.http1 import Request, Response
from podwire.kubelet.programs import go
from podwire.kubelet.programs.serving import Server, in_use, now
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.sleep import FOREVER_S

COMPUTING_S = 0.05
"""What hpa-example computes for each request (``podwire.kubelet.usage`` counts as much CPU)."""

Handler = Callable[[Request], Awaitable[Response]]


def _hostname(command: Command) -> str:
    return command.spec.hostname or command.spec.pod


def _version(command: Command) -> str:
    """``2`` of the tags ``v2``, ``2`` and ``2.0``; 1 without any."""
    found = re.search(r":v?(\d{1,3})", command.spec.image.rpartition("/")[2])
    return found[1] if found else "1"


async def _serve(command: Command, port: int, handler: Handler, ready: str = "") -> int:
    """Serve until a signal that ends it; 1 when the port is taken."""
    async with Server(command) as server:
        try:
            await server.http(port, handler)
        except OSError as error:
            command.err(f"listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        command.out(ready)
        await server.until_signal("TERM", "INT", "QUIT", "WINCH")
    return 0


# ---------------------------------------------------------------------- echoserver


async def echoserver(command: Command) -> int:
    """Tells what it was asked, on 8080: as version 1.4 or (since 1.5) as 1.10."""
    old = re.search(r":1\.[0-4]$", command.spec.image) is not None

    async def answer(request: Request) -> Response:
        told = _client_values(request) if old else _request_information(command, request)
        server = ("Server", f"nginx/{'1.10.0' if old else '1.13.3'}")
        kind = ("Content-Type", "text/plain")
        command.out(
            f"{request.peer[0]} - - [{now(command):%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{request.method} {request.target} {request.version}" 200 {len(told.encode())} "-" '
            f'"{request.header("user-agent", "-")}"\n'
        )
        return Response(200, told.encode(), [server, kind])

    return await _serve(command, 8080, answer)


def _told_headers(request: Request) -> list[str]:
    return sorted(f"{name.lower()}={value}" for name, value in request.headers)


def _uri(request: Request) -> str:
    host = request.header("host").partition(":")[0] or request.local[0]
    return f"http://{host}:8080{request.target}"


def _body(request: Request, missing: str) -> str:
    return request.body.decode(errors="replace") or missing


def _client_values(request: Request) -> str:
    query = request.target.partition("?")[2] or "nil"
    lines = [
        "CLIENT VALUES:", f"client_address={request.peer[0]}", f"command={request.method}",
        f"real path={request.target}", f"query={query}", "request_version=1.1",
        f"request_uri={_uri(request)}", "", "SERVER VALUES:",
        "server_version=nginx: 1.10.0 - lua: 10001", "", "HEADERS RECEIVED:",
        *_told_headers(request), "BODY:", _body(request, "-no body in request-"),
    ]  # fmt: skip
    return "\n".join(lines)


def _request_information(command: Command, request: Request) -> str:
    known = command.variables
    pod = ["\t-no pod information available-"]
    if "POD_NAME" in known:
        fields = ("node name", "pod name", "pod namespace", "pod IP")
        names = [known.get(field.upper().replace(" ", "_"), "N/A") for field in fields]
        pod = [f"\t{field}:\t{name}" for field, name in zip(fields, names, strict=True)]
    query = request.target.partition("?")[2]
    lines = [
        "", "", f"Hostname: {_hostname(command)}", "", "Pod Information:", *pod, "",
        "Server values:", "\tserver_version=nginx: 1.13.3 - lua: 10008", "",
        "Request Information:", f"\tclient_address={request.peer[0]}",
        f"\tmethod={request.method}", f"\treal path={request.target}", f"\tquery={query}",
        "\trequest_version=1.1", "\trequest_scheme=http", f"\trequest_uri={_uri(request)}", "",
        "Request Headers:", *(f"\t{line}" for line in _told_headers(request)), "",
        "Request Body:", _body(request, "\t-no body in request-"), "", "",
    ]  # fmt: skip
    return "\n".join(lines)


# ---------------------------------------------------------------------- the others


async def bootcamp(command: Command) -> int:
    """The tutorial "Kubernetes Basics": 8080; below its ``sh -c`` no TERM reaches it."""
    name, version = _hostname(command), _version(command)
    began, served = now(command), [0]

    async def answer(_request: Request) -> Response:
        served[0] += 1
        up_s = round((now(command) - began).total_seconds(), 3)
        command.out(
            f"Running On: {name} | Total Requests: {served[0]} | App Uptime: {up_s:g} seconds "
            f"| Log Time: {_javascript(now(command))}\n"
        )
        text = f"Hello Kubernetes bootcamp! | Running on: {name} | v={version}\n"
        return http1.text(text, kind="text/plain")

    async with Server(command) as server:
        await server.http(8080, answer)
        at = _javascript(began)
        command.out(f"Kubernetes Bootcamp App Started At: {at} | Running On:  {name} \n\n")
        await command.env.clock.sleep(FOREVER_S)
    return 0


def _javascript(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


async def hello_app(command: Command) -> int:
    """hello-app: greets with its version and host on $PORT (8080)."""
    port = command.variables.get("PORT", "8080")
    text = f"Hello, world!\nVersion: {_version(command)}.0.0\nHostname: {_hostname(command)}\n"

    async def answer(request: Request) -> Response:
        go.log(command, f"Serving request: {request.path}")
        return go.answer(command, text)

    go.log(command, f"Server listening on port {port}")
    status = await _serve(command, int(port) if port.isdigit() else 8080, answer)
    return status or go.KILLED


async def node_hello(command: Command) -> int:
    """node-hello: one greeting on 8080."""

    async def answer(request: Request) -> Response:
        command.out(f"Received request for URL: {request.target}\n")
        return Response(200, b"Hello Kubernetes!", [])

    return await _serve(command, 8080, answer)


async def echo_server(command: Command) -> int:
    """jmalloc/echo-server and kicbase/echo-server: the request told again on $PORT (8080)."""
    port = command.variables.get("PORT", "8080")

    async def answer(request: Request) -> Response:
        headers = go.headers(request)
        lines = [f"Request served by {_hostname(command)}", ""]
        lines += [f"{request.version} {request.method} {request.target}", ""]
        lines += [f"Host: {request.header('host')}"]
        lines += [f"{name}: {value}" for name, values in headers.items() for value in values]
        command.out(
            f"{request.peer[0]}:{request.peer[1]} | {request.method} {request.target}\n"
        )  # fmt: skip
        body = request.body.decode(errors="replace")
        text = "\n".join(lines) + "\n" + (f"\n{body}" if body else "")
        return go.answer(command, text, own={"Content-Type": "text/plain"})

    ready = f"Echo server listening on port {port}.\n"
    status = await _serve(command, int(port) if port.isdigit() else 8080, answer, ready)
    return status or go.KILLED


async def php_apache(command: Command) -> int:
    """hpa-example of the autoscaling walkthrough: computes, then says ``OK!`` on 80."""

    async def answer(request: Request) -> Response:
        await command.env.clock.sleep(COMPUTING_S)
        stamp = f"{now(command):%d/%b/%Y:%H:%M:%S} +0000"
        command.out(
            f'{request.peer[0]} - - [{stamp}] "{request.method} {request.target} '
            f'{request.version}" 200 204 "-" "{request.header("user-agent", "-")}"\n'
        )
        headers = [
            ("Date", f"{now(command):%a, %d %b %Y %H:%M:%S} GMT"),
            ("Server", "Apache/2.4.10 (Debian)"), ("X-Powered-By", "PHP/5.6.14"),
            ("Content-Type", "text/html; charset=UTF-8"),
        ]  # fmt: skip
        return Response(200, b"OK!", headers)

    return await _serve(command, 80, answer)


async def multitool(command: Command) -> int:
    """network-multitool: an nginx that names its pod on $HTTP_PORT (80), beside all tools."""
    known = command.variables
    ports = known.get("HTTP_PORT", "80"), known.get("HTTPS_PORT", "443")
    page = (
        f"WBITT Network MultiTool (with NGINX) - {_hostname(command)} - {command.spec.pod_ip} - "
        f"HTTP: {ports[0]} , HTTPS: {ports[1]} . (Formerly praqma/network-multitool)\n"
    )

    async def answer(_request: Request) -> Response:
        return http1.text(page, kind="text/html")

    async with Server(command) as server:
        for port, tls in zip(ports, (False, True), strict=True):
            await server.http(int(port) if port.isdigit() else 0, answer, tls=tls)
        await server.until_signal("TERM", "INT", "QUIT")
    return 0


_PROGRAMS = {
    "echoserver": echoserver, "bootcamp": bootcamp, "hello-app": hello_app,
    "node-hello": node_hello, "echo-server": echo_server, "php-apache": php_apache,
    "multitool": multitool,
}  # fmt: skip


async def run(command: Command) -> int:
    """The program of the name; the images give it (``registry.py``)."""
    return await _PROGRAMS[command.name](command)
