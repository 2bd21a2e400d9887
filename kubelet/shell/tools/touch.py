"""touch and mktemp: new files of the container."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``touch FILE...``; ``mktemp [-d]``."""
    names = [arg for arg in command.args if not arg.startswith("-")]
    if command.name == "mktemp":
        path = f"/tmp/tmp.{command.env.rng.bytes(5).hex()}"  # noqa: S108  the container's
        await command.env.write_file(f"{path}/" if "-d" in command.args else path, b"")
        command.out(f"{path}\n")
        return 0
    code = 0
    for name in names:
        path = command.path(name)
        try:
            if not folders.exists(path, command.env.list_files):
                command.read_file(name)
        except UsageError:
            try:
                await command.env.write_file(path, b"")
            except OSError as error:
                code = command.fail(f"cannot touch '{name}': {error.strerror or error}")
    return code
