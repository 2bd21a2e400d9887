"""whoami: tell the client its own address; the whole of CoreDNS's default configuration."""

from __future__ import annotations

from podwire.client.dnswire import AAAA, RR, SRV, A, Message, Srv
from podwire.coredns.chain import Plugin, Query, Serve


class Whoami(Plugin):
    """``whoami``: empty answer; address and port of the client as additional records."""

    name = "whoami"

    async def serve(self, query: Query, following: Serve) -> Message:  # noqa: ARG002  never asks on
        """Answer whatever was asked."""
        query.answered_by = self.name
        message = query.message.reply()
        message.aa = True
        address, port = query.remote
        kind = AAAA if ":" in address else A
        message.additional = [
            RR(query.name, kind, 0, address),
            RR(f"_{query.proto}.{query.name}", SRV, 0, Srv(0, 0, port, ".")),
        ]
        return message
