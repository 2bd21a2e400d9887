"""nslookup: BIND's, or busybox's in busybox images: since 1.29 its own resolver (which searches
only names without a dot), before that the C library's, as Kubernetes' pages use it.
"""

from __future__ import annotations

from podwire.client import dnstext, dnswire, resolver
from podwire.client.dnswire import AAAA, CNAME, PTR, A, Message, Question
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools import busybox

BIND_TRIES = 3


async def run(command: Command) -> int:
    """``nslookup [-type=TYPE] NAME [SERVER]``: 1 when there is no answer."""
    kinds: list[int] = []
    words: list[str] = []
    for arg in command.args:
        if arg.startswith("-"):
            key, _, value = arg.lstrip("-").partition("=")
            if key.startswith(("ty", "q")) and value.upper() in dnswire.TYPES:
                kinds.append(dnswire.TYPES[value.upper()])
        else:
            words.append(arg)
    if not words:
        return command.fail("usage: nslookup [-type=TYPE] NAME [SERVER]")
    if command.image.busybox and busybox.version(command.spec.image) < busybox.OWN_RESOLVER:
        return await _by_libc(command, words)
    one = _Busybox(command) if command.image.busybox else _Bind(command)
    if len(words) > 1:
        found = await names.lookup(command.env, command.image.libc, words[1])
        if not found.addresses:
            busy = command.image.busybox
            command.err(
                f"nslookup: bad address '{words[1]}'\n" if busy
                else f"nslookup: couldn't get address for '{words[1]}': not found\n"
            )  # fmt: skip
            return 1
        one.servers = [found.addresses[0]]
    return await one.look(words[0], kinds)


async def _by_libc(command: Command, words: list[str]) -> int:
    """networking/nslookup.c before 1.29: getaddrinfo, and the name of each address."""
    servers = words[1:] or names.configuration(command.env)[0].nameservers
    await _host(command, "Server:", servers[0])
    command.out("\n")
    return await _host(command, "Name:", words[0])


async def _host(command: Command, title: str, name: str) -> int:
    found = await names.lookup(command.env, command.image.libc, name)
    if not found.addresses:
        return command.fail(f"can't resolve '{name}'")
    command.out(f"{title:<10} {name}\n")
    for i, address in enumerate(found.addresses, 1):
        known = (await names.reverse(command.env, address))[:1]
        command.out(" ".join([f"Address {i}: {address}", *known]) + "\n")
    return 0


class _Common:
    tries = 2

    def __init__(self, command: Command) -> None:
        self.command = command
        self.conf, _ = names.configuration(command.env)
        self.servers = list(self.conf.nameservers)
        self.used = self.servers[0]

    async def ask(self, name: str, qtype: int) -> tuple[Message | None, list[str]]:
        """The answer of the first server that gives one, and what went wrong before."""
        errors: list[str] = []
        env = self.command.env
        for _ in range(self.tries):
            for server in self.servers:
                message = Message(id=env.rng.below(65536), questions=[Question(name, qtype)])
                answer, _, why = await names.query(env, server, 53, message, self.conf.timeout_s)
                if answer is not None and answer.tc:
                    answer, _, why = await names.query(
                        env, server, 53, message, self.conf.timeout_s, tcp=True
                    )
                if answer is not None:
                    self.used = server
                    return answer, errors
                errors.append(f";; communications error to {server}#53: {why}\n")
        return None, errors

    def reverse(self, name: str, kinds: list[int]) -> tuple[str, list[int]]:
        """An address is asked for as its PTR."""
        try:
            return dnswire.reverse_name(name), [PTR]
        except ValueError:
            return name, kinds or [A, AAAA]


class _Bind(_Common):
    tries = BIND_TRIES

    async def look(self, name: str, kinds: list[int]) -> int:
        out = self.command.out
        asked, wanted = self.reverse(name, kinds)
        candidates = resolver.candidates(asked, self.conf)
        if wanted == [PTR]:
            candidates = [dnswire.absolute(asked)]
        answer: Message | None = None
        chosen = candidates[-1]
        for candidate in candidates:
            chosen = candidate
            answer, errors = await self.ask(candidate, wanted[0])
            out("".join(errors))
            if answer is None:
                out(";; no servers could be reached\n\n")
                return 1
            if answer.rcode != dnswire.NXDOMAIN:
                break
        assert answer is not None, "there is at least one candidate"
        out(f"Server:\t\t{self.used}\nAddress:\t{self.used}#53\n\n")
        if answer.rcode:
            shown = name if answer.rcode == dnswire.NXDOMAIN else chosen.rstrip(".")
            out(f"** server can't find {shown}: {dnstext.rcode_name(answer.rcode)}\n\n")
            return 1
        answers = [answer]
        if len(wanted) > 1:
            second, _ = await self.ask(chosen, wanted[1])
            answers += [second] if second is not None and not second.rcode else []
        return self._print(chosen, answers, wanted)

    def _print(self, name: str, answers: list[Message], wanted: list[int]) -> int:
        out = self.command.out
        if not answers[0].aa:
            out("Non-authoritative answer:\n")
        told: dict[str, None] = {}
        for answer in answers:
            for rr in answer.answer:
                owner, data = rr.name.rstrip("."), dnstext.data_text(rr)
                if rr.type in {A, AAAA}:
                    line = f"Name:\t{owner}\nAddress: {data}\n"
                elif rr.type == CNAME:
                    line = f"{owner}\tcanonical name = {data}\n"
                elif rr.type == PTR:
                    line = f"{owner}\tname = {data}\n"
                else:
                    kind = dnstext.type_name(rr.type)
                    line = f"{owner}\t{'service' if kind == 'SRV' else kind.lower()} = {data}\n"
                told.setdefault(line)
        out("".join(told))
        if not told:
            out(f"*** Can't find {name.rstrip('.')}: No answer\n")
        out("\n")
        return 0 if told or wanted == [PTR] else 1


class _Busybox(_Common):
    async def look(self, name: str, kinds: list[int]) -> int:
        out = self.command.out
        asked, wanted = self.reverse(name, kinds)
        searched = "." not in asked and wanted != [PTR] and bool(self.conf.search)
        candidates = [asked]
        if searched:
            candidates = [f"{asked}.{domain}" for domain in self.conf.search]
        found: list[tuple[str, Message | None]] = []
        for candidate in candidates:
            for kind in wanted:
                answer, _ = await self.ask(dnswire.absolute(candidate), kind)
                if answer is None:
                    out(";; connection timed out; no servers could be reached\n\n")
                    return 1
                found.append((candidate, answer))
        out(f"Server:\t\t{self.used}\nAddress:\t{self.used}:53\n\n")
        status = 0
        for candidate, answer in found:
            assert answer is not None, "silent servers ended it above"
            if answer.rcode:
                status = 1
                rcode = dnstext.rcode_name(answer.rcode)
                out(f"** server can't find {candidate}: {rcode}\n\n")
                continue
            if not answer.aa:
                out("Non-authoritative answer:\n")
            out(_busybox_lines(answer))
        return status


def _busybox_lines(answer: Message) -> str:
    lines = ""
    for rr in answer.answer:
        owner, data = rr.name.rstrip("."), dnstext.data_text(rr)
        if rr.type in {A, AAAA}:
            lines += f"Name:\t{owner}\nAddress: {data}\n"
        elif rr.type == CNAME:
            lines += f"{owner}\tcanonical name = {data.rstrip('.')}\n"
        elif rr.type == PTR:
            lines += f"{owner}\tname = {data.rstrip('.')}\n"
        else:
            lines += f"{owner}\t{dnstext.type_name(rr.type)} = {data}\n"
    return lines + "\n"
