"""tracepath: the way to a host and the largest packet that goes it whole (iputils)."""

from __future__ import annotations

from podwire.client import resolver
from podwire.client.counters import Probe, ProbeAnswer
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError

BASE_PORT = 44444
MAX_HOPS = 30
TRIES = 3
WAIT_S = 1.0
FIRST_BYTES = 65535


async def run(command: Command) -> int:
    """``tracepath [-n] [-b] [-l BYTES] [-m HOPS] [-p PORT] HOST``."""
    numbers = {"-l": FIRST_BYTES, "-m": MAX_HOPS, "-p": BASE_PORT}
    words: list[str] = []
    numeric = False
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg[:2] in numbers:
            value = arg[2:] or (args.pop(0) if args else "")
            if not value.isdigit():
                raise UsageError(f"invalid argument: '{value}'")
            numbers[arg[:2]] = int(value)
        elif arg.startswith("-"):
            if arg.strip("-nb46"):
                raise UsageError(f"invalid option -- '{arg.strip('-nb46')[0]}'")
            numeric |= "n" in arg
        else:
            words.append(arg)
    if not words:
        return command.fail("usage error: destination required")
    host = words[0].partition("/")[0]
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        why = resolver.strerror(found.error, command.image.libc)
        return command.fail(f"{host}: {why}")
    return await _Path(command, found.addresses[0], numbers, numeric).run()


class _Path:
    def __init__(self, command: Command, ip: str, numbers: dict[str, int], numeric: bool) -> None:
        self.command = command
        self.ip = ip
        self.numbers = numbers
        self.numeric = numeric
        self.size_bytes = numbers["-l"]
        self.port = numbers["-p"]
        self.back = -1

    async def run(self) -> int:
        out = self.command.out
        most = self.numbers["-m"]
        for ttl in range(1, most + 1):
            answer = await self._hop(ttl)
            if answer is None:
                out(f"{ttl:2}:  no reply\n")
                continue
            hops_back = _hops(answer.ttl)
            asymmetric = answer.kind == "time-exceeded" and hops_back != ttl
            words = f"asymm {hops_back:2} " if asymmetric else ""
            shown = await self._shown(answer.address)
            time = f"{answer.seconds * 1000:.3f}ms "
            if answer.kind == "unreachable" and answer.address == self.ip:
                out(f"{ttl:2}:  {shown:<50}  {time:>8}reached\n")
                out(f"     Resume: pmtu {self.size_bytes} hops {ttl} back {hops_back} \n")
                return 0
            if answer.kind == "unreachable":
                mark = {0: "!N", 1: "!H", 2: "!P", 3: "!3", 13: "!A"}.get(answer.code, "!X")
                out(f"{ttl:2}:  {shown:<50}  {time:>8}{mark}\n")
                out(f"     Resume: pmtu {self.size_bytes} \n")
                return 0
            out(f"{ttl:2}:  {shown:<50}  {time:>8}{words}\n")
        out(f"     Too many hops: pmtu {self.size_bytes}\n")
        out(f"     Resume: pmtu {self.size_bytes} \n")
        return 0

    async def _hop(self, ttl: int) -> ProbeAnswer | None:
        """What answers at a distance; a smaller MTU on the way is told and the hop asked again."""
        spec = self.command.spec
        tries = 0
        while tries < TRIES:
            tries += 1
            self.port += 1
            probe = Probe(self.ip, "udp", self.port, ttl=ttl, size_bytes=self.size_bytes)
            try:
                answer = await self.command.env.sockets.probe(spec.node, spec.netns, probe, WAIT_S)
            except TimeoutError:
                continue
            except OSError as error:
                raise UsageError(f"send failed: {error.strerror}") from None
            if answer.kind != "too-big":
                return answer
            if not 0 < answer.mtu_bytes < self.size_bytes:
                return answer
            self.size_bytes = answer.mtu_bytes
            local = not answer.address
            where = "[LOCALHOST]" if local else await self._shown(answer.address)
            time = "" if local else f"{answer.seconds * 1000:.3f}ms "
            mark = "?" if local else ""
            column = 34 if local else 50
            if local:
                self.command.out(f"{ttl:2}{mark}: {where:<{column - 2}} pmtu {answer.mtu_bytes}\n")
            else:
                pmtu = f"pmtu {answer.mtu_bytes}"
                self.command.out(f"{ttl:2}:  {where:<{column}}  {time:>8}{pmtu}\n")
            tries = 0
        return None

    async def _shown(self, address: str) -> str:
        if self.numeric:
            return address
        found = await names.reverse(self.command.env, address)
        return found[0] if found else address


def _hops(ttl: int) -> int:
    """How far a packet came that left with 64, 128 or 255."""
    start = next(start for start in (64, 128, 255) if ttl <= start)
    return start - ttl + 1
