"""iperf3: throughput between two containers, over the modelled path.

Sending gigabytes through a model would take minutes, so in each second of a test a sample goes the
whole way and back comes a byte; the sample's rate counts for the second. Delay, loss and rate
limits of the path are thus felt. Retransmissions and the congestion window are not told by sockets,
so the columns ``Retr`` and ``Cwnd`` are left out, as iperf3 does where a system does not tell them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from podwire.client import resolver
from podwire.client.counters import Stream
from podwire.kubelet.programs import names
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.runtime.tasks import Event, Nursery

PORT = 5201
SAMPLE_BYTES = 256 * 1024
MAX_SECONDS = 3600
MAX_STREAMS = 128
CONNECT_TIMEOUT_S = 127.0
_SEPARATOR = "- - - - - - - - - - - - - - - - - - - - - - - - -\n"
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(slots=True)
class Options:
    """What the flags say."""

    host: str = ""
    server: bool = False
    once: bool = False
    port: int = PORT
    seconds: int = 10
    streams: int = 1
    reverse: bool = False
    as_json: bool = False
    bits_per_s: float = 0.0


def _options(command: Command) -> Options:
    options = Options()
    args = list(command.args)
    long = {
        "--client": "-c", "--server": "-s", "--port": "-p", "--time": "-t", "--parallel": "-P",
        "--reverse": "-R", "--json": "-J", "--one-off": "-1", "--bitrate": "-b", "--interval": "-i",
        "--format": "-f",
    }  # fmt: skip
    while args:
        name, equals, value = args.pop(0).partition("=")
        flag = long.get(name, name[:2])
        if flag in {"-c", "-p", "-t", "-P", "-b", "-i", "-f"}:
            value = value if equals else (
                name[2:] if name == flag + name[2:] and name[2:] and name not in long
                else args.pop(0) if args else ""
            )  # fmt: skip
            _set(options, flag, value)
        elif flag in {"-s", "-R", "-J", "-1"}:
            options.server |= flag == "-s"
            options.reverse |= flag == "-R"
            options.as_json |= flag == "-J"
            options.once |= flag == "-1"
        elif flag not in {"-4", "-6", "-V", "-D"}:
            raise UsageError(f"not modelled: option {name}")
    return options


def _set(options: Options, flag: str, value: str) -> None:
    if flag == "-c":
        options.host = value
    elif flag == "-b":
        digits = value.rstrip("KMGkmg")
        if not digits.replace(".", "", 1).isdigit():
            raise UsageError(f"error - bad value for bitrate: {value}")
        options.bits_per_s = float(digits) * _UNITS.get(value[-1:].upper(), 1)
    elif flag in {"-p", "-t", "-P"}:
        most = {"-p": 65535, "-t": MAX_SECONDS, "-P": MAX_STREAMS}[flag]
        if not value.isdigit() or not 0 < int(value) <= most:
            raise UsageError(f"parameter error - {flag} {value}: not in 1..{most}")
        setattr(options, {"-p": "port", "-t": "seconds", "-P": "streams"}[flag], int(value))


async def run(command: Command) -> int:
    """``iperf3 -s [-p PORT] [-1]``; ``iperf3 -c HOST [-p PORT] [-t S] [-P N] [-R] [-b RATE]``."""
    options = _options(command)
    if options.as_json:
        raise UsageError("not modelled: option -J")
    if options.server:
        return await _serve(command, options)
    if not options.host:
        command.err("iperf3: parameter error - must either be a client (-c) or server (-s)\n\n")
        return 1
    return await _Client(command, options).run()


# ---------------------------------------------------------------- the server


async def _serve(command: Command, options: Options) -> int:
    rule = "-" * 59
    over = Event()

    async def talk(stream: Stream) -> None:
        line = b""
        while not line.endswith(b"\n") and len(line) < 200:
            data = await stream.recv()
            if not data:
                return
            line += data
        try:
            reverse = bool(json.loads(line)["reverse"])
        except (ValueError, KeyError, TypeError):
            return
        command.out(f"Accepted connection from {stream.remote[0]}, port {stream.remote[1]}\n")
        await stream.send(b"+")
        await (_send_samples(stream) if reverse else _take_samples(stream))
        over.set()

    async with Server(command) as server:
        try:
            await server.tcp(options.port, talk)
        except OSError as error:
            why = in_use(error).capitalize()
            command.err(f"iperf3: error - unable to start listener for connections: {why}\n")
            return 1
        command.out(f"{rule}\nServer listening on {options.port} (test #1)\n{rule}\n")
        if options.once:
            await over.wait()
            return 0
        await server.until_signal()
        command.err("iperf3: interrupt - the server has terminated\n")
    return 1


async def _take_samples(stream: Stream) -> None:
    got = 0
    while data := await stream.recv():
        got += len(data)
        while got >= SAMPLE_BYTES:
            got -= SAMPLE_BYTES
            await stream.send(b"+")


async def _send_samples(stream: Stream) -> None:
    while data := await stream.recv():
        for _ in data:
            await stream.send(bytes(SAMPLE_BYTES))


# ---------------------------------------------------------------- the client


@dataclass(slots=True)
class _Flow:
    """One stream of a test: its socket, and the bytes of each second."""

    ident: int
    stream: Stream
    seconds: list[float] = field(default_factory=list)


class _Client:
    def __init__(self, command: Command, options: Options) -> None:
        self.command = command
        self.options = options
        self.flows: list[_Flow] = []

    async def run(self) -> int:
        command, options = self.command, self.options
        found = await names.lookup(command.env, command.image.libc, options.host)
        if not found.addresses:
            why = resolver.strerror(found.error, command.image.libc)
            return self._failed(f"unable to connect to server: {why}")
        try:
            for i in range(options.streams):
                await self._open(found.addresses[0], 5 + 2 * i)
            self._greet()
            for second in range(options.seconds):
                await self._second(second)
        except (ConnectionResetError, BrokenPipeError, EOFError):
            return self._failed("control socket has closed unexpectedly")
        except OSError as error:
            return self._failed(f"unable to connect to server: {error.strerror or error}")
        finally:
            for flow in self.flows:
                await flow.stream.close()
        self._end()
        return 0

    def _failed(self, why: str) -> int:
        self.command.err(f"iperf3: error - {why}\n")
        return 1

    async def _open(self, ip: str, ident: int) -> None:
        spec = self.command.spec
        stream = await self.command.env.sockets.connect(
            spec.node, spec.netns, ip, self.options.port, CONNECT_TIMEOUT_S
        )
        self.flows.append(_Flow(ident, stream))
        await stream.send(json.dumps({"reverse": self.options.reverse}).encode() + b"\n")
        if await stream.recv() != b"+":
            raise EOFError

    def _greet(self) -> None:
        options, out = self.options, self.command.out
        out(f"Connecting to host {options.host}, port {options.port}\n")
        if options.reverse:
            out(f"Reverse mode, remote host {options.host} is sending\n")
        for flow in self.flows:
            (here, port), (there, far) = flow.stream.local, flow.stream.remote
            out(f"[{flow.ident:3}] local {here} port {port} connected to {there} port {far}\n")
        out("[ ID] Interval           Transfer     Bitrate\n")

    async def _second(self, second: int) -> None:
        clock = self.command.env.clock
        began_ns = clock.monotonic_ns()
        async with Nursery() as tasks:
            for flow in self.flows:
                tasks.start(self._sample(flow), name=f"stream {flow.ident}")
        taken_s = (clock.monotonic_ns() - began_ns) / 1e9
        if taken_s < 1:
            await clock.sleep(1 - taken_s)
        for flow in self.flows:
            self._row(flow.ident, second, second + 1, flow.seconds[-1], 1.0)
        if len(self.flows) > 1:
            self._row(None, second, second + 1, sum(f.seconds[-1] for f in self.flows), 1.0)
        if len(self.flows) > 1 and second + 1 < self.options.seconds:
            self.command.out(_SEPARATOR)

    async def _sample(self, flow: _Flow) -> None:
        """What this second carries, by the rate of a sample there (or back)."""
        clock, stream = self.command.env.clock, flow.stream
        began_ns = clock.monotonic_ns()
        if self.options.reverse:
            await stream.send(b"+")
            left = SAMPLE_BYTES
            while left > 0:
                data = await stream.recv()
                if not data:
                    raise EOFError
                left -= len(data)
        else:
            await stream.send(bytes(SAMPLE_BYTES))
            if not await stream.recv():
                raise EOFError
        taken_s = max((clock.monotonic_ns() - began_ns) / 1e9, 1e-6)
        rate = SAMPLE_BYTES / taken_s
        if self.options.bits_per_s:
            rate = min(rate, self.options.bits_per_s / 8)
        flow.seconds.append(rate)

    def _row(self, ident: int | None, first: float, last: float, size: float, span: float) -> None:
        name = "[SUM]" if ident is None else f"[{ident:3}]"
        self.command.out(
            f"{name} {first:6.2f}-{last:<6.2f} sec  {_bytes(size)}  {_bits(size * 8 / span)}"
            "                  \n"
        )

    def _end(self) -> None:
        out, seconds = self.command.out, self.options.seconds
        out(_SEPARATOR + "[ ID] Interval           Transfer     Bitrate\n")
        totals = [(f"[{flow.ident:3}]", sum(flow.seconds)) for flow in self.flows]
        if len(totals) > 1:
            totals.append(("[SUM]", sum(size for _, size in totals)))
        for name, size in totals:
            for role in ("sender", "receiver"):
                figures = f"{_bytes(size)}  {_bits(size * 8 / seconds)}"
                out(f"{name} {0:6.2f}-{seconds:<6.2f} sec  {figures}                  {role}\n")
        out("\niperf Done.\n")


def _bytes(size: float) -> str:
    return _scaled(size, 1024) + "Bytes"


def _bits(rate: float) -> str:
    return _scaled(rate, 1000) + "bits/sec"


def _scaled(value: float, base: int) -> str:
    """Three digits and a unit, as unit_snprintf has them."""
    unit = 0
    while value >= base and unit < 4:
        value /= base
        unit += 1
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    digits = f"{value:4.{places}f}"
    return f"{digits} {' KMGT'[unit].strip()}"
