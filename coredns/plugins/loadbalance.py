"""loadbalance: shuffle the addresses of an answer."""

from __future__ import annotations

from podwire.client.dnswire import AAAA, CNAME, MX, RR, A, Message
from podwire.coredns.chain import Plugin, Query, Serve


class Loadbalance(Plugin):
    """``loadbalance [round_robin]``: CNAMEs first, then A, AAAA and MX in a drawn order."""

    name = "loadbalance"

    def configure(self) -> None:
        """Only round_robin is modelled."""
        if self.line.args[:1] not in ([], ["round_robin"]):
            raise self.line.error(f"policy '{self.line.args[0]}' is not modelled")

    async def serve(self, query: Query, following: Serve) -> Message:
        """Shuffle what the rest of the chain answered."""
        message = await following(query)
        if len(message.answer) > 1:
            message.answer = self._shuffled(message.answer)
        return message

    def _shuffled(self, records: list[RR]) -> list[RR]:
        aliases = [rr for rr in records if rr.type == CNAME]
        moving = [rr for rr in records if rr.type in {A, AAAA, MX}]
        others = [rr for rr in records if rr.type not in {CNAME, A, AAAA, MX}]
        self.host.rng.shuffle(moving)
        return [*aliases, *others, *moving]
