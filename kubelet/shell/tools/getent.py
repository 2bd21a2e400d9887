"""getent: hosts and ahosts."""

from __future__ import annotations

from podwire.client import resolver
from podwire.kubelet.programs import names
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``getent hosts|ahosts|ahostsv4|ahostsv6 NAME...``: 2 when a name is not found."""
    database, wanted = (command.args or [""])[0], command.args[1:]
    families = {"hosts": "any", "ahosts": "any", "ahostsv4": "inet", "ahostsv6": "inet6"}
    if database not in families:
        return command.fail(f"database '{database}' is not modelled", 1)
    status = 0
    for name in wanted:
        if database == "hosts" and ("." in name or ":" in name) and _literal(name):
            status = max(status, await _reverse(command, name))
            continue
        found = await names.lookup(command.env, command.image.libc, name, families[database])
        if not found.addresses:
            status = 2
            continue
        shown = list(found.addresses)
        if database == "hosts":  # IPv6 alone when there is any, as getent asks for it first
            six = [ip for ip in shown if ":" in ip]
            for ip in six or shown:
                command.out(f"{ip:<15} {found.canonical or name}\n")
            continue
        for i, ip in enumerate(shown):
            for kind in ("STREAM", "DGRAM", "RAW"):
                tail = f" {found.canonical}" if i == 0 and kind == "STREAM" else ""
                command.out(f"{ip:<15} {kind:<6}{tail}\n")
    return status


def _literal(name: str) -> bool:
    one = resolver.Lookup(name, resolver.ResolvConf(), resolver.Hosts(""))
    return one.result is not None and one.result.source == "literal"


async def _reverse(command: Command, ip: str) -> int:
    known = await names.reverse(command.env, ip)
    if not known:
        return 2
    command.out(f"{ip:<15} {' '.join(known)}\n")
    return 0
