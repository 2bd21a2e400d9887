"""hosts: answer from a hosts file, or from lines in the Corefile."""

from __future__ import annotations

from podwire.client import dnswire
from podwire.client.dnswire import AAAA, PTR, RR, A, Message
from podwire.client.resolver import Hosts
from podwire.coredns.chain import Plugin, Query, Serve
from podwire.coredns.core import in_zone, reversed_address
from podwire.coredns.corefile import normalize


class HostsFile(Plugin):
    """``hosts [FILE [ZONES...]] { ADDRESS NAMES...; ttl N; fallthrough [ZONES] }``.

    The file is read once; reloading it on its own is not modelled.
    """

    name = "hosts"

    def configure(self) -> None:
        """Read file and inline lines."""
        self.ttl = 3600
        self.through: list[str] | None = None
        args = list(self.line.args)
        path = args.pop(0) if args and args[0].startswith("/") else "/etc/hosts"
        self._for = [normalize(zone) for zone in args] or list(self.zones)
        text = ""
        for line in self.line.block:
            if line.name == "ttl" and len(line.args) == 1 and line.args[0].isdigit():
                self.ttl = int(line.args[0])
            elif line.name == "fallthrough":
                self.through = [normalize(zone) for zone in line.args] or list(self._for)
            elif line.name not in {"no_reverse", "reload"}:
                text += f"{line.name} {' '.join(line.args)}\n"
        try:
            text += self.host.file(path).decode(errors="replace")
        except FileNotFoundError:
            self.host.log("WARNING", f'plugin/hosts: File does not exist: "{path}"')
        self._hosts = Hosts(text)

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer names and addresses of the file."""
        ip = reversed_address(query.name)
        mine = ip or any(in_zone(query.name, zone) for zone in self._for)
        answers = self._answers(query, ip) if mine else []
        if not answers and not (mine and self._hosts.addresses(query.name)):
            through = self.through
            if not mine or ip or (through and any(in_zone(query.name, z) for z in through)):
                return await following(query)
            query.answered_by = self.name
            return query.message.reply(dnswire.NXDOMAIN)
        query.answered_by = self.name
        message = query.message.reply()
        message.aa, message.answer = True, answers
        return message

    def _answers(self, query: Query, ip: str) -> list[RR]:
        name, qtype = query.name, query.qtype
        if qtype == PTR and ip:
            return [
                RR(name, PTR, self.ttl, dnswire.absolute(host)) for host in self._hosts.names(ip)
            ]
        if qtype not in {A, AAAA}:
            return []
        return [
            RR(name, qtype, self.ttl, address)
            for address in self._hosts.addresses(name)
            if (":" in address) == (qtype == AAAA)
        ]
