"""rm: remove files of the container."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``rm [-rRf] PATH...``; a directory is the files below it."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    force, recursive = "f" in options, "r" in options.lower()
    names = [arg for arg in command.args if not arg.startswith("-")]
    if not names and not force:
        return command.fail("missing operand")
    code = 0
    for name in names:
        path = command.path(name)
        below = [found for found in command.env.list_files(path) if found != path]
        if below and not recursive:
            code = command.fail(f"cannot remove '{name}': Is a directory")
            continue
        try:
            for found in below or [path]:
                await command.env.remove_file(found)
        except OSError as error:
            if not (force and isinstance(error, FileNotFoundError)):
                why = "No such file or directory"
                if not isinstance(error, FileNotFoundError):
                    why = error.strerror or str(error)
                code = command.fail(f"cannot remove '{name}': {why}")
    return code
