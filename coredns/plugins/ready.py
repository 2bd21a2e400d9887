"""ready: /ready on :8181, 200 once every plugin that can be unready was ready once."""

from __future__ import annotations

from podwire.client import http1
from podwire.coredns.chain import Plugin
from podwire.coredns.httpport import HttpPort, address_of


class Ready(Plugin):
    """``ready [ADDRESS]``."""

    name = "ready"
    answers = False

    def configure(self) -> None:
        """Read the address."""
        self.watched: list[Plugin] = []
        self.shutting_down = False
        self._port = HttpPort(
            self.host, *address_of(self.line.args, 8181, self.line), self._answer, "ready"
        )

    async def start(self) -> None:
        """Listen."""
        await self._port.start()

    def stop(self) -> None:
        """Stop listening."""
        self._port.stop()

    async def _answer(self, request: http1.Request) -> http1.Response:
        if request.path != "/ready":
            return http1.text("404 page not found\n", 404)
        if self.shutting_down:
            return http1.text("Shutting down", 503)
        waiting = sorted({plugin.name: None for plugin in self.watched if not plugin.ready})
        if waiting:
            names = ",".join(waiting)
            self.host.log("INFO", f'plugin/ready: Plugins not ready: "{names}"')
            return http1.text(names, 503)
        return http1.text("OK")
