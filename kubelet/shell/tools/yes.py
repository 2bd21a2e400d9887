"""yes: a line again and again, until its reader is gone."""

from __future__ import annotations

import asyncio

from podwire.kubelet.shell.command import Command, UsageError

MAX_LINES = 10_000


async def run(command: Command) -> int:
    """``yes [WORDS]``: bounded, since time does not pass while it prints."""
    line = " ".join(command.args or ["y"]) + "\n"
    for _ in range(MAX_LINES):
        command.out(line)
        await asyncio.sleep(0)
        await command.env.drained()
    raise UsageError(f"more than {MAX_LINES} lines: not modelled")
