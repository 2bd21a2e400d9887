"""template: answer by regular expression."""

from __future__ import annotations

import re

from podwire.client import dnstext, dnswire
from podwire.client.dnswire import AAAA, CNAME, RR, TXT, A, Data, Message, absolute
from podwire.coredns.chain import Plugin, Query, Serve
from podwire.coredns.core import in_zone
from podwire.coredns.corefile import normalize

_TYPES = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "TXT": TXT}


class Template(Plugin):
    """``template CLASS TYPE [ZONE...] { match RE; answer RR; rcode CODE; fallthrough }``.

    In answers ``{{ .Name }}`` and ``{{ .Group.name }}`` are filled in; other template actions,
    authority and additional sections are not modelled.
    """

    name = "template"

    def configure(self) -> None:
        """Read one template."""
        args = self.line.args
        if len(args) < 2:
            raise self.line.wrong(args[0] if args else "template")
        self.type = args[1].upper()
        if self.type != "ANY" and self.type not in dnswire.TYPES:
            raise self.line.error(f"invalid RR type {args[1]}")
        self._for = [normalize(zone) for zone in args[2:]] or list(self.zones)
        self.patterns: list[re.Pattern[str]] = []
        self.answers_: list[str] = []
        self.rcode = dnswire.NOERROR
        self.through = False
        for line in self.line.block:
            if line.name == "match":
                try:
                    self.patterns += [re.compile(arg) for arg in line.args]
                except re.error as error:
                    raise line.error(f"could not parse regex: {error}") from None
            elif line.name == "answer" and line.args:
                self.answers_.append(line.args[0])
            elif line.name == "rcode" and line.args and line.args[0] in dnstext.RCODES:
                self.rcode = dnstext.RCODES.index(line.args[0])
            elif line.name == "fallthrough":
                self.through = True
            else:
                raise line.error(f"'{line.name}' of plugin template is not modelled")

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer names that match."""
        fits = any(in_zone(query.name, zone) for zone in self._for)
        if not fits or self.type not in {"ANY", query.type_text}:
            return await following(query)
        patterns = self.patterns or [re.compile(".*")]
        found = next((m for p in patterns if (m := p.search(query.lower))), None)
        if found is None:
            if self.through:
                return await following(query)
            return query.message.reply(dnswire.SERVFAIL)
        query.answered_by = self.name
        message = query.message.reply(self.rcode)
        message.aa = True
        message.answer = [rr for text in self.answers_ if (rr := self._record(text, query, found))]
        return message

    @staticmethod
    def _record(text: str, query: Query, match: re.Match[str]) -> RR | None:
        groups = {
            "Name": query.name,
            **{f"Group.{k}": v or "" for k, v in match.groupdict().items()},
        }
        line = re.sub(r"\{\{\s*\.([\w.]+)\s*\}\}", lambda found: groups.get(found[1], ""), text)
        words = line.split(None, 4)
        if len(words) < 5 or words[3] not in _TYPES or not words[1].isdigit():
            return None
        kind = _TYPES[words[3]]
        data: Data = words[4]
        if kind == CNAME:
            data = absolute(words[4])
        elif kind == TXT:
            data = (words[4].strip('"').encode(),)
        return RR(absolute(words[0]), kind, int(words[1]), data)
