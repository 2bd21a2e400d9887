"""uniq: neighbouring equal lines once."""

from __future__ import annotations

import itertools

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``uniq [-cdu] [FILE]``."""
    names = [arg for arg in command.args if not arg.startswith("-")]
    letters = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    if letters.strip("cdu"):
        raise UsageError(f"not modelled: option -{letters}")
    for _, data in await command.inputs(names[:1]):
        lines = data.decode(errors="surrogateescape").splitlines()
        for line, group in itertools.groupby(lines):
            seen = len(list(group))
            if ("d" in letters and seen < 2) or ("u" in letters and seen > 1):
                continue
            command.out(f"{f'{seen:7} ' if 'c' in letters else ''}{line}\n")
    return 0
