"""traceroute: the way to a host, by answers to packets that live too short (or busybox's)."""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.client import resolver
from podwire.client.counters import Probe, ProbeAnswer
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError
from podwire.runtime.tasks import Nursery

BASE_PORT = 33434
TCP_PORT = 80
AT_ONCE = 16
"""How many probes of Dmitry Butskoy's traceroute are under way together (-N)."""
_MARKS = {0: " !N", 1: " !H", 2: " !P", 4: " !F", 9: " !X", 10: " !X", 13: " !X"}


@dataclass(slots=True)
class Options:
    """What the flags say."""

    protocol: str = "udp"
    port: int = 0
    numeric: bool = False
    first: int = 1
    most: int = 30
    queries: int = 3
    wait_s: float = 5.0
    words: list[str] = field(default_factory=list)
    size_bytes: int = 60


def _options(command: Command) -> Options:
    options = Options()
    if command.image.busybox:
        options.wait_s, options.size_bytes = 3.0, 46
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if not arg.startswith("-") or arg == "-":
            options.words.append(arg)
        elif arg[:2] in {"-m", "-q", "-w", "-p", "-f", "-N", "-z", "-s", "-i", "-t"}:
            value = arg[2:] or (args.pop(0) if args else "")
            _set(options, arg[:2], value)
        else:
            for letter in arg[1:]:
                if letter in "IUT":
                    options.protocol = {"I": "icmp", "U": "udp", "T": "tcp"}[letter]
                elif letter == "n":
                    options.numeric = True
                elif letter not in "46dFlr":
                    raise UsageError(f"Bad option `-{letter}' (argc {len(command.args)})", 2)
    return options


def _set(options: Options, flag: str, value: str) -> None:
    if flag in {"-N", "-z", "-s", "-i", "-t"}:
        return  # how many at once, pauses and sources decide nothing that is shown
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"Cannot handle `{flag}' option with arg `{value}'", 2) from None
    if flag == "-w":
        options.wait_s = number
    elif not 0 < number < 65536:
        raise UsageError(f"Cannot handle `{flag}' option with arg `{value}'", 2)
    else:
        name = {"-m": "most", "-q": "queries", "-p": "port", "-f": "first"}[flag]
        setattr(options, name, int(number))


async def run(command: Command) -> int:
    """``traceroute [-n] [-I|-T|-U] [-p PORT] [-m HOPS] [-q QUERIES] [-w SECONDS] HOST [BYTES]``."""
    options = _options(command)
    if not options.words:
        command.err("Usage:\n  traceroute [ -46dFInrTU ] [ -f first_ttl ] [ -m max_ttl ] host\n")
        return 2
    host = options.words[0]
    if len(options.words) > 1 and options.words[1].isdigit():
        options.size_bytes = max(min(int(options.words[1]), 65000), 28)
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        if command.image.busybox:
            return command.fail(f"bad address '{host}'")
        why = resolver.strerror(found.error, command.image.libc)
        command.err(f"{host}: {why}\n")
        command.err(f'Cannot handle "host" cmdline arg `{host}\' on position 1 (argc 1)\n')
        return 2
    ip = found.addresses[0]
    command.out(
        f"traceroute to {host} ({ip}), {options.most} hops max, {options.size_bytes} byte packets\n"
    )
    return await Trace(command, options, ip).run()


class Trace:
    """One traceroute."""

    def __init__(self, command: Command, options: Options, ip: str) -> None:
        self.command = command
        self.options = options
        self.ip = ip
        self._names: dict[str, str] = {}

    async def run(self) -> int:
        """Hop by hop; a few hops are asked at once, and shown in order."""
        options = self.options
        ahead = 1 if self.command.image.busybox else max(1, AT_ONCE // options.queries)
        hop = options.first
        while hop <= options.most:
            hops = list(range(hop, min(hop + ahead, options.most + 1)))
            answers = await self._ask(hops)
            for ttl in hops:
                self.command.out(await self._line(ttl, answers[ttl]))
                if any(self._final(answer) for answer in answers[ttl]):
                    return 0
            hop += len(hops)
        return 0

    async def _ask(self, hops: list[int]) -> dict[int, list[ProbeAnswer | None]]:
        found: dict[int, list[ProbeAnswer | None]] = {}
        async with Nursery() as tasks:
            started = {
                ttl: [
                    tasks.start(self._probe(ttl, query), name=f"probe {ttl}/{query}")
                    for query in range(self.options.queries)
                ]
                for ttl in hops
            }
        for ttl, of_hop in started.items():
            found[ttl] = [task.result() for task in of_hop]
        return found

    async def _probe(self, ttl: int, query: int) -> ProbeAnswer | None:
        options, spec = self.options, self.command.spec
        number = (ttl - options.first) * options.queries + query
        port = options.port or TCP_PORT
        if options.protocol == "udp":
            port = (options.port or BASE_PORT) + number
        probe = Probe(
            self.ip, options.protocol, port if options.protocol != "icmp" else 0,
            sequence=number + 1, ttl=ttl, size_bytes=options.size_bytes, dont_fragment=False,
        )  # fmt: skip
        try:
            return await self.command.env.sockets.probe(
                spec.node, spec.netns, probe, options.wait_s
            )
        except TimeoutError:
            return None
        except OSError as error:
            raise UsageError(f"sendto: {error.strerror}") from None

    @staticmethod
    def _final(answer: ProbeAnswer | None) -> bool:
        return answer is not None and answer.kind != "time-exceeded"

    async def _line(self, ttl: int, answers: list[ProbeAnswer | None]) -> str:
        words = f"{ttl:2} "
        before = ""
        for answer in answers:
            if answer is None:
                words += " *"
                continue
            if answer.address != before:
                words += f" {await self._shown(answer.address)}"
                before = answer.address
            words += f"  {answer.seconds * 1000:.3f} ms"
            if answer.kind == "unreachable" and not (
                answer.address == self.ip and answer.code in {3, 4}
            ):
                words += _MARKS.get(answer.code, f" !<{answer.code}>" if answer.code != 3 else "")
        return f"{words}\n"

    async def _shown(self, address: str) -> str:
        if self.options.numeric:
            return address
        name = self._names.get(address)
        if name is None:
            found = await names.reverse(self.command.env, address)
            name = self._names[address] = found[0] if found else ""
        return f"{name or address} ({address})"
