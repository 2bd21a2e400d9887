"""tail: the last lines; ``-f /dev/null`` waits for ever, as people use it."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.head import count
from podwire.kubelet.shell.tools.sleep import FOREVER_S


async def run(command: Command) -> int:
    """``tail [-n N | -n +N | -c N] [-f] [FILE...]``; following growth is not modelled."""
    number, names, unit = count(command)
    for _, data in await command.inputs(names):
        n = abs(int(number))
        pieces = [data[i : i + 1] for i in range(len(data))] if unit == "c" else []
        lines = pieces if unit == "c" else data.splitlines(keepends=True)
        kept = lines[n - 1 if n else 0 :] if number.startswith("+") else lines[-n:] if n else []
        command.write_out(b"".join(kept))
    if any(arg in {"-f", "-F"} for arg in command.args):
        await command.env.clock.sleep(FOREVER_S)
    return 0
