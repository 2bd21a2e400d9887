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
        return 0
    letters = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    name = "n" in letters
    if "u" in letters:
        command.out(f"{_ROOT if name and not user.uid else user.uid}\n")
    elif "G" in letters:
        command.out(" ".join(str(gid) for gid in sorted({user.gid, *user.groups})) + "\n")
    elif "g" in letters:
        command.out(f"{_ROOT if name and not user.gid else user.gid}\n")
    else:
        groups = ",".join(_named(gid) for gid in sorted({user.gid, *user.groups}))
        command.out(f"uid={_named(user.uid)} gid={_named(user.gid)} groups={groups}\n")
    return 0


def _named(number: int) -> str:
    return str(number) if number else f"0({_ROOT})"
