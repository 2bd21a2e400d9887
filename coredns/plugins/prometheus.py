"""prometheus: count queries, show the counters on :9153/metrics."""

from __future__ import annotations

from podwire.client import dnstext, http1
from podwire.client.dnswire import Message
from podwire.coredns.chain import Plugin, Query, Serve
from podwire.coredns.httpport import HttpPort, address_of


class Prometheus(Plugin):
    """``prometheus [ADDRESS]``."""

    name = "prometheus"

    def configure(self) -> None:
        """Read the address."""
        self.server = "dns://:53"
        self._port = HttpPort(
            self.host, *address_of(self.line.args, 9153, self.line), self._answer, "metrics"
        )

    async def start(self) -> None:
        """Listen."""
        await self._port.start()

    def stop(self) -> None:
        """Stop listening."""
        self._port.stop()

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer and count."""
        began = self.host.clock.monotonic_ns()
        message = await following(query)
        common = {"server": self.server, "zone": self.zones[0], "view": ""}
        count = self.host.metrics
        family = "2" if ":" in query.remote[0] else "1"
        asked = {"proto": query.proto, "family": family, "type": query.type_text}
        count.add("coredns_dns_requests_total", 1, **common, **asked)
        outcome = {"plugin": query.answered_by, "rcode": dnstext.rcode_name(message.rcode)}
        count.add("coredns_dns_responses_total", 1, **common, **outcome)
        count.observe((self.host.clock.monotonic_ns() - began) / 1e9, **common)
        return message

    async def _answer(self, request: http1.Request) -> http1.Response:
        if request.path != "/metrics":
            return http1.text("404 page not found\n", 404)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return http1.text(self.host.metrics.exposition(), kind=kind)
