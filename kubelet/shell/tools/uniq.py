"""uniq: neighbouring equal lines once."""

from __future__ import annotations

import itertools

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``uniq [-c] [FILE]``."""
    names = [arg for arg in command.args if not arg.startswith("-")]
    for _, data in await command.inputs(names[:1]):
        lines = data.decode(errors="surrogateescape").splitlines()
        for line, group in itertools.groupby(lines):
            count = f"{len(list(group)):7} " if "-c" in command.args else ""
            command.out(f"{count}{line}\n")
    return 0
