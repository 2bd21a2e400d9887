"""basename and dirname."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``basename PATH [SUFFIX]``; ``dirname PATH``."""
    if not command.args:
        return command.fail("missing operand")
    head, _, base = command.args[0].rstrip("/").rpartition("/")
    if command.name == "dirname":
        text = head or ("/" if command.args[0].startswith("/") else ".")
    else:
        text = base.removesuffix(command.args[1]) if len(command.args) > 1 else base
    command.out(f"{text}\n")
    return 0
