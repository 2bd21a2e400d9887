"""The pause container: waits for a signal."""

from __future__ import annotations

from podwire.kubelet.programs.serving import Server
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """Wait; TERM and INT end it with 0 after a line."""
    async with Server(command) as server:
        name = await server.until_signal("TERM", "INT")
    command.out(f"Shutting down, got signal: {'Terminated' if name == 'TERM' else 'Interrupt'}\n")
    return 0
