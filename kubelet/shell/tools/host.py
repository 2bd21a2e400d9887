"""host: one line per record."""

from __future__ import annotations

import contextlib

from podwire.client import dnstext, dnswire, resolver
from podwire.client.dnswire import AAAA, CNAME, MX, PTR, A, Message, Question
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command

TRIES = 2
_VERBS = {
    A: "has address", AAAA: "has IPv6 address", CNAME: "is an alias for",
    PTR: "domain name pointer", MX: "mail is handled by", dnswire.SRV: "has SRV record",
    dnswire.NS: "name server", dnswire.SOA: "has SOA record", dnswire.TXT: "descriptive text",
}  # fmt: skip


async def run(command: Command) -> int:
    """``host [-t TYPE] NAME [SERVER]``."""
    args, kinds, words = list(command.args), [A, AAAA, MX], []
    while args:
        arg = args.pop(0)
        if arg == "-t" and args:
            kinds = [dnswire.TYPES.get(args.pop(0).upper(), A)]
        elif not arg.startswith("-"):
            words.append(arg)
    if not words:
        return command.fail("usage: host [-t type] {hostname} [server]")
    conf, _ = names.configuration(command.env)
    servers = list(conf.nameservers)
    if len(words) > 1:
        found = await names.lookup(command.env, command.image.libc, words[1])
        if not found.addresses:
            return command.fail(f"couldn't get address for '{words[1]}': not found")
        servers = [found.addresses[0]]
        command.out(f"Using domain server:\nName: {words[1]}\nAddress: {servers[0]}#53\n")
        command.out("Aliases: \n\n")
    candidates = resolver.candidates(words[0], conf)
    with contextlib.suppress(ValueError):  # a name is no address
        candidates, kinds = [dnswire.reverse_name(words[0])], [PTR]
    for name in candidates:
        answer = await _ask(command, servers, name, kinds[0])
        if answer is None:
            command.out(";; connection timed out; no servers could be reached\n")
            return 1
        if answer.rcode != dnswire.NXDOMAIN:
            return await _tell(command, servers, name, answer, kinds)
    shown = candidates[0] if kinds == [PTR] else words[0]
    command.out(f"Host {shown} not found: 3(NXDOMAIN)\n")
    return 1


async def _ask(command: Command, servers: list[str], name: str, kind: int) -> Message | None:
    env = command.env
    for _ in range(TRIES):
        for server in servers:
            message = Message(id=env.rng.below(65536), questions=[Question(name, kind)])
            answer, _, _ = await names.query(env, server, 53, message, 5.0)
            if answer is not None:
                return answer
    return None


async def _tell(
    command: Command, servers: list[str], name: str, first: Message, kinds: list[int]
) -> int:
    if first.rcode:
        rcode = dnstext.rcode_name(first.rcode)
        command.out(f"Host {name.rstrip('.')} not found: {first.rcode}({rcode})\n")
        return 1
    answers: list[Message | None] = [first]
    answers += [await _ask(command, servers, name, kind) for kind in kinds[1:]]
    told: dict[str, None] = {}
    for answer in answers:
        for rr in answer.answer if answer is not None else ():
            verb = _VERBS.get(rr.type, f"has {dnstext.type_name(rr.type)} record")
            told[f"{rr.name.rstrip('.')} {verb} {dnstext.data_text(rr)}\n"] = None
    command.out("".join(told))
    if not told and len(kinds) == 1:
        kind = dnstext.type_name(kinds[0])
        command.out(f"{name.rstrip('.')} has no {kind} record\n")
    return 0
