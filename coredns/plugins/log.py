"""log: one line per query."""

from __future__ import annotations

from podwire.client import dnstext
from podwire.client.dnswire import Message
from podwire.coredns.chain import Plugin, Query, Serve, finish


class Log(Plugin):
    """``log [ZONE...]``: the common log format; classes and formats are not modelled."""

    name = "log"

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer, then print the query with its outcome, size and duration."""
        began = self.host.clock.monotonic_ns()
        message = await following(query)
        seconds = (self.host.clock.monotonic_ns() - began) / 1e9
        edns = query.message.edns
        do = "true" if edns is not None and edns.do else "false"
        size = edns.size_bytes if edns is not None else 512
        limit = 65535 if query.proto == "tcp" else size
        asked = (
            f"{query.type_text} {dnstext.class_name(query.message.question.qclass)} "
            f"{query.lower} {query.proto} {query.size_bytes} {do} {limit}"
        )
        self.host.log(
            "INFO",
            f'{query.remote[0]}:{query.remote[1]} - {query.message.id} "{asked}" '
            f"{dnstext.rcode_name(message.rcode)} {flags(message)} "
            f"{len(finish(query, message))} {seconds:.9f}s",
        )
        return message


def flags(message: Message) -> str:
    """``qr,aa,rd``: the flags that are set."""
    names = ("qr", "aa", "tc", "rd", "ra", "ad", "cd")
    return ",".join(name for name in names if getattr(message, name))
