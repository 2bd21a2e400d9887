"""which: where a command would be."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.find import find


async def run(command: Command) -> int:
    """``which NAME...``."""
    status = 0
    for name in command.args:
        if find(command.image, name) is None:
            status = 1
        else:
            command.out(f"{name if '/' in name else f'/usr/bin/{name}'}\n")
    return status
