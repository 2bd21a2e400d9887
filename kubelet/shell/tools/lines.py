"""tac, rev and nl: lines turned round, mirrored, numbered."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``tac|rev|nl [FILE...]``; options are not modelled."""
    odd = [arg for arg in command.args if arg.startswith("-") and len(arg) > 1]
    if odd:
        raise UsageError(f"not modelled: {odd[0]}")
    number = 0
    for _, data in await command.inputs(command.args):
        lines = data.decode(errors="surrogateescape").splitlines()
        if command.name == "tac":
            lines.reverse()
        for line in lines:
            if command.name == "rev":
                command.out(f"{line[::-1]}\n")
            elif command.name == "tac":
                command.out(f"{line}\n")
            elif line:
                number += 1
                command.out(f"{number:6}\t{line}\n")
            else:
                command.out(f"{'':7}\n")
    return 0
