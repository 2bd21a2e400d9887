"""The commands of ipvsadm (1.31), one by one or as the text of ``ipvsadm -R``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, NoReturn

from podwire.dataplane.addr import mask_int
from podwire.dataplane.ipset.address import family_of, number, text
from podwire.dataplane.ipvs.model import Address, Dest, Key, Memory, Service
from podwire.dataplane.ipvs.schedulers import FLAGS, SCHEDULERS
from podwire.dataplane.ipvs.states import Timeouts
from podwire.dataplane.ipvs.table import Ipvs
from podwire.dataplane.netfilter.text import split

UNMODELLED = ("twos",)
DEFAULT_SCHEDULER = "wlc"
DEFAULT_PERSISTENCE_S = 300
LARGEST_WEIGHT = 65535


class IpvsError(Exception):
    """What ipvsadm says, and its exit code: 2 for words, 255 for what the kernel refuses."""

    def __init__(self, said: str, code: int = 255) -> None:
        super().__init__(said)
        self.code = code


COMMANDS = {
    "-A": "-A",
    "--add-service": "-A",
    "-E": "-E",
    "--edit-service": "-E",
    "-D": "-D",
    "--delete-service": "-D",
    "-C": "-C",
    "--clear": "-C",
    "-a": "-a",
    "--add-server": "-a",
    "-e": "-e",
    "--edit-server": "-e",
    "-d": "-d",
    "--delete-server": "-d",
    "-Z": "-Z",
    "--zero": "-Z",
    "--set": "--set",
}
_SERVICE = {"-t": "tcp", "--tcp-service": "tcp", "-u": "udp", "--udp-service": "udp",
            "--sctp-service": "sctp", "-f": "fwm", "--fwmark-service": "fwm"}  # fmt: skip
_FORWARD = {
    "-m": "masq",
    "--masquerading": "masq",
    "-g": "gate",
    "--gatewaying": "gate",
    "-i": "ipip",
    "--ipip": "ipip",
}
_VALUES = {
    "-s": "scheduler",
    "--scheduler": "scheduler",
    "-M": "netmask",
    "--netmask": "netmask",
    "-r": "server",
    "--real-server": "server",
    "-w": "weight",
    "--weight": "weight",
    "-x": "upper",
    "--u-threshold": "upper",
    "-y": "lower",
    "--l-threshold": "lower",
    "-b": "flags",
    "--sched-flags": "flags",
}
_V4 = re.compile(r"^([0-9.]+)(?::(\d+))?$")
_V6 = re.compile(r"^\[([0-9A-Fa-f:.]+)\](?::(\d+))?$")


class Line(NamedTuple):
    """A command line, sorted."""

    command: str
    key: Key | None
    values: dict[str, str]
    forward: str
    persistence_s: int
    one_packet: bool
    rest: tuple[str, ...]


def _words(said: str) -> NoReturn:
    raise IpvsError(f"{said}\nTry `ipvsadm -h' or 'ipvsadm --help' for more information.", 2)


@lru_cache(maxsize=65536)
def address(word: str, *, port: bool = True) -> Address:
    """``10.0.0.1:80`` or ``[fd00::1]:80``. Raises IpvsError."""
    found = _V4.match(word) or _V6.match(word)
    if found is not None:
        ip, number_text = found.groups()
        family = family_of(ip)
        try:
            ip = text(number(ip, family), family)
        except ValueError:
            found = None
        else:
            value = int(number_text or 0)
            if value < 65536 and (number_text or not port):
                return Address(ip, value)
    if found is None or not port:
        _words(f"illegal virtual server address[:port] specified: {word}")
    return Address(found.groups()[0], 0)


def parse(words: list[str]) -> Line:
    """The words of a command. Raises IpvsError."""
    command, key, forward = "", None, "gate"
    values: dict[str, str] = {}
    persistence, one_packet = 0, False
    rest: list[str] = []
    i = 0
    while i < len(words):
        word = words[i]
        following = words[i + 1] if i + 1 < len(words) else ""
        if word in COMMANDS and not command:
            command = COMMANDS[word]
        elif word in _SERVICE:
            key = _key(_SERVICE[word], following)
            i += 1
        elif word in _FORWARD:
            forward = _FORWARD[word]
        elif word in _VALUES:
            values[_VALUES[word]] = following
            i += 1
        elif word in {"-p", "--persistent"}:
            persistence = DEFAULT_PERSISTENCE_S
            if following.isdigit():
                persistence = int(following)
                i += 1
        elif word in {"-o", "--ops", "-O"}:
            one_packet = True
        elif word in {"-6", "--ipv6"}:
            if key is not None and key.protocol == "fwm":
                key = key._replace(ip="::")
        elif word in {"-n", "--numeric"}:
            pass
        elif word.startswith("-") and not word[1:].isdigit():
            _words(f"{word}: unknown option")
        else:
            rest.append(word)
        i += 1
    return Line(command, key, values, forward, persistence, one_packet, tuple(rest))


def _key(protocol: str, word: str) -> Key:
    if protocol == "fwm":
        if not word.isdigit() or not int(word):
            _words("illegal firewall mark specified")
        return Key("fwm", "0.0.0.0", int(word))
    at = address(word)
    return Key(protocol, at.ip, at.port)


# ---------------------------------------------------------------- carrying out


def restore(ipvs: Ipvs, source: str) -> None:
    """Carry out the lines of ``ipvsadm -R``: all or none. Raises IpvsError."""
    draft = ipvs.clone()
    for line_number, raw in enumerate(source.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        try:
            run(draft, split(line.removeprefix("ipvsadm ")))
        except IpvsError as error:
            raise IpvsError(f"line {line_number}: {error}", error.code) from None
    ipvs.take(draft)


def run(ipvs: Ipvs, words: list[str]) -> None:
    """One command that changes something. Raises IpvsError."""
    line = parse(words)
    if line.command == "-C":
        for key in list(ipvs.services):
            ipvs.remove_service(key)
    elif line.command == "--set":
        _set_timeouts(ipvs, line.rest)
    elif line.command == "-Z":
        _zero(ipvs, line.key)
    elif line.command in {"-A", "-E", "-D"}:
        _service(ipvs, line)
    elif line.command in {"-a", "-e", "-d"}:
        _server(ipvs, line)
    else:
        _words("no command specified")


def _set_timeouts(ipvs: Ipvs, words: tuple[str, ...]) -> None:
    if len(words) != 3 or not all(word.isdigit() and int(word) < 1 << 31 for word in words):
        _words("--set option requires 3 timeout values")
    tcp, fin, udp = (int(word) for word in words)
    old = ipvs.timeouts
    ipvs.timeouts = Timeouts(tcp or old.tcp_s, fin or old.tcp_fin_s, udp or old.udp_s)


def _zero(ipvs: Ipvs, key: Key | None) -> None:
    if key is not None and key not in ipvs.services:
        raise IpvsError("No such service")
    for each in [key] if key is not None else list(ipvs.services):
        made = ipvs.own(each)
        for stats in (made.stats, *(dest.stats for dest in made.dests)):
            stats.zero()


def _need(line: Line) -> Key:
    if line.key is None:
        _words(f"{line.command}: a service (-t, -u, --sctp-service or -f) is required")
    return line.key


def _service(ipvs: Ipvs, line: Line) -> None:
    key = _need(line)
    if line.command == "-D":
        if key not in ipvs.services:
            raise IpvsError("No such service")
        ipvs.remove_service(key)
        return
    if not key.port and key.protocol != "fwm" and not line.persistence_s:
        _words("Zero port specified for non-persistent service")
    made = Service(
        key=key,
        scheduler=_scheduler(line.values.get("scheduler", DEFAULT_SCHEDULER)),
        timeout_s=line.persistence_s,
        netmask=_netmask(line.values.get("netmask", ""), key),
        one_packet=line.one_packet,
    )
    made.flags = _flags(line.values.get("flags", ""), made.scheduler)
    if line.one_packet and key.protocol != "udp":
        _words("One-packet scheduling is supported by UDP only")
    if line.command == "-A":
        if key in ipvs.services:
            raise IpvsError("Service already exists")
        ipvs.add_service(made)
        return
    if key not in ipvs.services:
        raise IpvsError("No such service")
    old = ipvs.own(key)
    if old.scheduler != made.scheduler or old.flags != made.flags:
        old.memory = Memory()
    old.scheduler, old.flags = made.scheduler, made.flags
    old.timeout_s, old.netmask, old.one_packet = made.timeout_s, made.netmask, made.one_packet
    ipvs.changed(key)


def _scheduler(name: str) -> str:
    if name in UNMODELLED:
        raise IpvsError(f"not modelled: scheduler {name}")
    if name not in SCHEDULERS:
        raise IpvsError("Scheduler or persistence engine not found")
    return name


@lru_cache(maxsize=64)
def _flags(words: str, scheduler: str) -> tuple[str, ...]:
    numbered = {f"flag-{i + 1}": flag for i, flag in enumerate(FLAGS.get(scheduler, ()))}
    found = [numbered.get(word, word) for word in words.split(",") if word]
    for word in found:
        if word not in FLAGS.get(scheduler, ()):
            _words(f"not modelled or illegal scheduler flag: {word}")
    return tuple(flag for flag in FLAGS.get(scheduler, ()) if flag in found)


def _netmask(word: str, key: Key) -> int:
    if not word:
        return 0
    if ":" in key.ip:
        if word.isdigit() and 1 <= int(word) <= 128:
            return int(word) % 128
    else:
        for length in range(1, 33):
            if text(mask_int(length), "inet") == word:
                return length % 32
    _words(f"illegal virtual server persistent mask specified: {word}")


def _count(line: Line, name: str, default: int) -> int:
    word = line.values.get(name, str(default))
    if not word.isdigit() or int(word) > LARGEST_WEIGHT:
        _words(f"illegal {name} specified")
    return int(word)


def _server(ipvs: Ipvs, line: Line) -> None:
    key = _need(line)
    if "server" not in line.values:
        _words(f"{line.command}: a real server (-r) is required")
    if key not in ipvs.services:
        raise IpvsError("Service not defined")
    at = address(line.values["server"], port=False)
    if not at.port and key.protocol != "fwm":
        at = at._replace(port=key.port)
    known = ipvs.services[key].dest(at)
    if line.command != "-a" and known is None:
        raise IpvsError("No such destination")
    if line.command == "-d":
        ipvs.remove_dest(key, at)
        return
    if line.forward == "gate" and key.protocol != "fwm" and at.port != key.port:
        # ipvsadm itself says so and corrects it: only masquerading changes ports
        at = at._replace(port=key.port)
    made = Dest(
        at=at,
        weight=_count(line, "weight", 1),
        forward=line.forward,
        upper=_count(line, "upper", 0),
        lower=_count(line, "lower", 0),
    )
    if line.command == "-a":
        if known is not None:
            raise IpvsError("Destination already exists")
        ipvs.add_dest(key, made)
        return
    dest = ipvs.change_dest(key, at)
    dest.weight, dest.forward = made.weight, made.forward
    dest.upper, dest.lower = made.upper, made.lower
    ipvs.changed(key)
