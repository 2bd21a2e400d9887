"""rm: remove files and folders of the container."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``rm [-rRfd] PATH...``."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    force, recursive = "f" in options, "r" in options.lower()
    names = [arg for arg in command.args if not arg.startswith("-")]
    if not names and not force:
        return command.fail("missing operand")
    code = 0
    for name in names:
        path = command.path(name)
        folder = folders.exists(path, command.env.list_files)
        if folder and not recursive and "d" not in options:
            code = command.fail(f"cannot remove '{name}': Is a directory")
            continue
        if folder and not recursive and folders.inside(path, command.env.list_files):
            code = command.fail(f"cannot remove '{name}': Directory not empty")
            continue
        try:
            await remove(command, path)
        except OSError as error:
            if not (force and isinstance(error, FileNotFoundError)):
                why = "No such file or directory"
                if not isinstance(error, FileNotFoundError):
                    why = error.strerror or str(error)
                code = command.fail(f"cannot remove '{name}': {why}")
    return code


async def remove(command: Command, path: str) -> None:
    """Remove a file, or a folder with all below it. Raises OSError."""
    env = command.env
    listed = [known for known in env.list_files(path) if known != path]
    if not listed:
        await env.remove_file(path)
        return
    for known in listed:
        if not known.endswith("/"):
            await env.remove_file(known)
    for folder in folders.below(path, listed):
        if folder in env.list_files(folder.rstrip("/")):  # a usual one may have no note of its own
            await env.remove_file(folder)
