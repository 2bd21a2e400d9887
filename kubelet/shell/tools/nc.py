"""nc: openbsd's words, or busybox's in busybox images."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from podwire.client import resolver
from podwire.client.counters import Stream
from podwire.kubelet.programs import names, web
from podwire.kubelet.shell.command import Command, UsageError
from podwire.runtime.tasks import Nursery

SERVICES = {
    22: "ssh", 25: "smtp", 53: "domain", 80: "http", 110: "pop3", 143: "imap2", 389: "ldap",
    443: "https", 3306: "mysql", 5432: "postgresql", 6379: "redis", 8080: "http-alt",
}  # fmt: skip
"""/etc/services, as far as nc's -v shows it ("*" otherwise)."""


@dataclass(slots=True)
class Options:
    """What the flags say. ``wait_s`` 0 waits for ever."""

    listen: bool = False
    keep: bool = False
    udp: bool = False
    verbose: bool = False
    zero: bool = False
    numeric: bool = False
    wait_s: float = 0.0
    source_port: int = 0
    words: tuple[str, ...] = ()


def _options(command: Command) -> Options:
    options, words = Options(), []
    args = list(command.args)
    flags = {"l": "listen", "k": "keep", "u": "udp", "v": "verbose", "z": "zero", "n": "numeric"}
    while args:
        arg = args.pop(0)
        if arg[:1] != "-" or len(arg) < 2:
            words.append(arg)
            continue
        for i, flag in enumerate(arg[1:], 2):
            if flag in flags:
                setattr(options, flags[flag], True)
            elif flag in "wpqis":
                value = arg[i:] or (args.pop(0) if args else "")
                if not value.lstrip("-").isdigit():
                    raise UsageError(f"{value}: invalid number")
                if flag in "wp":
                    setattr(options, "wait_s" if flag == "w" else "source_port", int(value))
                break
            elif flag not in "t46NCdr":
                raise UsageError(f"invalid option -- {flag}")
    options.words = tuple(words)
    return options


async def run(command: Command) -> int:
    """``nc [-lkuvzn] [-w SECONDS] [-p PORT] [HOST] PORT``."""
    options = _options(command)
    if options.listen:
        return await _listen(command, options)
    span = _port_range(options.words[1]) if len(options.words) == 2 else None
    if span is None:
        return command.fail("usage: nc [-lkuvzn] [-w timeout] [-p port] [host] [port]")
    host = options.words[0]
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        if command.image.busybox:
            return command.fail(f"bad address '{host}'")
        why = resolver.strerror(found.error, command.image.libc)
        return command.fail(f'getaddrinfo for host "{host}" port {options.words[1]}: {why}')
    low, high = span
    status = 1
    for port in range(low, high + 1):
        one = _udp if options.udp else _tcp
        if await one(command, options, found.addresses, port) == 0:
            status = 0
    return status


def _port_range(text: str) -> tuple[int, int] | None:
    low, dash, high = text.partition("-")
    high = high if dash else low
    if not (low.isdigit() and high.isdigit() and text.isascii()):
        return None
    first, last = int(low), min(int(high), int(low) + 1000)
    return (first, last) if 0 < first <= last < 65536 else None


def _succeeded(command: Command, options: Options, ip: str, port: int) -> None:
    if not options.verbose:
        return
    host, kind = options.words[0], "udp" if options.udp else "tcp"
    if command.image.busybox:
        command.err(f"{host} ({ip}:{port}) open\n")
        return
    where = host if host == ip else f"{host} ({ip})"
    service = "*" if options.numeric else SERVICES.get(port, "*")
    command.err(f"Connection to {where} {port} port [{kind}/{service}] succeeded!\n")


def _failed(command: Command, options: Options, ip: str, port: int, error: OSError) -> int:
    host, kind = options.words[0], "udp" if options.udp else "tcp"
    late = isinstance(error, TimeoutError)
    why = "Connection timed out" if late else error.strerror or str(error)
    if command.image.busybox:
        text = "timed out" if late and options.wait_s else f"{host} ({ip}:{port}): {why}"
        return command.fail(text)
    if options.verbose:
        where = host if host == ip else f"{host} ({ip})"
        now = "" if command.image.libc == resolver.MUSL else "now "
        told = f"timed out: Operation {now}in progress" if late else f"failed: {why}"
        command.fail(f"connect to {where} port {port} ({kind}) {told}")
    return 1


async def _tcp(command: Command, options: Options, ips: tuple[str, ...], port: int) -> int:
    timeout_s = options.wait_s or web.CONNECT_TIMEOUT_S
    spec = command.spec
    status = 1
    for ip in ips:
        try:
            stream = await command.env.sockets.connect(
                spec.node, spec.netns, ip, port, timeout_s, options.source_port
            )
        except OSError as error:
            status = _failed(command, options, ip, port, error)
            continue
        _succeeded(command, options, ip, port)
        if options.zero:
            await stream.close()
        else:
            await _relay(command, stream, options.wait_s)
        return 0
    return status


async def _relay(command: Command, stream: Stream, wait_s: float) -> None:
    """Stdin to the peer, the peer to stdout. busybox closes its half when stdin ends and goes
    when the peer ends; openbsd's stays until both ended, or until ``wait_s`` without traffic.
    """

    async def send() -> None:
        try:
            while data := await command.stdin.some():
                await stream.send(data)
            if command.image.busybox:
                await stream.close()
        except OSError:
            return  # the receiving side sees the same end and tells

    async with Nursery() as tasks:
        sending = tasks.start(send(), name="nc stdin")
        try:
            while True:
                async with asyncio.timeout(wait_s or None):
                    data = await stream.recv()
                if not data:
                    break
                command.write_out(data)
            if not command.image.busybox:
                async with asyncio.timeout(wait_s or None):
                    await asyncio.shield(sending)
        except (ConnectionResetError, TimeoutError):
            sending.cancel()
        await stream.close()
        tasks.cancel()


async def _udp(command: Command, options: Options, ips: tuple[str, ...], port: int) -> int:
    spec, ip = command.spec, ips[0]
    socket = await command.env.sockets.bind_udp(spec.node, spec.netns, "", options.source_port)
    try:
        data = b"X" if options.zero else await command.stdin.some()
        while data:
            await socket.send_to(data, ip, port)
            data = b"" if options.zero else await command.stdin.some()
        while True:
            async with asyncio.timeout(1.0 if options.zero else options.wait_s or None):
                reply, _, _ = await socket.recv_from()
            if not options.zero:
                command.write_out(reply)
    except TimeoutError:
        _succeeded(command, options, ip, port)
        return 0
    except OSError as error:
        return 1 if options.zero else _failed(command, options, ip, port, error)
    finally:
        socket.close()


async def _listen(command: Command, options: Options) -> int:
    text = str(options.source_port) if options.source_port else (options.words or ("",))[-1]
    span = _port_range(text)
    if span is None:
        return command.fail("missing port with option -l")
    spec, sockets = command.spec, command.env.sockets
    if options.udp:
        return await _listen_udp(command, span[0])
    listener = await sockets.listen(spec.node, spec.netns, "", span[0])
    if options.verbose:
        command.err(f"Listening on 0.0.0.0 {span[0]}\n")
    try:
        while True:
            stream = await listener.accept()
            if options.verbose:
                command.err(f"Connection received on {stream.remote[0]} {stream.remote[1]}\n")
            await _relay(command, stream, options.wait_s)
            if not options.keep:
                return 0
    finally:
        listener.close()


async def _listen_udp(command: Command, port: int) -> int:
    spec = command.spec
    socket = await command.env.sockets.bind_udp(spec.node, spec.netns, "", port)
    try:
        while True:
            data, _, _ = await socket.recv_from()
            command.write_out(data)
    finally:
        socket.close()
