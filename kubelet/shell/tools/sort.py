"""sort: lines."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command


def _number(line: str) -> float:
    found = re.match(r"\s*-?\d{1,30}(\.\d{1,30})?", line)
    return float(found[0]) if found else 0.0


async def run(command: Command) -> int:
    """``sort [-n] [-r] [-u] [FILE...]``; keys are not modelled."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    names = [arg for arg in command.args if not arg.startswith("-")]
    lines: list[str] = []
    for _, data in await command.inputs(names):
        lines += data.decode(errors="surrogateescape").splitlines()
    if "u" in options:
        lines = list(dict.fromkeys(lines))
    lines.sort(key=(lambda line: (_number(line), line)) if "n" in options else None)
    if "r" in options:
        lines.reverse()
    command.out("".join(f"{line}\n" for line in lines))
    return 0
