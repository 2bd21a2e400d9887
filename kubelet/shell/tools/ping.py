"""ping: iputils' words, or busybox's. The TTL of answers is not modelled and not shown."""

from __future__ import annotations

import errno

from podwire.client import resolver
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import FOREVER_S

MAX_COUNT = 100_000
_WORDS = {
    errno.EHOSTUNREACH: "Destination Host Unreachable",
    errno.ENETUNREACH: "Destination Net Unreachable",
    errno.ECONNREFUSED: "Destination Port Unreachable",
}


async def run(command: Command) -> int:
    """``ping [-c COUNT] [-W SECONDS] [-w DEADLINE] [-i INTERVAL] [-q] HOST``."""
    numbers = {"-c": float(MAX_COUNT), "-W": 10.0, "-w": FOREVER_S, "-i": 1.0}
    host, quiet = "", False
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg[:2] in (*numbers, "-s", "-I", "-t"):
            value = arg[2:] or (args.pop(0) if args else "")
            if not value.replace(".", "", 1).isdigit():
                raise UsageError(f"invalid argument: '{value}'")
            numbers[arg[:2]] = float(value)
        elif arg.startswith("-"):
            quiet = quiet or "q" in arg
        else:
            host = arg
    if not host:
        return command.fail("usage error: Destination address required")
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        if command.image.busybox:
            return command.fail(f"bad address '{host}'")
        return command.fail(f"{host}: {resolver.strerror(found.error, command.image.libc)}", 2)
    return await _Ping(command, host, found.addresses[0], numbers, quiet).run()


class _Ping:
    def __init__(
        self, command: Command, host: str, ip: str, numbers: dict[str, float], quiet: bool
    ) -> None:
        self.command = command
        self.host = host
        self.ip = ip
        self.numbers = numbers
        self.quiet = quiet
        self.times_ms: list[float] = []
        self.sent = 0
        self.errors = 0

    async def run(self) -> int:
        command, busybox = self.command, self.command.image.busybox
        clock = command.env.clock
        size = "56 data bytes" if busybox else "56(84) bytes of data."
        if ":" in self.ip and not busybox:
            command.out(f"PING {self.host}({self.ip}) 56 data bytes\n")
        else:
            command.out(f"PING {self.host} ({self.ip}){':' if busybox else ''} {size}\n")
        began = clock.monotonic_ns()
        try:
            while self.sent < min(self.numbers["-c"], MAX_COUNT):
                if self.sent:
                    await clock.sleep(max(self.numbers["-i"], 0.01))
                if (clock.monotonic_ns() - began) / 1e9 >= self.numbers["-w"]:
                    break
                await self._one()
        finally:
            self._summary((clock.monotonic_ns() - began) // 1_000_000)
        return 0 if self.times_ms else 1

    async def _one(self) -> None:
        command, spec = self.command, self.command.spec
        self.sent += 1
        shown = self.sent - 1 if command.image.busybox else self.sent
        name = "seq" if command.image.busybox else "icmp_seq"
        try:
            taken_s = await command.env.sockets.ping(
                spec.node, spec.netns, self.ip, self.numbers["-W"], self.sent
            )
        except TimeoutError:
            return
        except OSError as error:
            self.errors += 1
            if not self.quiet:
                why = _WORDS.get(error.errno or 0, error.strerror)
                command.out(f"From {spec.pod_ip} {name}={shown} {why}\n")
            return
        self.times_ms.append(taken_s * 1000)
        if not self.quiet:
            time = f"{taken_s * 1000:.3f}"
            command.out(f"64 bytes from {self.ip}: {name}={shown} time={time} ms\n")

    def _summary(self, total_ms: int) -> None:
        command, got = self.command, len(self.times_ms)
        loss = 100 * (self.sent - got) // self.sent if self.sent else 0
        command.out(f"\n--- {self.host} ping statistics ---\n")
        if command.image.busybox:
            tail = f"{got} packets received, {loss}% packet loss\n"
        else:
            errors = f"+{self.errors} errors, " if self.errors else ""
            tail = f"{got} received, {errors}{loss}% packet loss, time {total_ms}ms\n"
        command.out(f"{self.sent} packets transmitted, {tail}")
        if not got:
            return
        low, high, mean = min(self.times_ms), max(self.times_ms), sum(self.times_ms) / got
        if command.image.busybox:
            command.out(f"round-trip min/avg/max = {low:.3f}/{mean:.3f}/{high:.3f} ms\n")
        else:
            deviation = (sum((t - mean) ** 2 for t in self.times_ms) / got) ** 0.5
            figures = f"{low:.3f}/{mean:.3f}/{high:.3f}/{deviation:.3f}"
            command.out(f"rtt min/avg/max/mdev = {figures} ms\n")
