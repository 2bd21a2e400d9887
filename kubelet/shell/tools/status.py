"""true and false."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """Succeed or fail."""
    return 0 if command.name == "true" else 1
