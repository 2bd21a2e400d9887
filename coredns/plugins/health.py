"""health: /health on :8080, and the lame duck period at the end."""

from __future__ import annotations

from podwire.client import http1
from podwire.coredns.chain import Plugin
from podwire.coredns.corefile import duration_s
from podwire.coredns.httpport import HttpPort, address_of


class Health(Plugin):
    """``health [ADDRESS] { lameduck DURATION }``."""

    name = "health"
    answers = False

    def configure(self) -> None:
        """Read the address and lameduck."""
        self.lameduck_s = 0.0
        if len(self.line.args) > 1:
            raise self.line.wrong(self.line.args[1])
        address = address_of(self.line.args, 8080, self.line)
        for line in self.line.block:
            if line.name != "lameduck" or len(line.args) != 1:
                raise self.unknown(line)
            self.lameduck_s = duration_s(line.args[0], line.error)
        self._port = HttpPort(self.host, *address, self._answer, "health")

    async def start(self) -> None:
        """Listen."""
        await self._port.start()

    def stop(self) -> None:
        """Stop listening."""
        self._port.stop()

    @staticmethod
    async def _answer(request: http1.Request) -> http1.Response:
        if request.path != "/health":
            return http1.text("404 page not found\n", 404)
        return http1.text("OK")
