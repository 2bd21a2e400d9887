"""A small HTTP port of the server's pod: health, ready, metrics."""

from __future__ import annotations

import asyncio

from podwire.client import http1
from podwire.client.counters import Listener
from podwire.coredns.chain import Host
from podwire.coredns.corefile import Directive


def address_of(args: list[str], default_port: int, line: Directive) -> tuple[str, int]:
    """``[HOST]:PORT`` of a plugin's argument. Raises CorefileError."""
    if not args:
        return "", default_port
    host, _, port = args[0].rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise line.error(f"address {args[0]}: missing port in address")
    return host.strip("[]"), int(port)


class HttpPort:
    """Listens while started."""

    def __init__(
        self, host: Host, address: str, port: int, handler: http1.Handler, plugin: str
    ) -> None:
        self._host = host
        self._address = (address, port)
        self._handler = handler
        self._plugin = plugin
        self._listener: Listener | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; a port that is taken ends the server, as in life."""
        spec, (address, port) = self._host.process.spec, self._address
        try:
            self._listener = await self._host.process.sockets.listen(
                spec.node, spec.netns, address, port
            )
        except OSError as error:
            self._host.fatal(f"plugin/{self._plugin}: listen tcp {address}:{port}: bind: {error}")
            return
        serve = http1.serve(self._listener, self._handler)
        self._task = self._host.tasks.start(serve, name=f"coredns {self._plugin}")

    def stop(self) -> None:
        """Close the port and its connections."""
        if self._listener is not None:
            self._listener.close()
        if self._task is not None:
            self._task.cancel()
