"""``Process``: what a modelled program sees of its container."""

from __future__ import annotations

import asyncio

from podwire.client.counters import ContainerSpec, Sockets
from podwire.kubelet.files import FileView
from podwire.kubelet.stdio import STDERR, STDOUT, Stdio
from podwire.kubelet.usage import Meter


class ContainerProcess:
    """Process 1 of one container instance (counters.Process)."""

    def __init__(
        self,
        spec: ContainerSpec,
        sockets: Sockets,
        files: FileView,
        stdio: Stdio,
        meter: Meter,
    ) -> None:
        self.spec = spec
        self.sockets = sockets
        self.meter = meter
        self.files = files
        self.stdio = stdio
        self._signals: asyncio.Queue[str] = asyncio.Queue()

    def out(self, line: str) -> None:
        """Write one line to stdout."""
        self.stdio.line(STDOUT, line)

    def err(self, line: str) -> None:
        """Write one line to stderr."""
        self.stdio.line(STDERR, line)

    async def read_file(self, path: str) -> bytes:
        """A file of the container. Raises FileNotFoundError."""
        return self.files.read(path)

    async def list_files(self, prefix: str) -> list[str]:
        """Sorted absolute paths below a path."""
        return self.files.list(prefix)

    async def write_file(self, path: str, data: bytes) -> None:
        """Write a file; below a hostPath mount it lands on the node's disk."""
        await self.files.write(path, data)

    async def remove_file(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError on a read-only mount."""
        await self.files.remove(path)

    async def terminated(self) -> str:
        """The next signal that was delivered."""
        return await self._signals.get()

    def deliver(self, signal: str) -> None:
        """A signal arrived; it waits for a program that has not asked yet."""
        self._signals.put_nowait(signal)
