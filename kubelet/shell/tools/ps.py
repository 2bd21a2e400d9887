"""ps: process 1 and this command; other processes are not modelled."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``ps [OPTIONS]``: options are ignored."""
    first = " ".join(command.spec.argv) or command.image.name
    command.out("PID   USER     TIME  COMMAND\n")
    command.out(f"    1 root      0:00 {first}\n")
    command.out(f"    7 root      0:00 {' '.join(command.argv)}\n")
    return 0
