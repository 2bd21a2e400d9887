"""stty and tput: the size of the terminal, as the client told it."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command

USUAL = (80, 24)
"""What terminfo says of a terminal whose size nobody told."""


async def run(command: Command) -> int:
    """``stty [size | -a]``; ``tput {cols | lines}``. Settings are not modelled."""
    columns, rows = command.env.size()
    if command.name == "tput":
        wide, high = columns or USUAL[0], rows or USUAL[1]
        found = {"cols": wide, "lines": high}.get(command.args[0] if command.args else "")
        if found is None:
            return command.fail(f"{' '.join(command.args)}: not modelled", 2)
        command.out(f"{found}\n")
        return 0
    if not command.env.tty:
        return command.fail("'standard input': Inappropriate ioctl for device")
    if command.args == ["size"]:
        command.out(f"{rows} {columns}\n")
    elif command.args in (["-a"], []):
        size = f" rows {rows}; columns {columns};" if command.args else ""
        command.out(f"speed 38400 baud;{size} line = 0;\n")
    elif command.args != ["sane"]:
        return command.fail(f"{' '.join(command.args)}: not modelled")
    return 0
