"""agnhost netexec: HTTP and UDP endpoints that test suites dial."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

from podwire.client import http1
from podwire.client.http1 import HttpError, Request, Response
from podwire.kubelet.programs import names
from podwire.kubelet.programs.http_echo import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, Pipe, UsageError, input_of
from podwire.kubelet.shell.tools.date import render
from podwire.runtime.tasks import first

DIAL_TIMEOUT_S = 5.0
MAX_TRIES = 100


async def ask_udp(
    command: Command, ip: str, port: int, data: bytes, timeout_s: float
) -> tuple[bytes | None, str]:
    """Send one datagram and wait for an answer: (answer, "") or (None, TIMEOUT | REFUSED ...)."""
    spec = command.spec
    try:
        socket = await command.env.sockets.bind_udp(spec.node, spec.netns)
    except OSError as error:
        return None, f"OTHER: {error.strerror}"
    try:
        await socket.send_to(data, ip, port)
        async with asyncio.timeout(timeout_s):
            answer, _, _ = await socket.recv_from()
    except TimeoutError:
        return None, "TIMEOUT"
    except ConnectionRefusedError:
        return None, "REFUSED"
    except OSError as error:
        return None, f"OTHER: {(error.strerror or str(error)).lower()}"
    else:
        return answer, ""
    finally:
        socket.close()


class NetExec:
    """The handlers of one netexec."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.name = command.spec.hostname or command.spec.pod
        self.udp_ready = False
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(self, request: Request) -> Response:
        """Route by path."""
        routes = {
            "/": self._root, "/clientip": self._client_ip, "/dial": self._dial,
            "/echo": self._echo, "/exit": self._exit, "/healthz": self._healthz,
            "/hostName": self._hostname, "/hostname": self._hostname, "/redirect": self._redirect,
            "/shell": self._shell, "/shutdown": self._exit, "/header": self._header,
            "/serverport": self._server_port,
        }  # fmt: skip
        route = routes.get(request.path, self._root)
        if request.path != "/healthz":
            self.command.err(f"{request.method} {request.path}\n")
        return await route(request)

    async def _root(self, _request: Request) -> Response:
        now = render(self.command.env.clock.now_ns(), "%Y-%m-%d %H:%M:%S.%N +0000 UTC")
        return http1.text(f"NOW: {now}")

    async def _client_ip(self, request: Request) -> Response:
        address, port = request.peer
        shown = f"[{address}]" if ":" in address else address
        return http1.text(f"{shown}:{port}")

    async def _server_port(self, request: Request) -> Response:
        return http1.text(str(request.local[1]))

    async def _header(self, request: Request) -> Response:
        return http1.text(request.header(request.query.get("key", "")))

    async def _hostname(self, _request: Request) -> Response:
        return http1.text(self.name)

    async def _echo(self, request: Request) -> Response:
        code = request.query.get("code", "200")
        if not code.isdigit() or not 100 <= int(code) < 600:
            return http1.text(f"argument 'code' must be integer or empty, got {code!r}\n", 400)
        return http1.text(request.query.get("msg", ""), int(code))

    async def _redirect(self, request: Request) -> Response:
        code = request.query.get("code", "302")
        location = request.query.get("location", "/")
        if not code.isdigit() or not 300 <= int(code) < 400:
            return http1.text(f"argument 'code' must be integer or empty, got {code!r}\n", 400)
        return Response(int(code), b"", [("Location", location)])

    async def _healthz(self, _request: Request) -> Response:
        return Response(200 if self.udp_ready else 412)

    async def _exit(self, request: Request) -> Response:
        code = request.query.get("code", "0")
        if not self.over.done():
            self.over.set_result(int(code) % 256 if code.isdigit() else 0)
        return Response(200)

    async def _shell(self, request: Request) -> Response:
        text = request.query.get("shellCommand") or request.query.get("cmd") or ""
        pipe, command = Pipe(), self.command
        inner = Command(
            ["sh"], command.env, command.image, command.runner, command.variables, input_of(b""),
            pipe.write, pipe.write, command.cwd,
        )  # fmt: skip
        code = await command.runner.run_script(text, "sh", [], inner)
        output = pipe.taken().decode(errors="replace")
        answer = {"output": output, **({"error": f"exit status {code}"} if code else {})}
        return http1.text(json.dumps(answer), kind="application/json")

    # ------------------------------------------------------------------ /dial

    async def _dial(self, request: Request) -> Response:
        query = request.query
        host, port = query.get("host", ""), query.get("port", "")
        word, protocol = query.get("request", ""), query.get("protocol", "http")
        tries = query.get("tries", "1")
        if not host or not word or not (port.isdigit() and tries.isdigit()):
            return http1.text("host, port, request or tries is malformed\n", 400)
        if protocol not in {"http", "udp"}:
            return http1.text(f"unsupported protocol: {protocol}\n", 400)
        responses: list[str] = []
        errors: list[str] = []
        for _ in range(min(int(tries), MAX_TRIES)):
            text, error = await self._dial_once(protocol, host.strip("[]"), int(port), word)
            if error:
                errors.append(error)
            else:
                responses.append(text)
        answer: dict[str, list[str]] = {}
        if responses:
            answer["responses"] = responses
        if errors:
            answer["errors"] = errors
        return http1.text(json.dumps(answer, separators=(",", ":")))

    async def _dial_once(self, protocol: str, host: str, port: int, word: str) -> tuple[str, str]:
        command = self.command
        found = await names.lookup(command.env, command.image.libc, host)
        if not found.addresses:
            return "", f"lookup {host}: no such host"
        ip = found.addresses[0]
        if protocol == "udp":
            data, why = await ask_udp(command, ip, port, word.encode(), DIAL_TIMEOUT_S)
            return (data or b"").decode(errors="replace").strip(), why
        spec = command.spec
        url = f"http://{host}:{port}/{word}"
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                stream = await command.env.sockets.connect(
                    spec.node, spec.netns, ip, port, DIAL_TIMEOUT_S
                )
                target = "/" + quote(word, safe="/?=&%")
                response = await http1.fetch(stream, "GET", target, f"{host}:{port}")
                await stream.close()
        except TimeoutError:
            return "", f'Get "{url}": dial tcp {ip}:{port}: i/o timeout'
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return "", f'Get "{url}": dial tcp {ip}:{port}: connect: {why}'
        except HttpError as error:
            return "", f'Get "{url}": {error}'
        return response.body.decode(errors="replace").strip(), ""

    async def datagram(self, data: bytes, address: str, port: int) -> bytes:
        """UDP: hostname, ``echo TEXT``, clientip."""
        word, _, rest = data.decode(errors="replace").strip().partition(" ")
        self.command.err(f"Received datagram {word!r} from {address}:{port}\n")
        if word.lower() == "hostname":
            return self.name.encode()
        if word.lower() == "echo":
            return rest.encode()
        if word.lower() == "clientip":
            return f"{address}:{port}".encode()
        return b"" if not word else b"unknown command"


async def netexec(command: Command, args: list[str]) -> int:
    """``netexec [--http-port 8080] [--udp-port 8081] [--delay-shutdown N]``; SCTP not modelled."""
    given = flags(args)
    ports = [given.get("http-port", "8080"), given.get("udp-port", "8081")]
    delay = given.get("delay-shutdown", "0")
    if not all(text.lstrip("-").isdigit() for text in [*ports, delay]):
        raise UsageError(f"invalid argument among {' '.join(args)}")
    http_port, udp_port = map(int, ports)
    program = NetExec(command)
    async with Server(command) as server:
        try:
            if udp_port > 0:
                await server.udp(udp_port, program.datagram)
            program.udp_ready = True
            await server.http(http_port, program.answer)
        except OSError as error:
            command.err(f"listen :{http_port}: bind: {in_use(error)}\n")
            return 1
        command.err(f"Started HTTP server on port {http_port}\n")
        if udp_port > 0:
            command.err(f"Started UDP server on port {udp_port}\n")

        async def over() -> int:
            return await program.over

        which, result = await first(server.until_signal("TERM"), over())
        if which == 1:
            return int(result)
        if int(delay) > 0:
            command.err(f"Sleeping {delay} seconds before terminating...\n")
            await command.env.clock.sleep(int(delay))
            return 0
    return TERMINATED
