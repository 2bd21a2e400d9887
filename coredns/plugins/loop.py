"""loop: find out at the start whether queries that are forwarded come back."""

from __future__ import annotations

import asyncio

from podwire.client.dnswire import HINFO, Message, Question
from podwire.coredns.chain import Plugin, PluginError, Query, Serve

WATCH_S = 30.0


class Loop(Plugin):
    """``loop``: a random HINFO question seen more than twice within 30 s ends the server."""

    name = "loop"

    def configure(self) -> None:
        """Draw the name to watch for."""
        if self.line.args:
            raise self.line.wrong(self.line.args[0])
        rng = self.host.rng
        zone = self.zones[0].rstrip(".")
        suffix = f".{zone}." if zone else "."
        self._name = f"{rng.below(2**62)}.{rng.below(2**62)}{suffix}"
        self._seen = 0
        self._until_ns = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Send the question once, through the whole chain."""
        self._until_ns = self.host.clock.monotonic_ns() + int(WATCH_S * 1e9)
        self._task = self.host.tasks.start(self._send(), name="coredns loop")

    def stop(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    async def _send(self) -> None:
        question = Question(self._name, HINFO)
        message = Message(id=self.host.rng.below(65536), questions=[question])
        query = Query(message, self._name, HINFO, "udp", ("127.0.0.1", 0), ("127.0.0.1", 53))
        try:
            await self.entry(query)
        except PluginError:
            return  # an upstream that does not answer is no loop; the errors plugin has told

    async def serve(self, query: Query, following: Serve) -> Message:
        """Count the question when it comes by."""
        if query.qtype == HINFO and query.lower == self._name:
            if self.host.clock.monotonic_ns() < self._until_ns:
                self._seen += 1
            if self._seen > 2:
                remote, port = query.remote, query.local[1]
                self.host.fatal(
                    f"plugin/loop: Loop ({remote[0]}:{remote[1]} -> :{port}) detected for zone "
                    f'"{self.zones[0]}", see https://coredns.io/plugins/loop#troubleshooting. '
                    f'Query: "HINFO {self._name}"'
                )
        return await following(query)
