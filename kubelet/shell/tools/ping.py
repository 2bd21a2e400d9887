"""ping: iputils' words, or busybox's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from podwire.client import resolver
from podwire.client.counters import Probe, ProbeAnswer
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import FOREVER_S
from podwire.runtime.tasks import Event, Nursery

MAX_COUNT = 100_000
ICMP_BYTES = 8
LATE_S = 10.0
"""How long an answer is waited for while others are sent, so that memory is bounded."""
_NUMBERS = {"-c": MAX_COUNT, "-W": 10.0, "-w": FOREVER_S, "-i": 1.0, "-s": 56, "-t": 64}
_WORDS = ("-M", "-I", "-Q", "-p", "-m", "-S", "-l", "-T")
_UNREACHABLE = {
    0: "Destination Net Unreachable", 1: "Destination Host Unreachable",
    2: "Destination Protocol Unreachable", 3: "Destination Port Unreachable",
    9: "Destination Net Prohibited", 10: "Destination Host Prohibited", 13: "Packet filtered",
}  # fmt: skip
_UNREACHABLE6 = {
    0: "Destination unreachable: No route",
    1: "Destination unreachable: Administratively prohibited",
    2: "Destination unreachable: Beyond scope of source address",
    3: "Destination unreachable: Address unreachable",
    4: "Destination unreachable: Port unreachable",
}  # fmt: skip
"""iputils: pr_icmph in ping.c and ping6_common.c."""


@dataclass(slots=True)
class Options:
    """What the flags say."""

    numbers: dict[str, float]
    host: str = ""
    quiet: bool = False
    pmtu: str = "want"
    family: str = "any"
    stamped: bool = False


def _options(command: Command) -> Options:
    options = Options(dict(_NUMBERS))
    args = list(command.args)
    while args:
        arg = args.pop(0)
        flag = arg[:2]
        if flag in _NUMBERS or flag in _WORDS:
            value = arg[2:] or (args.pop(0) if args else "")
            if flag == "-M":
                options.pmtu = value
            elif flag in _WORDS and flag != "-I":
                raise UsageError(f"not modelled: {flag}", 2)
            elif flag in _NUMBERS:
                if not value.replace(".", "", 1).isdigit():
                    raise UsageError(f"invalid argument: '{value}'")
                options.numbers[flag] = float(value)
        elif arg.startswith("-") and len(arg) > 1:
            unknown = arg[1:].strip("qnDOvU46Aa")
            if unknown:
                raise UsageError(f"invalid option -- '{unknown[0]}'", 2)
            options.quiet |= "q" in arg
            options.stamped |= "D" in arg
            options.family = "inet" if "4" in arg else "inet6" if "6" in arg else options.family
        else:
            options.host = arg
    return options


async def run(command: Command) -> int:
    """``ping [-c COUNT] [-W SECONDS] [-w DEADLINE] [-i INTERVAL] [-s BYTES] [-t TTL] [-M do]
    [-q] [-n] [-4|-6] HOST``.
    """
    options = _options(command)
    if not options.host:
        return command.fail("usage error: Destination address required")
    family = "inet6" if command.name == "ping6" else options.family
    found = await names.lookup(command.env, command.image.libc, options.host, family)
    if not found.addresses:
        if command.image.busybox:
            return command.fail(f"bad address '{options.host}'")
        why = resolver.strerror(found.error, command.image.libc)
        return command.fail(f"{options.host}: {why}", 2)
    return await _Ping(command, options, found.addresses[0]).run()


class _Ping:
    """Sends at intervals whatever comes back, and waits after the last (iputils: main_loop and
    schedule_exit in ping_common.c).
    """

    def __init__(self, command: Command, options: Options, ip: str) -> None:
        self.command = command
        self.options = options
        self.ip = ip
        self.numbers = options.numbers
        self.busybox = command.image.busybox
        self.data_bytes = int(options.numbers["-s"])
        self.header_bytes = 40 if ":" in ip else 20
        self.times_ms: list[float] = []
        self.sent = 0
        self.errors = 0
        self.open = 0
        """Probes that nothing has answered yet."""
        self.heard = Event()

    async def run(self) -> int:
        clock = self.command.env.clock
        self.command.out(self._heading())
        began = clock.monotonic_ns()
        ended = began
        try:
            async with Nursery() as nursery:
                while self.sent < min(self.numbers["-c"], MAX_COUNT):
                    if self.sent:
                        await clock.sleep(max(self.numbers["-i"], 0.01))
                    if self._left_s(began) <= 0:
                        break
                    ended = clock.monotonic_ns()
                    self.sent += 1
                    self.open += 1
                    nursery.start(self._one(self.sent), name=f"ping {self.ip} {self.sent}")
                await self._linger(self._left_s(began))
                nursery.cancel()
        finally:
            self._summary((ended - began) // 1_000_000)
        return 0 if self.times_ms else 1

    def _left_s(self, began_ns: int) -> float:
        elapsed_ns = self.command.env.clock.monotonic_ns() - began_ns
        return self.numbers["-w"] - elapsed_ns / 1e9

    async def _linger(self, left_s: float) -> None:
        """Wait for what is on its way: -W, or two round trips once something answered."""
        wait_s = self.numbers["-W"]
        if self.times_ms:
            wait_s = max(2 * max(self.times_ms) / 1000, self.numbers["-i"])
        try:
            async with asyncio.timeout(max(min(wait_s, left_s), 0)):
                while self.open:
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            return

    def _heading(self) -> str:
        host, ip, size = self.options.host, self.ip, self.data_bytes
        if self.busybox:
            return f"PING {host} ({ip}): {size} data bytes\n"
        if ":" in ip:
            return f"PING {host}({ip}) {size} data bytes\n"
        return (
            f"PING {host} ({ip}) {size}({size + ICMP_BYTES + self.header_bytes}) bytes of data.\n"
        )

    async def _one(self, sequence: int) -> None:
        command, spec = self.command, self.command.spec
        probe = Probe(
            self.ip,
            sequence=sequence,
            ttl=int(self.numbers["-t"]),
            size_bytes=self.data_bytes + ICMP_BYTES + self.header_bytes,
            dont_fragment=self.options.pmtu in {"do", "probe"},
        )
        late_s = max(self.numbers["-W"], LATE_S)
        try:
            answer = await command.env.sockets.probe(spec.node, spec.netns, probe, late_s)
        except TimeoutError:
            return
        except OSError as error:
            self.errors += 1
            if self.busybox:
                raise UsageError(f"sendto: {error.strerror}") from None
            command.err(f"ping: sendmsg: {error.strerror}\n")
            return
        finally:
            self.open -= 1
            self.heard.set()
        self._answered(sequence, answer)

    def _answered(self, sequence: int, answer: ProbeAnswer) -> None:
        command = self.command
        if answer.kind == "echo":
            self._echoed(sequence, answer)
            return
        self.errors += 1
        if answer.kind == "too-big" and not answer.address:
            command.err(f"ping: local error: message too long, mtu={answer.mtu_bytes}\n")
        elif not self.options.quiet and not self.busybox:
            command.out(f"From {answer.address} icmp_seq={sequence} {self._error(answer)}\n")

    def _echoed(self, sequence: int, answer: ProbeAnswer) -> None:
        self.times_ms.append(answer.seconds * 1000)
        if self.options.quiet:
            return
        shown = f"seq={sequence - 1}" if self.busybox else f"icmp_seq={sequence}"
        stamp = ""
        if self.options.stamped:
            now_ns = self.command.env.clock.now_ns()
            stamp = f"[{now_ns // 10**9}.{now_ns % 10**9 // 1000:06d}] "
        time = f"{answer.seconds * 1000:.3f}" if self.busybox else _three_digits(answer.seconds)
        self.command.out(
            f"{stamp}{self.data_bytes + ICMP_BYTES} bytes from {answer.address}: {shown} "
            f"ttl={answer.ttl} time={time} ms\n"
        )

    def _error(self, answer: ProbeAnswer) -> str:
        six = ":" in self.ip
        if answer.kind == "time-exceeded":
            return "Time exceeded: Hop limit" if six else "Time to live exceeded"
        if answer.kind == "too-big":
            mtu = f"mtu={answer.mtu_bytes}" if six else f"mtu = {answer.mtu_bytes}"
            return f"Packet too big: {mtu}" if six else f"Frag needed and DF set ({mtu})"
        words = _UNREACHABLE6 if six else _UNREACHABLE
        return words.get(answer.code, f"Dest Unreachable, Bad Code: {answer.code}")

    def _summary(self, total_ms: int) -> None:
        command, got = self.command, len(self.times_ms)
        loss = 100 * (self.sent - got) // self.sent if self.sent else 0
        command.out(f"\n--- {self.options.host} ping statistics ---\n")
        if self.busybox:
            tail = f"{got} packets received, {loss}% packet loss\n"
        else:
            errors = f"+{self.errors} errors, " if self.errors else ""
            tail = f"{got} received, {errors}{loss}% packet loss, time {total_ms}ms\n"
        command.out(f"{self.sent} packets transmitted, {tail}")
        if not got:
            command.out("" if self.busybox else "\n")
            return
        low, high, mean = min(self.times_ms), max(self.times_ms), sum(self.times_ms) / got
        if self.busybox:
            command.out(f"round-trip min/avg/max = {low:.3f}/{mean:.3f}/{high:.3f} ms\n")
        else:
            deviation = (sum((t - mean) ** 2 for t in self.times_ms) / got) ** 0.5
            figures = f"{low:.3f}/{mean:.3f}/{high:.3f}/{deviation:.3f}"
            command.out(f"rtt min/avg/max/mdev = {figures} ms\n")


def _three_digits(seconds: float) -> str:
    """Milliseconds as iputils shows them: fewer decimals the longer it took."""
    ms = seconds * 1000
    decimals = 0 if ms >= 99.95 else 1 if ms >= 9.995 else 2 if ms >= 0.9995 else 3
    return f"{ms:.{decimals}f}"
