"""tee: stdin to stdout and to files."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``tee [-a] FILE...``."""
    names = [arg for arg in command.args if not arg.startswith("-")]
    whole = bytearray()
    while data := await command.stdin.some():
        command.write_out(data)
        whole += data
    for name in names:
        before = b""
        if "-a" in command.args:
            try:
                before = command.read_file(name)
            except UsageError:
                before = b""
        await command.env.write_file(command.path(name), before + bytes(whole))
    return 0
