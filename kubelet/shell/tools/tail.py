"""tail: the last lines; ``-f /dev/null`` waits for ever, as people use it."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.head import count
from podwire.kubelet.shell.tools.sleep import FOREVER_S


async def run(command: Command) -> int:
    """``tail [-n N | -n +N | -c N] [-f] [FILE...]``; following growth is not modelled."""
    number, names, unit = count(command)
    for _, data in await command.inputs(names, "cannot open '{}' for reading"):
        n = abs(int(number))
        from_start = number.startswith("+")
        if unit == "c":
            command.write_out(data[max(n - 1, 0) :] if from_start else data[-n:] if n else b"")
            continue
        lines = data.splitlines(keepends=True)
        kept = lines[n - 1 if n else 0 :] if from_start else lines[-n:] if n else []
        command.write_out(b"".join(kept))
    if any(arg in {"-f", "-F"} for arg in command.args):
        await command.env.clock.sleep(FOREVER_S)
    return 0
