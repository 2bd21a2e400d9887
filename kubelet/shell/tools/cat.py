"""cat: files, or stdin as it comes."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``cat [-n] [FILE...]``."""
    names = [arg for arg in command.args if arg == "-" or not arg.startswith("-")]
    numbered = "-n" in command.args
    status, number = 0, 0
    for name in names or ["-"]:
        if name == "-" and not numbered:
            while data := await command.stdin.some():
                command.write_out(data)
                await command.env.drained()
            continue
        try:
            data = await command.stdin.all() if name == "-" else await command.load(name)
        except UsageError as error:
            prefix = "can't open " if command.image.busybox else ""
            shown = str(error).replace(name, f"'{name}'", 1) if prefix else str(error)
            status = command.fail(prefix + shown)
            continue
        if numbered:
            for line in data.splitlines(keepends=True):
                number += 1
                command.write_out(f"{number:6}\t".encode() + line)
        else:
            command.write_out(data)
            await command.env.drained()
    return status
