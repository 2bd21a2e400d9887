"""``ss`` of iproute2 6.1 over the sockets of a namespace: options, states and filters."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from podwire.client.counters import ToolResult
from podwire.dataplane.addr import bracketed
from podwire.fabric.tables import Row

Test = Callable[[Row], bool]
FLAGS = "tulanpHr46sO"
_LONG = {
    "--tcp": "t", "--udp": "u", "--listening": "l", "--all": "a", "--numeric": "n",
    "--processes": "p", "--no-header": "H", "--ipv4": "4", "--ipv6": "6", "--summary": "s",
    "--resolve": "r", "--oneline": "O",
}  # fmt: skip
_STATES = {
    "established": "ESTAB", "syn-sent": "SYN-SENT", "syn-recv": "SYN-RECV",
    "fin-wait-1": "FIN-WAIT-1", "fin-wait-2": "FIN-WAIT-2", "time-wait": "TIME-WAIT",
    "closed": "UNCONN", "close-wait": "CLOSE-WAIT", "last-ack": "LAST-ACK",
    "listening": "LISTEN", "listen": "LISTEN", "closing": "CLOSING",
}  # fmt: skip
_GROUPS = {
    "all": set(_STATES.values()),
    "connected": set(_STATES.values()) - {"LISTEN", "UNCONN"},
    "synchronized": set(_STATES.values()) - {"LISTEN", "UNCONN", "SYN-SENT"},
    "bucket": {"SYN-RECV", "TIME-WAIT"},
    "big": set(_STATES.values()) - {"SYN-RECV", "TIME-WAIT"},
}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "eq": lambda a, b: a == b,
    "!=": lambda a, b: a != b, "ne": lambda a, b: a != b, "neq": lambda a, b: a != b,
    ">": lambda a, b: a > b, "gt": lambda a, b: a > b, "<": lambda a, b: a < b,
    "lt": lambda a, b: a < b, ">=": lambda a, b: a >= b, "ge": lambda a, b: a >= b,
    "geq": lambda a, b: a >= b, "<=": lambda a, b: a <= b, "le": lambda a, b: a <= b,
    "leq": lambda a, b: a <= b,
}  # fmt: skip
_TOKEN = re.compile(r"\(|\)|[!=<>]=?|==|[^\s()=<>!]+")
SERVICES = {"http": 80, "https": 443, "domain": 53, "ssh": 22}


class SsError(Exception):
    """What ``ss`` says of a command line; exit code 255."""


@dataclass(slots=True)
class Wanted:
    """What a command line asks for."""

    flags: str = ""
    states: set[str] = field(default_factory=set)
    given_state: bool = False
    test: Test | None = None


def run(rows: Sequence[Row], argv: Sequence[str]) -> ToolResult:
    """``ss [-tulanHps46] [state STATE] [FILTER]``; others are not modelled."""
    try:
        wanted = _read(argv)
    except SsError as error:
        return ToolResult("", f"ss: {error}\n", 255)
    if "s" in wanted.flags:
        return ToolResult(_summary(rows))
    protocols = [p for p, letter in (("udp", "u"), ("tcp", "t")) if letter in wanted.flags]
    shown = [row for row in rows if _keeps(row, wanted, protocols)]
    return ToolResult(_table(shown, wanted, netid=len(protocols) != 1))


def _read(argv: Sequence[str]) -> Wanted:
    wanted = Wanted()
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        letters = _LONG.get(word, word[1:] if word[:1] == "-" and word[1:2] != "-" else "")
        if not word.startswith("-"):
            rest = [word, *words]
            break
        if not letters or letters.strip(FLAGS):
            raise SsError(f"{word}: not modelled (known: -{FLAGS})")
        wanted.flags += letters
    while rest[:1] in (["state"], ["exclude"]):
        if len(rest) < 2:
            raise SsError(f"missing argument after '{rest[0]}'")
        named = _GROUPS.get(rest[1]) or {_STATES.get(rest[1], "")}
        if named == {""}:
            raise SsError(f'wrong state name: "{rest[1]}"')
        if rest[0] == "state":
            wanted.states |= named
        else:
            wanted.states = (wanted.states or _GROUPS["all"]) - named
        wanted.given_state = True
        del rest[:2]
    tokens = _TOKEN.findall(" ".join(rest))
    if tokens:
        wanted.test = _Filter(tokens).whole()
    return wanted


def _keeps(row: Row, wanted: Wanted, protocols: list[str]) -> bool:
    if protocols and row.protocol not in protocols:
        return False
    families = [flag for flag in wanted.flags if flag in "46"]
    if families and row.six != (families[-1] == "6"):
        return False  # the last one counts, as in ss
    waits = row.state in {"LISTEN", "UNCONN"}
    if wanted.given_state:
        if row.state not in wanted.states:
            return False
    elif "a" not in wanted.flags and waits != ("l" in wanted.flags):
        return False
    return wanted.test is None or wanted.test(row)


class _Filter:
    """``sport = :80 and ( dst 10.0.0.0/8 or not dport gt :1024 )``."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        if not word:
            raise SsError('bison bellows (while parsing filter): "syntax error!" Sorry.')
        self._at += 1
        return word

    def whole(self) -> Test:
        """The whole expression. Raises SsError."""
        test = self._any()
        if self._peek():
            raise SsError(f"not modelled: filter {self._peek()}")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._peek() in {"or", "|", "||"}:
            self._next()
            tests.append(self._all())
        return lambda row: any(test(row) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._peek() not in {"", ")", "or", "|", "||"}:
            if self._peek() in {"and", "&", "&&"}:
                self._next()
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        word = self._next()
        if word in {"not", "!"}:
            inner = self._one()
            return lambda row: not inner(row)
        if word == "(":
            inner = self._any()
            if self._next() != ")":
                raise SsError('bison bellows (while parsing filter): "syntax error!" Sorry.')
            return inner
        if word in {"sport", "dport"}:
            return self._ports(word)
        if word in {"src", "dst"}:
            return self._hosts(word)
        raise SsError(f"not modelled: filter {word}")

    def _ports(self, word: str) -> Test:
        compare = _COMPARE.get(self._peek())
        if compare is not None:
            self._next()
        decide = compare or _COMPARE["="]
        port = _port(self._next().rpartition(":")[2])
        if word == "sport":
            return lambda row: decide(row.port, port)
        return lambda row: decide(row.peer_port, port)

    def _hosts(self, word: str) -> Test:
        wanted = True
        if self._peek() in {"=", "==", "eq", "!=", "ne", "neq"}:
            wanted = self._next() in {"=", "==", "eq"}
        text = self._next()
        host, port = text, ""
        if text.startswith("["):
            host, _, port = text[1:].partition("]")
            port = port.removeprefix(":")
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        try:
            network = ipaddress.ip_network(host, strict=False) if host not in {"", "*"} else None
        except ValueError:
            raise SsError(f'an inet prefix is expected rather than "{host}".') from None
        number = _port(port) if port not in {"", "*"} else None

        def test(row: Row) -> bool:
            address, own = (row.address, row.port) if word == "src" else (row.peer, row.peer_port)
            inside = network is None or (bool(address) and ipaddress.ip_address(address) in network)
            return (inside and number in {None, own}) == wanted

        return test


def _port(text: str) -> int:
    number = SERVICES.get(text, int(text) if text.isascii() and text.isdigit() else -1)
    if not 0 <= number < 65536:
        raise SsError(f'"{text}" does not look like a port.')
    return number


def _ends(row: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    here = (bracketed(row.address) or "*", str(row.port))
    if row.peer:
        return here, (bracketed(row.peer), str(row.peer_port))
    anyone = "*" if not row.address else "[::]" if ":" in row.address else "0.0.0.0"
    return here, (anyone, "*")


def _table(rows: Sequence[Row], wanted: Wanted, *, netid: bool) -> str:
    """Addresses end where ports begin; the last column touches the one before it, as in 6.1."""
    header = "H" not in wanted.flags
    ends = [_ends(row) for row in rows]
    names = (("Local Address", "Port"), ("Peer Address", "Port"))
    both = [*([names] if header else []), *ends]
    widths = [[max((len(x[side][i]) for x in both), default=0) for i in (0, 1)] for side in (0, 1)]
    stated = not (wanted.given_state and len(wanted.states) == 1)
    if not wanted.given_state and set(wanted.flags) & set("tula") == {"u"}:
        stated = False  # datagram sockets without -a and -l: established ones, a single state
    states = [row.state for row in rows] + (["State"] if header else [])
    state_width = max(map(len, states), default=0)

    def line(net: str, state: str, receive: str, send: str, x: Sequence[tuple[str, str]]) -> str:
        words = f"{net:<5} " if netid else ""
        words += f"{state:<{state_width}} " if stated else ""
        words += f"{receive:<6} {send:<6} "
        (here, port), (there, far) = x
        words += f"{here:>{widths[0][0]}}:{port:<{widths[0][1]}} "
        return words + f"{there:>{widths[1][0]}}:{far:<{widths[1][1]}}"

    lines = [line("Netid", "State", "Recv-Q", "Send-Q", names) + "Process"] if header else []
    tail = " " * len("Process") if header else ""
    for row, x in zip(rows, ends, strict=True):
        receive, send = str(row.receive_bytes), str(row.send_bytes)
        lines.append(line(row.protocol, row.state, receive, send, x) + tail)
    return "".join(f"{text}\n" for text in lines)


def _summary(rows: Sequence[Row]) -> str:
    tcp = [row for row in rows if row.protocol == "tcp"]
    udp = [row for row in rows if row.protocol == "udp"]
    waiting = sum(row.state == "TIME-WAIT" for row in tcp)
    established = sum(row.state == "ESTAB" for row in tcp)
    alive = [row for row in tcp if row.state != "TIME-WAIT"]

    def counted(name: str, of: Sequence[Row]) -> str:
        six = sum(row.six for row in of)
        return f"{name}\t  {len(of):<9} {len(of) - six:<9} {six:<9}\n"

    return (
        f"Total: {len(alive) + len(udp)}\n"
        f"TCP:   {len(tcp)} (estab {established}, closed {waiting}, orphaned 0, "
        f"timewait {waiting})\n\n"
        "Transport Total     IP        IPv6\n"
        + counted("RAW", [])
        + counted("UDP", udp)
        + counted("TCP", alive)
        + counted("INET", [*udp, *alive])
        + counted("FRAG", [])
        + "\n"
    )
