"""agnhost: the Swiss army knife of Kubernetes' own end-to-end tests (version 2.53).

``COMMANDS`` lists the subcommands that are modelled, the others say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from podwire.client import http1
from podwire.client.counters import Stream
from podwire.client.http1 import Request, Response
from podwire.kubelet.programs import names
from podwire.kubelet.programs.agnhost_conversion import crd_conversion_webhook
from podwire.kubelet.programs.agnhost_grpc import grpc_health_checking
from podwire.kubelet.programs.agnhost_servers import (
    entrypoint_tester,
    inclusterclient,
    liveness,
    logs_generator,
    nettest,
)
from podwire.kubelet.programs.agnhost_webhook import webhook
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.netexec import ask_sctp, ask_udp, netexec
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import go_duration_s

LINGER_S = 60.0
"""serve-hostname goes on this long after TERM, so that endpoints can be taken out first."""

Flags = dict[str, str]


def _port(given: Flags, name: str, default: str) -> int:
    text = given.get(name, default)
    if not text.lstrip("-").isdigit():
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag')
    return int(text)


async def pause(command: Command, _args: list[str]) -> int:
    """Print ``Paused`` and wait; TERM ends it."""
    command.out("Paused\n")
    async with Server(command) as server:
        await server.until_signal("TERM", "INT")
    return TERMINATED


async def serve_hostname(command: Command, args: list[str]) -> int:
    """``serve-hostname [--http=true] [--tcp] [--udp] [--port 9376]``."""
    given = flags(args)
    port = _port(given, "port", "9376")
    name = command.spec.hostname or command.spec.pod

    async def hello(request: Request) -> Response:
        command.out(f"HTTP request from {request.peer[0]}:{request.peer[1]}\n")
        return http1.text(name)

    async def datagram(_data: bytes, address: str, source: int) -> bytes:
        command.out(f"UDP request from {address}:{source}\n")
        return name.encode()

    async with Server(command) as server:
        try:
            if given.get("tcp", "false") == "true":
                server.tasks.start(_tcp_hostname(server, port, name), name=f"hostname :{port}")
            elif given.get("http", "true") == "true":
                await server.http(port, hello)
            if given.get("udp", "false") == "true":
                await server.udp(port, datagram)
        except OSError as error:
            command.err(f"listen :{port}: bind: {in_use(error)}\n")
            return 1
        await server.until_signal("TERM")
        command.out("Received SIGTERM. Will wait for 60 seconds before exiting\n")
        await command.env.clock.sleep(LINGER_S)
    return 0


async def _tcp_hostname(server: Server, port: int, name: str) -> None:
    """Write the name on each connection and close it."""
    listener = await server.listen(port)
    while True:
        try:
            stream = await listener.accept()
        except OSError:
            return
        try:
            await stream.send(name.encode())
            await stream.close()
        except OSError:
            stream.abort()


async def connect(command: Command, args: list[str]) -> int:
    """``connect HOST:PORT [--timeout 0s] [--protocol tcp|udp|sctp]``: silent, or a word and 1.

    An association without ``--timeout`` is given no time: upstream's timer has run out at once.
    """
    words, given = _words_and_flags(args)
    host, colon, port = (words or [""])[0].rpartition(":")
    host = host.strip("[]")
    if not (colon and port.isdigit() and 0 < int(port) < 65536):
        command.err(f"UNKNOWN: address {(words or [''])[0]}: missing port in address\n")
        return 1
    given_s = go_duration_s(given.get("timeout", "0s"))
    timeout_s = given_s or 127.0
    protocol = given.get("protocol", "tcp") or "tcp"
    if protocol not in {"tcp", "udp", "sctp"}:
        command.err(f"Unsupported protocol\n{protocol}")
        return 1
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        why = "no such host" if found.error in {"NONAME", "NODATA"} else "i/o timeout"
        command.err(f"DNS: lookup {host}: {why}\n")
        return 1
    if protocol == "udp":
        data = given.get("udp-data", "hostname")
        return await _connect_udp(command, found.addresses[0], int(port), timeout_s, data)
    if protocol == "sctp":
        data = given.get("sctp-data", "hostname")
        return await _connect_sctp(command, found.addresses[0], int(port), given_s, data)
    return await _connect_tcp(command, found.addresses[0], int(port), timeout_s)


def _words_and_flags(args: list[str]) -> tuple[list[str], Flags]:
    words: list[str] = []
    given: Flags = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        given[name] = value if equals or not rest else rest.pop(0)
    return words, given


async def _connect_tcp(command: Command, ip: str, port: int, timeout_s: float) -> int:
    spec = command.spec
    try:
        stream = await command.env.sockets.connect(spec.node, spec.netns, ip, port, timeout_s)
    except ConnectionRefusedError:
        command.err("REFUSED\n")
        return 1
    except TimeoutError:
        command.err("TIMEOUT\n")
        return 1
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        command.err(f"OTHER: dial tcp {ip}:{port}: connect: {why}\n")
        return 1
    await stream.close()
    return 0


async def _connect_udp(command: Command, ip: str, port: int, timeout_s: float, data: str) -> int:
    answer, word, why = await ask_udp(command, ip, port, f"{data}\n".encode(), timeout_s)
    if answer:
        return 0
    silent = "No data received from the server. Cannot guarantee the server received the request."
    command.err(f"{word}: {why}\n" if answer is None else f"OTHER: {silent}\n")
    return 1


async def _connect_sctp(command: Command, ip: str, port: int, timeout_s: float, data: str) -> int:
    try:
        async with asyncio.timeout(timeout_s):
            _, why = await ask_sctp(command, ip, port, f"{data}\n".encode())
    except TimeoutError:
        command.err("TIMEOUT\n")
        return 1
    if why:
        command.err(f"OTHER: {why.partition(': ')[2]}\n")
    return 1 if why else 0


async def test_webserver(command: Command, args: list[str]) -> int:
    """``test-webserver [--port 80]``: serves the container's files."""
    port = _port(flags(args), "port", "80")

    async def answer(request: Request) -> Response:
        path = command.path(request.path)
        try:
            return Response(200, command.env.read_file(path), [("Content-Type", "text/plain")])
        except (FileNotFoundError, IsADirectoryError):
            pass
        below = command.env.list_files(path)
        if not below:
            return http1.text("404 page not found\n", 404)
        base = path.rstrip("/") + "/"
        shown = dict.fromkeys(
            name.removeprefix(base).partition("/")[0] for name in below if name != base
        )
        rows = "".join(f'<a href="{name}">{name}</a>\n' for name in shown)
        return http1.text(f"<pre>\n{rows}</pre>\n", kind="text/html; charset=utf-8")

    async with Server(command) as server:
        try:
            await server.http(port, answer)
        except OSError as error:
            command.err(f"listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        await server.until_signal("TERM")
    return TERMINATED


async def porter(command: Command, args: list[str]) -> int:
    """``porter``: SERVE_PORT_N, SERVE_TCP_PORT_N, SERVE_{UDP,SCTP}_PORT_N = body."""
    as_json = flags(args).get("json-response", "false") == "true"

    def handler(body: str) -> http1.Handler:
        async def answer(request: Request) -> Response:
            if as_json:
                shown = f'{{"Method":"{request.method}","Body":"{body}"}}'
                return http1.text(shown, kind="application/json")
            return http1.text(body)

        return answer

    def datagrams(body: str) -> Callable[[bytes, str, int], Awaitable[bytes]]:
        async def answer(_data: bytes, _address: str, _port: int) -> bytes:
            return body.encode()

        return answer

    def messages(body: str) -> Callable[[Stream], Awaitable[None]]:
        async def talk(stream: Stream) -> None:
            await stream.send(body.encode())

        return talk

    async with Server(command) as server:
        for name, body in sorted(command.variables.items()):
            kind, _, port = name.rpartition("_PORT_")
            if not port.isdigit() or not kind.startswith("SERVE"):
                continue
            if kind in {"SERVE", "SERVE_TLS", "SERVE_TCP"}:
                await server.http(int(port), handler(body), tls=kind == "SERVE_TLS")
            elif kind == "SERVE_UDP":
                await server.udp(int(port), datagrams(body))
            elif kind == "SERVE_SCTP":
                await server.sctp(int(port), messages(body))
            else:
                command.err(f"{name}: not modelled\n")
        await server.until_signal("TERM")
    return TERMINATED


async def dns_suffix(command: Command, _args: list[str]) -> int:
    """The search list, comma-separated."""
    conf, _ = names.configuration(command.env)
    command.out(",".join(conf.search))
    return 0


async def dns_server_list(command: Command, _args: list[str]) -> int:
    """The name servers, comma-separated."""
    conf, _ = names.configuration(command.env)
    command.out(",".join(conf.nameservers))
    return 0


async def etc_hosts(command: Command, _args: list[str]) -> int:
    """/etc/hosts."""
    command.write_out(command.read_file("/etc/hosts"))
    return 0


Sub = Callable[[Command, list[str]], Awaitable[int]]
COMMANDS: dict[str, Sub] = {
    "entrypoint-tester": entrypoint_tester, "inclusterclient": inclusterclient,
    "liveness": liveness, "logs-generator": logs_generator, "nettest": nettest,
    "connect": connect, "crd-conversion-webhook": crd_conversion_webhook,
    "dns-server-list": dns_server_list, "dns-suffix": dns_suffix,
    "grpc-health-checking": grpc_health_checking,
    "etc-hosts": etc_hosts, "netexec": netexec, "pause": pause, "porter": porter,
    "serve-hostname": serve_hostname, "test-webserver": test_webserver, "webhook": webhook,
}  # fmt: skip
"""The subcommands that are modelled."""


async def run(command: Command) -> int:
    """``agnhost SUBCOMMAND [FLAGS]``."""
    if command.args[:1] == ["--version"]:
        command.out("agnhost version 2.53\n")
        return 0
    name = command.args[0] if command.args else "pause"
    subcommand = COMMANDS.get(name)
    if subcommand is None:
        command.err(f'Error: command "{name}" of "agnhost" is not modelled\n')
        return 1
    return await subcommand(command, command.args[1:])
