"""dig, in the words of BIND 9.18."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from podwire.client import dnstext, dnswire, resolver
from podwire.client.dnswire import PTR, RR, Edns, Message, Question
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.date import render

VERSION = "9.18.24"
_SECTIONS = ("answer", "authority", "additional")
_SHOWN = ("cmd", "comments", "question", "stats", *_SECTIONS)
_IGNORED = (
    "cookie", "edns", "recurse", "ednsopt", "dnssec", "qr", "ttlid", "class", "multiline",
    "nssearch", "identify", "showsearch", "bufsize", "defname", "retry", "ndots", "domain",
    "ignore", "besteffort", "header-only", "crypto", "rrcomments", "badcookie", "idnin", "idnout",
)  # fmt: skip


@dataclass(slots=True)
class Lookup:
    """One name to look up, with the options in force."""

    name: str = "."
    qtype: int = dnswire.A
    server: str = ""
    port: int = 53
    tcp: bool = False
    search: bool = False
    short: bool = False
    recurse: bool = True
    edns: bool = True
    trace: bool = False
    """Ask for the root's servers first, as for every delegation from there."""
    timeout_s: float = 5.0
    tries: int = 3
    shown: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(_SHOWN, True))


def _lookups(command: Command) -> list[Lookup]:
    options, found = Lookup(), []
    current: Lookup | None = None
    args = list(command.args)
    while args:
        arg = args.pop(0)
        target = current or options
        if arg.startswith("@"):
            target.server = arg[1:]
        elif arg.startswith("+"):
            _plus(target, arg[1:])
        elif arg[:2] in {"-p", "-t", "-q", "-c", "-x", "-b"}:
            value = arg[2:] or (args.pop(0) if args else "")
            if arg[1] in "qx":
                current = dataclasses.replace(target, shown=dict(target.shown))
                found.append(current)
                target = current
            _dash(target, arg[1], value)
        elif arg.startswith("-"):
            if arg not in {"-4", "-6", "-r", "-u"}:
                raise UsageError(f"Invalid option: {arg}")
        elif arg.upper() in dnswire.TYPES and found:
            target.qtype = dnswire.TYPES[arg.upper()]
        elif arg.upper() in dnswire.TYPES and args and not arg.startswith("."):
            options.qtype = dnswire.TYPES[arg.upper()]
        elif arg.upper() != "IN":
            current = dataclasses.replace(options, name=arg, shown=dict(options.shown))
            found.append(current)
    if not found:
        if options.qtype == dnswire.A:
            options.qtype = dnswire.NS
        found.append(options)
    return found


def _dash(lookup: Lookup, flag: str, value: str) -> None:
    if flag == "p":
        if not value.isdigit() or not 0 < int(value) < 65536:
            raise UsageError(f"Couldn't parse port number '{value}'")
        lookup.port = int(value)
    elif flag == "t":
        if value.upper() not in dnswire.TYPES:
            raise UsageError(f"Warning, ignoring invalid type {value}")
        lookup.qtype = dnswire.TYPES[value.upper()]
    elif flag == "x":
        try:
            lookup.name, lookup.qtype = dnswire.reverse_name(value), PTR
        except ValueError:
            raise UsageError(f"Invalid IP address {value}") from None
    elif flag == "q":
        lookup.name = value


def _plus(lookup: Lookup, word: str) -> None:
    name, _, value = word.partition("=")
    on = not name.startswith("no")
    name = name if on else name[2:]
    if name == "all":
        lookup.shown = dict.fromkeys(_SHOWN, on)
    elif name in lookup.shown:
        lookup.shown[name] = on
    elif name in {"tcp", "vc"}:
        lookup.tcp = on
    elif name in {"short", "search", "trace"}:
        setattr(lookup, name, on)
    elif name in {"time", "timeout", "tries", "retry"} and value.isdigit():
        setattr(lookup, "timeout_s" if name.startswith("time") else "tries", max(int(value), 1))
        lookup.tries += name == "retry"
    elif name.startswith("rec"):
        lookup.recurse = on
    elif name == "edns":
        lookup.edns = on
    elif name not in _IGNORED:
        raise UsageError(f"Invalid option: +{word}")


async def run(command: Command) -> int:
    """``dig [@SERVER] [-p PORT] [-t TYPE] [-x ADDR] [+OPTION...] NAME [TYPE]...``.

    0 when an answer came, 9 when none did, 10 when the server's name does not resolve.
    """
    status = 0
    for lookup in _lookups(command):
        status = max(status, await _look(command, lookup))
    return status


async def _look(command: Command, lookup: Lookup) -> int:
    conf, _ = names.configuration(command.env)
    servers = list(conf.nameservers)
    if lookup.server:
        found = await names.lookup(command.env, command.image.libc, lookup.server)
        if not found.addresses:
            why = "not found"
            command.err(f"dig: couldn't get address for '{lookup.server}': {why}\n")
            return 10
        servers = [found.addresses[0]]
    head = ""
    if lookup.shown["cmd"] and not lookup.short:
        head = f"\n; <<>> DiG {VERSION} <<>> {' '.join(command.args)}\n"
        head += "; (1 server found)\n" if lookup.server else ""
        head += ";; global options: +cmd\n"
    wanted = [dnswire.absolute(lookup.name)]
    if lookup.trace:
        return (await _ask(command, _root(lookup), servers, ".", head, last=True))[0]
    if lookup.search:
        wanted = resolver.candidates(lookup.name, conf)
    answered = 9
    for i, name in enumerate(wanted):
        last = i == len(wanted) - 1
        answered, message = await _ask(command, lookup, servers, name, head, last=last)
        if message is None or message.rcode != dnswire.NXDOMAIN:
            break
    return answered


def _root(lookup: Lookup) -> Lookup:
    """The first question of ``+trace``; a root that tells its servers is not modelled."""
    shown = {name: name not in {"comments", "question", "stats"} for name in lookup.shown}
    return dataclasses.replace(lookup, qtype=dnswire.NS, shown=shown)


async def _ask(
    command: Command, lookup: Lookup, servers: list[str], name: str, head: str, *, last: bool
) -> tuple[int, Message | None]:
    clock = command.env.clock
    edns = Edns(1232) if lookup.edns else None
    ident = command.env.rng.below(65536)
    question = Question(name, lookup.qtype)
    message = Message(id=ident, rd=lookup.recurse, ad=True, questions=[question], edns=edns)
    tcp = lookup.tcp
    for _ in range(lookup.tries):
        for server in servers:
            began = clock.monotonic_ns()
            answer, size, why = await names.query(
                command.env, server, lookup.port, message, lookup.timeout_s, tcp=tcp
            )
            if answer is not None and answer.tc and not tcp:
                if not lookup.short:
                    command.out(";; Truncated, retrying in TCP mode.\n")
                tcp = True
                answer, size, why = await names.query(
                    command.env, server, lookup.port, message, lookup.timeout_s, tcp=True
                )
            if answer is None:
                command.out(f";; communications error to {server}#{lookup.port}: {why}\n")
                continue
            if last or answer.rcode != dnswire.NXDOMAIN:
                command.out(head)
                taken_ms = (clock.monotonic_ns() - began) // 1_000_000
                told = _Printer(command, lookup, server, taken_ms, size, tcp=tcp)
                told.print(answer)
            return 0, answer
    command.out(head)
    if lookup.shown["comments"] or lookup.trace:
        command.out(";; no servers could be reached\n")
    return 9, None


class _Printer:
    def __init__(
        self, command: Command, lookup: Lookup, server: str, taken_ms: int, size: int, *, tcp: bool
    ) -> None:
        self.command = command
        self.lookup = lookup
        self.server = server
        self.taken_ms = taken_ms
        self.size = size
        self.tcp = tcp

    def print(self, answer: Message) -> None:
        out, shown = self.command.out, self.lookup.shown
        if self.lookup.trace and answer.answer:
            raise UsageError("not modelled: +trace beyond the first server")
        if self.lookup.short:
            for rr in answer.answer:
                out(f"{dnstext.data_text(rr)}\n")
            return
        if shown["comments"]:
            out(self._header(answer))
        if shown["question"]:
            out(";; QUESTION SECTION:\n" if shown["comments"] else "")
            for one in answer.questions:
                out(question_line(one))
            out("\n" if shown["comments"] else "")
        for section in _SECTIONS:
            records: list[RR] = getattr(answer, section)
            if records and shown[section]:
                out(f";; {section.upper()} SECTION:\n" if shown["comments"] else "")
                out("".join(record_line(rr) for rr in records))
                out("\n" if shown["comments"] else "")
        if shown["stats"]:
            out(self._stats())
        elif self.lookup.trace:
            of = f"{self.server}#{self.lookup.port}({self.server})"
            out(f";; Received {self.size} bytes from {of} in {self.taken_ms} ms\n\n")

    def _header(self, answer: Message) -> str:
        named = ("qr", "aa", "tc", "rd", "ra", "ad", "cd")
        flags = "".join(f" {flag}" for flag in named if getattr(answer, flag))
        extra = len(answer.additional) + (answer.edns is not None)
        text = (
            ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: "
            f"{dnstext.rcode_name(answer.rcode)}, id: {answer.id}\n;; flags:{flags}; "
            f"QUERY: {len(answer.questions)}, ANSWER: {len(answer.answer)}, "
            f"AUTHORITY: {len(answer.authority)}, ADDITIONAL: {extra}\n"
        )
        if answer.rd and not answer.ra:
            text += ";; WARNING: recursion requested but not available\n"
        text += "\n"
        if answer.edns is not None:
            text += ";; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; "
            text += f"udp: {answer.edns.size_bytes}\n"
        return text

    def _stats(self) -> str:
        when = render(self.command.env.clock.now_ns(), "%a %b %d %H:%M:%S UTC %Y")
        server, kind = self.server, "TCP" if self.tcp else "UDP"
        return (
            f";; Query time: {self.taken_ms} msec\n"
            f";; SERVER: {server}#{self.lookup.port}({server}) ({kind})\n"
            f";; WHEN: {when}\n;; MSG SIZE  rcvd: {self.size}\n\n"
        )


_COLUMNS = (24, 32, 40, 48)
"""Where TTL, class, type and data begin (BIND's debug style)."""


def _columns(cells: list[tuple[int, str]]) -> str:
    """Cells at columns: tabs up to the column, one space when it is passed already."""
    text, column = "", 0
    for wanted, cell in cells:
        if text and column >= wanted:
            text, column = f"{text} ", column + 1
        elif text:
            text += "\t" * ((wanted - column + 7) // 8)
            column = wanted
        text, column = text + cell, column + len(cell)
    return text


def record_line(rr: RR) -> str:
    """One record in zone file form, columns as dig's."""
    cells = [str(rr.ttl), dnstext.class_name(rr.rclass), dnstext.type_name(rr.type)]
    cells.append(dnstext.data_text(rr))
    return _columns([(0, rr.name), *zip(_COLUMNS, cells, strict=True)]) + "\n"


def question_line(question: Question) -> str:
    """The question as a comment."""
    kind = dnstext.type_name(question.type)
    return ";" + _columns([(0, question.name), (_COLUMNS[1], "IN"), (_COLUMNS[2], kind)]) + "\n"
