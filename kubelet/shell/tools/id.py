"""id and whoami: the user that securityContext or the image names, without a user database."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command

_ROOT = "root"


async def run(command: Command) -> int:
    """Who runs this; only root has a name."""
    user = command.env.spec.user
    if command.name == "whoami":
        if user.uid:
            command.err(f"whoami: unknown uid {user.uid}\n")
            return 1
        command.out(f"{_ROOT}\n")
    elif "-u" in command.args:
        command.out(f"{user.uid}\n")
    elif "-g" in command.args:
        command.out(f"{user.gid}\n")
    else:
        groups = ",".join(_named(gid) for gid in sorted({user.gid, *user.groups}))
        command.out(f"uid={_named(user.uid)} gid={_named(user.gid)} groups={groups}\n")
    return 0


def _named(number: int) -> str:
    return str(number) if number else f"0({_ROOT})"
