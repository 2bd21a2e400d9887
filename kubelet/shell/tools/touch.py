"""touch, mkdir, rmdir, mktemp: files of the container."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``touch FILE...``; ``mkdir [-p] DIR...``, ``rmdir DIR...`` (directories exist by
    their files); ``mktemp [-d]``.
    """
    names = [arg for arg in command.args if not arg.startswith("-")]
    if command.name == "rmdir":
        return 0
    if command.name == "mkdir":
        for name in names:
            exists = folders.exists(command.path(name), command.env.list_files)
            if exists and not any(arg.startswith("-") and "p" in arg for arg in command.args):
                quoted = f"'{name}'"
                return command.fail(f"cannot create directory {quoted}: File exists")
        return 0
    if command.name == "mktemp":
        path = f"/tmp/tmp.{command.env.rng.bytes(5).hex()}"  # noqa: S108  the container's
        if "-d" not in command.args:
            await command.env.write_file(path, b"")
        command.out(f"{path}\n")
        return 0
    for name in names:
        try:
            command.read_file(name)
        except UsageError:
            await command.env.write_file(command.path(name), b"")
    return 0
