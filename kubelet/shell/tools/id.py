"""id and whoami: root."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """Who runs this: securityContext is not modelled, so always root."""
    if command.name == "whoami":
        command.out("root\n")
    elif "-u" in command.args or "-g" in command.args:
        command.out("0\n")
    else:
        command.out("uid=0(root) gid=0(root) groups=0(root)\n")
    return 0
