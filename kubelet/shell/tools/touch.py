"""touch, mkdir: files of the container."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``touch FILE...``; ``mkdir [-p] DIR...`` (directories exist by their files)."""
    names = [arg for arg in command.args if not arg.startswith("-")]
    if command.name == "mkdir":
        return 0
    for name in names:
        try:
            command.read_file(name)
        except UsageError:
            await command.env.write_file(command.path(name), b"")
    return 0
