"""timeout: end a command after a while; nice, nohup and setsid: run one."""

from __future__ import annotations

import asyncio

from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.sleep import seconds

TIMED_OUT = 124


async def run(command: Command) -> int:
    """``timeout [-s SIGNAL] [-t] SECONDS COMMAND...``: 124 (busybox: 143) when ended."""
    args = list(command.args)
    if command.name != "timeout":
        while args and args[0].startswith("-"):
            if args.pop(0) == "-n" and args:
                args.pop(0)
        return await command.runner.run_argv(args, command) if args else 0
    while args and args[0].startswith("-"):
        if args.pop(0) in {"-s", "-k"} and args:
            args.pop(0)
    if len(args) < 2:
        return command.fail("usage: timeout SECS PROG ARGS", 125)
    try:
        async with asyncio.timeout(seconds(args[0])) as limit:
            return await command.runner.run_argv(args[1:], command)
    except TimeoutError:
        if not limit.expired():
            raise
        return 143 if command.image.busybox else TIMED_OUT
