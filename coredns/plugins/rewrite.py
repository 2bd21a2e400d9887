"""rewrite: ask for another name, and put the client's name back into the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from podwire.client.dnswire import Message, Question, absolute
from podwire.coredns.chain import Plugin, Query, Serve
from podwire.coredns.corefile import normalize


class Rewrite(Plugin):
    """``rewrite [stop|continue] name [exact|prefix|suffix|substring|regex] FROM TO [answer auto]``.

    Rewriting types, classes, EDNS options, TTLs and response codes is not modelled.
    """

    name = "rewrite"

    def configure(self) -> None:
        """Read one rule."""
        args = list(self.line.args)
        self.goes_on = args[:1] == ["continue"]
        if args and args[0] in {"stop", "continue"}:
            args.pop(0)
        if len(args) < 3 or args[0] != "name":
            raise self.line.error("only 'rewrite name' is modelled")
        kind = "exact"
        if args[1] in {"exact", "prefix", "suffix", "substring", "regex"} and len(args) > 3:
            kind = args.pop(1)
        self._change = self._rule(kind, args[1], args[2])

    def _rule(self, kind: str, old: str, new: str) -> Callable[[str], str]:
        """A function from name to new name ('' when it does not match)."""
        if kind == "exact":
            old, new = normalize(old), absolute(new)
            return lambda name: new if name == old else ""
        if kind == "prefix":
            return lambda name: new + name.removeprefix(old) if name.startswith(old) else ""
        if kind == "suffix":
            old, new = normalize(old), absolute(new)
            return lambda name: name.removesuffix(old) + new if name.endswith(old) else ""
        if kind == "substring":
            return lambda name: name.replace(old, new) if old in name else ""
        try:
            pattern = re.compile(old)
        except re.error as error:
            raise self.line.error(f"invalid regular expression {old!r}: {error}") from None
        template = re.sub(r"\{(\d)\}", r"\\g<\1>", new)
        return lambda name: (
            absolute(found.expand(template)) if (found := pattern.match(name)) else ""
        )

    async def serve(self, query: Query, following: Serve) -> Message:
        """Rewrite the question, ask on, rewrite the owner names back."""
        try:
            name = self._change(query.lower)
        except (re.error, IndexError):
            name = ""
        if not name:
            return await following(query)
        asked = Question(name, query.qtype, query.message.question.qclass)
        inner = replace(query, message=replace(query.message, questions=[asked]), name=name)
        message = await following(inner)
        query.answered_by = inner.answered_by
        message.questions = list(query.message.questions)
        message.answer = [
            rr._replace(name=query.name) if rr.name.lower() == name.lower() else rr
            for rr in message.answer
        ]
        return message
