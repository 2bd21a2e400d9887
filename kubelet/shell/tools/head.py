"""head: the first lines; stops reading then."""

from __future__ import annotations

from podwire.kubelet.shell.command import MAX_PIPE_BYTES, Command, UsageError
from podwire.kubelet.shell.tools.devices import device


def count(command: Command) -> tuple[str, list[str], str]:
    """(number, files, unit "n" or "c") of head's and tail's arguments. Raises UsageError."""
    number, unit, names = "10", "n", []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg in {"-n", "-c"} and args:
            unit, number = arg[1], args.pop(0)
        elif arg[:2] in {"-n", "-c"} and len(arg) > 2:
            unit, number = arg[1], arg[2:]
        elif arg[:1] == "-" and arg[1:].isdigit():
            number = arg[1:]
        elif arg[:1] != "-" or arg == "-":
            names.append(arg)
    if not number.lstrip("+-").isdigit():
        raise UsageError(f"invalid number '{number}'")
    return number, names, unit


async def run(command: Command) -> int:
    """``head [-n N | -c N | -N] [FILE...]``."""
    number, names, unit = count(command)
    n = int(number)
    if unit == "c" and n >= 0 and len(names) == 1:
        endless = device(command, names[0], min(n, MAX_PIPE_BYTES))
        if endless is not None:
            command.write_out(endless)
            return 0
    if names or unit == "c" or n < 0:
        for _, data in await command.inputs(names, "cannot open '{}' for reading"):
            kept = data[:n] if unit == "c" else b"".join(data.splitlines(keepends=True)[:n])
            command.write_out(kept)
        return 0
    for _ in range(n):
        line = await command.stdin.line()
        if not line:
            break
        command.write_out(line)
    return 0
