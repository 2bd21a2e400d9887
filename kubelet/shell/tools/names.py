"""basename, dirname and realpath (there are no symbolic links to follow)."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``basename PATH [SUFFIX]``; ``dirname PATH``; ``realpath PATH...``."""
    if not command.args:
        return command.fail("missing operand")
    if command.name == "realpath":
        command.out("".join(f"{command.path(arg)}\n" for arg in command.args if arg[:1] != "-"))
        return 0
    head, _, base = command.args[0].rstrip("/").rpartition("/")
    if command.name == "dirname":
        text = head or ("/" if command.args[0].startswith("/") else ".")
    else:
        text = base.removesuffix(command.args[1]) if len(command.args) > 1 else base
        text = text or base or "/"
    command.out(f"{text}\n")
    return 0
