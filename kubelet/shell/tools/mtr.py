"""mtr: loss and round trips hop by hop, as a report (the full screen is not modelled)."""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.client import resolver
from podwire.client.counters import Probe, ProbeAnswer
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.date import render
from podwire.runtime.tasks import Nursery

UNKNOWN_HOSTS = 5
"""mtr gives up behind as many hops in a row that say nothing (MAX_UNKNOWN_HOSTS 10 on screen)."""
WAIT_S = 5.0


@dataclass(slots=True)
class Options:
    """What the flags say."""

    report: bool = False
    wide: bool = False
    numeric: bool = False
    cycles: int = 10
    interval_s: float = 1.0
    protocol: str = "icmp"
    port: int = 80
    most: int = 30
    size_bytes: int = 64
    host: str = ""


@dataclass(slots=True)
class Hop:
    """What one distance answered."""

    address: str = ""
    sent: int = 0
    times_ms: list[float] = field(default_factory=list)
    final: bool = False

    def row(self) -> str:
        """Loss%, Snt, Last, Avg, Best, Wrst, StDev."""
        times = self.times_ms
        loss = 100 * (1 - len(times) / self.sent) if self.sent else 0.0
        if not times:
            figures = [0.0] * 5
        else:
            mean = sum(times) / len(times)
            spread = sum((t - mean) ** 2 for t in times) / max(len(times) - 1, 1)
            figures = [times[-1], mean, min(times), max(times), spread**0.5]
        shown = " ".join(f"{value:5.1f}" for value in figures)
        return f"{f'{loss:4.1f}%':.5} {self.sent:5}  {shown}"


def _options(command: Command) -> Options:
    options = Options()
    valued = {"-c": "cycles", "-i": "interval_s", "-P": "port", "-m": "most", "-s": "size_bytes"}
    long = {
        "--report": "-r", "--report-wide": "-w", "--no-dns": "-n", "--tcp": "-T", "--udp": "-u",
        "--report-cycles": "-c", "--interval": "-i", "--port": "-P", "--max-ttl": "-m",
        "--psize": "-s", "--show-ips": "-b",
    }  # fmt: skip
    args = list(command.args)
    while args:
        name, equals, value = args.pop(0).partition("=")
        if name.startswith("--"):
            if name not in long:
                raise UsageError(f"unrecognized option '{name}'")
            name = long[name]
        if name[:2] in valued:
            value = value if equals else name[2:] or (args.pop(0) if args else "")
            try:
                kind = float if name[:2] == "-i" else int
                setattr(options, valued[name[:2]], kind(value))
            except ValueError:
                raise UsageError(f"invalid argument: '{value}'") from None
        elif name.startswith("-"):
            _letters(options, name[1:], args)
        else:
            options.host = name
    return options


def _letters(options: Options, letters: str, args: list[str]) -> None:
    for i, letter in enumerate(letters):
        if letter in "rw":
            options.report = True
            options.wide |= letter == "w"
        elif letter in "uT":
            options.protocol = "udp" if letter == "u" else "tcp"
        elif letter == "n":
            options.numeric = True
        elif letter == "c":
            value = letters[i + 1 :] or (args.pop(0) if args else "")
            if not value.isdigit():
                raise UsageError(f"invalid argument: '{value}'")
            options.cycles = int(value)
            return
        elif letter not in "b46z":
            raise UsageError(f"invalid option -- '{letter}'")


async def run(command: Command) -> int:
    """``mtr -r|-w [-n] [-c CYCLES] [-i SECONDS] [-u|-T] [-P PORT] [-m HOPS] HOST``."""
    options = _options(command)
    if not options.report:
        raise UsageError("not modelled: the full-screen display (use -r or --report-wide)")
    if not options.host:
        return command.fail("no host given")
    found = await names.lookup(command.env, command.image.libc, options.host)
    if not found.addresses:
        why = resolver.strerror(found.error, command.image.libc)
        command.err(f"mtr: Failed to resolve host: {options.host}: {why}\n")
        return 1
    return await _Report(command, options, found.addresses[0]).run()


class _Report:
    def __init__(self, command: Command, options: Options, ip: str) -> None:
        self.command = command
        self.options = options
        self.ip = ip
        self.hops: list[Hop] = []

    async def run(self) -> int:
        began = self.command.env.clock
        self.command.out(f"Start: {render(began.now_ns(), '%Y-%m-%dT%H:%M:%S')}+0000\n")
        for cycle in range(max(self.options.cycles, 1)):
            if cycle:
                await began.sleep(max(self.options.interval_s, 0.01))
            await self._cycle()
        await self._print()
        return 0

    async def _cycle(self) -> None:
        """All distances at once; what lies behind the destination is not asked again."""
        reach = len(self.hops) or self.options.most
        async with Nursery() as tasks:
            asked = [
                tasks.start(self._probe(ttl), name=f"probe {ttl}") for ttl in range(1, reach + 1)
            ]
        silent = 0
        for i, task in enumerate(asked):
            answer = task.result()
            if i == len(self.hops):
                self.hops.append(Hop())
            hop = self.hops[i]
            hop.sent += 1
            silent = 0 if answer is not None or hop.address else silent + 1
            if answer is not None:
                hop.address = answer.address
                hop.times_ms.append(answer.seconds * 1000)
                hop.final |= answer.kind != "time-exceeded"
            if hop.final or silent > UNKNOWN_HOSTS:
                break

    async def _probe(self, ttl: int) -> ProbeAnswer | None:
        options, spec = self.options, self.command.spec
        probe = Probe(
            self.ip, options.protocol, options.port if options.protocol != "icmp" else 0,
            sequence=ttl, ttl=ttl, size_bytes=options.size_bytes, dont_fragment=False,
        )  # fmt: skip
        try:
            return await self.command.env.sockets.probe(spec.node, spec.netns, probe, WAIT_S)
        except TimeoutError:
            return None
        except OSError as error:
            raise UsageError(f"Unexpected mtr-packet error: {error.strerror}") from None

    async def _print(self) -> None:
        shown = [await self._shown(hop.address) for hop in self.hops]
        here = self.command.spec.hostname or self.command.spec.pod
        first, rest = 28, 26
        if self.options.wide:
            first = rest = 1 + max([len(here), *(len(name) for name in shown)])
        self.command.out(f"HOST: {here:<{first}}Loss%   Snt   Last   Avg  Best  Wrst StDev\n")
        for i, (hop, name) in enumerate(zip(self.hops, shown, strict=True), 1):
            self.command.out(f"{i:3}.|-- {name:<{rest}}{hop.row()}\n")

    async def _shown(self, address: str) -> str:
        if not address:
            return "???"
        if self.options.numeric:
            return address
        found = await names.reverse(self.command.env, address)
        return found[0] if found else address
