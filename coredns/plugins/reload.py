"""reload: look at the Corefile every 30 s and load it anew when it changed."""

from __future__ import annotations

import asyncio
import hashlib

from podwire.coredns.chain import Plugin
from podwire.coredns.corefile import duration_s

INTERVAL_S = 30.0
JITTER_S = 15.0


class Reload(Plugin):
    """``reload [INTERVAL] [JITTER]``."""

    name = "reload"
    answers = False

    def configure(self) -> None:
        """Read the interval; jitter is at most half of it."""
        args = self.line.args
        self.interval_s = duration_s(args[0], self.line.error) if args else INTERVAL_S
        self.jitter_s = duration_s(args[1], self.line.error) if len(args) > 1 else JITTER_S
        self.jitter_s = min(self.jitter_s, self.interval_s / 2)
        if self.interval_s < 2:
            raise self.line.error("interval value must be greater or equal to 2s")
        self.digest = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = self.host.tasks.start(self._watch(), name="coredns reload")

    def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        last = self.digest
        while True:
            await self.host.clock.sleep(self.interval_s + self.host.rng.uniform(0, self.jitter_s))
            try:
                digest = sha512(await self.host.process.read_file("/etc/coredns/Corefile"))
            except FileNotFoundError as error:
                self.host.log(
                    "WARNING", f"plugin/reload: Corefile changed but reload failed: {error}"
                )
                continue
            if digest != last:
                last = digest
                self.host.reload()


def sha512(data: bytes) -> str:
    """The digest the log shows."""
    return hashlib.sha512(data).hexdigest()
