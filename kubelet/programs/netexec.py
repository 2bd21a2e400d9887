"""agnhost netexec: HTTP, UDP and SCTP endpoints that test suites dial."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import quote

from podwire.client import http1
from podwire.client.counters import Listener
from podwire.client.http1 import HttpError, Request, Response
from podwire.kubelet.programs import names
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, Pipe, UsageError, input_of
from podwire.kubelet.shell.tools.date import render
from podwire.kubelet.shell.tools.sleep import FOREVER_S, go_duration_s
from podwire.kubelet.text import go_duration
from podwire.runtime.tasks import first

DIAL_TIMEOUT_S = 5.0
SCTP_PATIENCE_S = 3600.0
"""Longer than a kernel tries to open an association."""
MAX_TRIES = 100
SCTP_BUFFER_BYTES = 1024


async def ask_udp(
    command: Command, ip: str, port: int, data: bytes, timeout_s: float
) -> tuple[bytes | None, str, str]:
    """Send one datagram and wait for an answer: (answer, "", "") or (None, TIMEOUT | REFUSED |
    UNKNOWN, Go's words for the failed read).
    """
    spec = command.spec
    where = ""
    try:
        socket = await command.env.sockets.bind_udp(spec.node, spec.netns)
    except OSError as error:
        return None, "UNKNOWN", f"dial udp {_joined(ip, port)}: {error.strerror}"
    try:
        where = f"read udp {_joined(spec.pod_ip, socket.local[1])}->{_joined(ip, port)}"
        await socket.send_to(data, ip, port)
        async with asyncio.timeout(timeout_s):
            answer, _, _ = await socket.recv_from()
    except TimeoutError:
        return None, "TIMEOUT", f"{where}: i/o timeout"
    except ConnectionRefusedError:
        return None, "REFUSED", f"{where}: read: connection refused"
    except OSError as error:
        return None, "UNKNOWN", f"{where}: read: {(error.strerror or str(error)).lower()}"
    else:
        return answer, "", ""
    finally:
        socket.close()


async def ask_sctp(command: Command, ip: str, port: int, data: bytes) -> tuple[bytes, str]:
    """Send one message and wait for an answer: (answer, "") or (b"", which call failed and why).

    Nothing but the kernel's patience ends it: the library that upstream uses knows no deadlines.
    """
    spec, call = command.spec, "dial"
    try:
        stream = await command.env.sockets.connect_sctp(
            spec.node, spec.netns, ip, port, SCTP_PATIENCE_S
        )
        try:
            call = "write"
            await stream.send(data)
            call = "read"
            answer = await stream.recv()
        except BaseException:
            stream.abort()
            raise
        await stream.close()
    except OSError as error:
        return b"", f"{call}: {(error.strerror or str(error)).lower()}"
    return answer, "" if answer else "read: EOF"


class NetExec:
    """The handlers of one netexec; words and codes as upstream's netexec.go has them."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.name = command.spec.hostname or command.spec.pod
        self.udp_ready = False
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def log(self, text: str) -> None:
        """A line of Go's log package."""
        now = render(self.command.env.clock.now_ns(), "%Y/%m/%d %H:%M:%S")
        self.command.err(f"{now} {text}\n")

    async def answer(self, request: Request) -> Response:
        """Route by path."""
        routes = {
            "/": self._root, "/clientip": self._client_ip, "/dial": self._dial,
            "/echo": self._echo, "/exit": self._exit, "/healthz": self._healthz,
            "/hostName": self._hostname, "/hostname": self._hostname, "/redirect": self._redirect,
            "/shell": self._shell, "/shutdown": self._shutdown, "/header": self._header,
            "/serverport": self._server_port, "/upload": self._upload,
        }  # fmt: skip
        return await routes.get(request.path, self._root)(request)

    async def _root(self, _request: Request) -> Response:
        self.log("GET /")
        now = render(self.command.env.clock.now_ns(), "%Y-%m-%d %H:%M:%S.%N +0000 UTC")
        return http1.text(f"NOW: {now}")

    async def _client_ip(self, request: Request) -> Response:
        self.log("GET /clientip")
        return http1.text(_joined(*request.peer))

    async def _server_port(self, request: Request) -> Response:
        self.log("GET /serverport")
        return http1.text(str(request.local[1]))

    async def _header(self, request: Request) -> Response:
        key = request.query.get("key", "")
        self.log(f"GET /header?key={key}")
        return http1.text(request.header(key))

    async def _hostname(self, request: Request) -> Response:
        self.log(f"GET {request.path}")
        return http1.text(self.name)

    async def _echo(self, request: Request) -> Response:
        code, message = request.query.get("code", ""), request.query.get("msg", "")
        self.log(f"GET /echo?msg={message}&code={code}")
        if code and not _integer(code):
            return _not_an_integer(code)
        if code and not 100 <= int(code) < 1000:
            raise HttpError(f"invalid WriteHeader code {code}")  # Go's server panics and cuts
        return http1.text(message, int(code or 200))

    async def _redirect(self, request: Request) -> Response:
        code, location = request.query.get("code", ""), request.query.get("location", "")
        self.log(f"{request.method} /redirect?msg={location}&code={code}")
        if code and not _integer(code):
            return _not_an_integer(code)
        return Response(int(code or 302), b"", [("Location", location or "/")])

    async def _healthz(self, _request: Request) -> Response:
        self.log("GET /healthz")
        return Response(200 if self.udp_ready else 412)

    async def _shutdown(self, _request: Request) -> Response:
        self.log("GET /shutdown")
        return await self._end(0)

    async def _end(self, code: int) -> Response:
        """os.Exit: nobody is answered any more."""
        if not self.over.done():
            self.over.set_result(code % 256)
        await self.command.env.clock.sleep(FOREVER_S)
        raise AssertionError("the process has ended")

    async def _exit(self, request: Request) -> Response:
        given = {name: request.query.get(name, "") for name in ("wait", "timeout", "code")}
        self.log(f"GET /exit?code={given['code']}&timeout={given['timeout']}&wait={given['wait']}")
        spans: dict[str, float] = {}
        for name in ("timeout", "wait"):
            try:
                spans[name] = go_duration_s(given[name]) if given[name] else 0.0
            except UsageError:
                return http1.text(
                    f"argument '{name}' must be a valid golang duration or empty, "
                    f"got {json.dumps(given[name])}\n"
                )
        if given["code"] and not _integer(given["code"]):
            return http1.text(
                "argument 'code' must be an integer [0-127] or empty, "
                f"got {json.dumps(given['code'])}\n"
            )
        code = int(given["code"] or 0)
        self.log(
            f"Will begin shutdown in {go_duration(int(spans['wait'] * 1e9))}, allowing "
            f"{go_duration(int(spans['timeout'] * 1e9))} for connections to close, then will "
            f"exit with {code}"
        )
        await self.command.env.clock.sleep(spans["wait"])
        if not spans["timeout"]:
            return await self._end(code)
        self.command.env.clock.call_later(0.01, lambda: self._shut_down(code))
        return Response(200)

    def _shut_down(self, code: int) -> None:
        """Connections have closed: that some stay until the timeout is not modelled."""
        self.log("Graceful shutdown completed with: <nil>")
        if not self.over.done():
            self.over.set_result(code % 256)

    async def _shell(self, request: Request) -> Response:
        text = request.query.get("shellCommand") or request.query.get("cmd") or ""
        self.log(f"GET /shell?cmd={text}")
        pipe, command = Pipe(), self.command
        inner = Command(
            ["sh"], command.env, command.image, command.runner, command.variables, input_of(b""),
            pipe.write, pipe.write, command.cwd,
        )  # fmt: skip
        code = await command.runner.run_script(text, "sh", [], inner)
        output = pipe.taken().decode(errors="replace")
        answer = {"error": f"exit status {code}"} if code else {}
        if output:
            answer["output"] = output
        pairs = " ".join(f"{key}:{value}" for key, value in answer.items())
        self.log(f"Output: map[{pairs}]")
        return http1.text(_go_json(answer))

    async def _upload(self, request: Request) -> Response:
        self.log("GET /upload")
        data = uploaded(request.header("content-type"), request.body)
        if data is None:
            return http1.text(_go_json({"error": "Unable to upload file."}))
        path = f"/uploads/upload{self.command.env.rng.below(10**9)}"
        try:
            await self.command.env.write_file(path, data)
        except OSError as error:
            self.log(f"Unable to open file for write: {error}")
            return http1.text(_go_json({"error": "Unable to open file for write"}))
        self.log(f"Wrote upload to {path}")
        return http1.text(_go_json({"output": path}), 201)

    # ------------------------------------------------------------------ /dial

    async def _dial(self, request: Request) -> Response:
        query = request.query
        host, port = query.get("host", ""), query.get("port", "")
        word, protocol = query.get("request", ""), query.get("protocol", "")
        tries = query.get("tries", "")
        self.log(
            f"GET /dial?host={host}&protocol={protocol}&port={port}&request={word}&tries={tries}"
        )
        if tries and not _integer(tries):
            why = f"strconv.Atoi: parsing {json.dumps(tries)}: invalid syntax"
            return http1.text(f"tries parameter is invalid. {why}\n", 400)
        if not word:
            return http1.text("request parameter not specified. <nil>\n", 400)
        asks = {
            "": self._dial_http, "http": self._dial_http, "udp": self._dial_udp,
            "sctp": self._dial_sctp,
        }  # fmt: skip
        ask = asks.get(protocol.lower())
        if ask is None:
            return http1.text(f"unsupported protocol. {protocol}\n", 400)
        ip, why = await self._resolved(host.strip("[]"), port)
        if why:
            return http1.text(f"host and/or port param are invalid. {why}\n", 400)
        responses: list[str] = []
        errors: list[str] = []
        text = ""
        for _ in range(min(int(tries or 1), MAX_TRIES)):
            text, error = await ask(ip, int(port), word)
            if error:
                errors.append(error)
            else:
                responses.append(text)
        answer: dict[str, list[str]] = {"errors": errors} if errors else {}
        if text:  # the last one's: upstream tells the answers only then
            answer["responses"] = responses
        return http1.text(_go_json(answer))

    async def _resolved(self, host: str, port: str) -> tuple[str, str]:
        """An address, or why there is none."""
        if not port.isdigit() or not 0 < int(port) < 65536:
            return "", f"address {_joined(host, port)}: invalid port"
        found = await names.lookup(self.command.env, self.command.image.libc, host)
        if not found.addresses:
            return "", f"lookup {host}: no such host"
        return found.addresses[0], ""

    async def _dial_udp(self, ip: str, port: int, word: str) -> tuple[str, str]:
        data, _, why = await ask_udp(self.command, ip, port, word.encode(), DIAL_TIMEOUT_S)
        if data:
            return data.decode(errors="replace"), ""
        return "", f"reading from udp connection failed. err:'{why or '<nil>'}'"

    async def _dial_sctp(self, ip: str, port: int, word: str) -> tuple[str, str]:
        data, failed = await ask_sctp(self.command, ip, port, word.encode())
        call, _, why = failed.partition(": ")
        if call == "read":
            return "", f"reading from sctp connection failed. err:'{why}'"
        if call:
            return "", f"sctp {'dial' if call == 'dial' else 'connection write'} failed. err:{why}"
        return data.decode(errors="replace"), ""

    async def _dial_http(self, ip: str, port: int, word: str) -> tuple[str, str]:
        command, spec, place = self.command, self.command.spec, _joined(ip, port)
        url = f"http://{place}/{word}"
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                stream = await command.env.sockets.connect(
                    spec.node, spec.netns, ip, port, DIAL_TIMEOUT_S
                )
                target = "/" + quote(word, safe="/?=&%")
                response = await http1.fetch(stream, "GET", target, place)
                await stream.close()
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            return "", f'Get "{url}": {why}'
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return "", f'Get "{url}": dial tcp {place}: connect: {why}'
        except HttpError as error:
            return "", f'Get "{url}": {error}'
        return response.body.decode(errors="replace"), ""

    async def datagram(self, data: bytes, address: str, port: int) -> bytes:
        """UDP's answer."""
        return self._told(data, _joined(address, port), "UDP")

    def _told(self, data: bytes, client: str, protocol: str) -> bytes:
        """hostname, ``echo TEXT``, clientip; in small letters, as upstream reads them."""
        text = data.decode(errors="replace").strip().lower()
        if text == "hostname":
            self.log(f"Sending {'udp' if protocol == 'UDP' else protocol} hostName response")
            return self.name.encode()
        if text.startswith("echo "):
            self.log(f"Echoing {text[5:]} to {protocol} client {client}")
            return text[5:].encode()
        if text == "clientip":
            self.log(f"Sending clientip back to {protocol} client {client}")
            return client.encode()
        if text:
            self.log(f"Unknown {protocol} command received from {client}: {text}")
        return b""

    async def associations(self, listener: Listener) -> None:
        """One client after the other, and who says nothing ends the process: as upstream has it."""
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                return
            client = _joined(*stream.remote)
            try:
                data = await stream.recv()
                why = "" if data else "EOF"
                answer = self._told(data[:SCTP_BUFFER_BYTES], client, "SCTP") if data else b""
                if answer:
                    await stream.send(answer)
                await stream.close()
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                stream.abort()
            if why and not self.over.done():
                what = f"failed to read from SCTP client {client}"
                self.log(f"Error occurred: {what}:{why}")
                self.over.set_result(1)


def uploaded(kind: str, body: bytes) -> bytes | None:
    """The content of the form's part ``file``; None when there is none."""
    if not kind.startswith("multipart/form-data"):
        return None
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + kind.encode(errors="replace") + b"\r\n\r\n" + body
    )
    for part in message.walk():
        if part.get_filename() and part.get_param("name", header="content-disposition") == "file":
            found = part.get_payload(decode=True)
            return found if isinstance(found, bytes) else None
    return None


def _joined(host: str, port: int | str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").removeprefix("+").isdigit() and len(text) < 10


def _not_an_integer(code: str) -> Response:
    got = json.dumps(code)
    return http1.text(f"argument 'code' must be an integer or empty, got {got}\n")


def _go_json(value: Mapping[str, object]) -> str:
    """As Go's encoding/json writes a map: keys in order, nothing that HTML could read."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


async def netexec(command: Command, args: list[str]) -> int:
    """``netexec [--http-port 8080] [--udp-port 8081] [--sctp-port N] [--delay-shutdown N]``."""
    given = flags(args)
    defaults = {"http-port": "8080", "udp-port": "8081", "sctp-port": "-1"}
    ports = [given.get(name, default) for name, default in defaults.items()]
    delay = given.get("delay-shutdown", "0")
    if not all(text.lstrip("-").isdigit() for text in [*ports, delay]):
        raise UsageError(f"invalid argument among {' '.join(args)}")
    http_port, udp_port, sctp_port = map(int, ports)
    program = NetExec(command)
    async with Server(command) as server:
        try:
            if udp_port > 0:
                await server.udp(udp_port, program.datagram)
            if sctp_port > 0:
                serving = program.associations(await server.listen_sctp(sctp_port))
                server.tasks.start(serving, name=f"sctp :{sctp_port}")
            program.udp_ready = True
            await server.http(http_port, program.answer)
        except OSError as error:
            program.log(f"listen tcp :{http_port}: bind: {in_use(error)}")
            return 1
        program.log(f"Started HTTP server on port {http_port}")
        if udp_port > 0:
            program.log(f"Started UDP server on port  {udp_port}")
        if sctp_port > 0:
            program.log("Started SCTP server")

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
