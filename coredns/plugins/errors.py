"""errors: print what went wrong while answering."""

from __future__ import annotations

from podwire.client import dnswire
from podwire.client.dnswire import Message
from podwire.coredns.chain import Plugin, PluginError, Query, Serve


class Errors(Plugin):
    """``errors``: errors of later plugins are logged, the client gets SERVFAIL."""

    name = "errors"

    async def serve(self, query: Query, following: Serve) -> Message:
        """Log a failure as CoreDNS does: ``plugin/errors: RCODE NAME TYPE: ERROR``."""
        try:
            return await following(query)
        except PluginError as error:
            self.host.log("ERROR", f"plugin/errors: 2 {query.name} {query.type_text}: {error}")
            return query.message.reply(dnswire.SERVFAIL)
