"""cp and mv: files and folders of the container."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.rm import remove


async def run(command: Command) -> int:
    """``cp [-rRaf] SOURCE... TARGET``; ``mv [-f] SOURCE... TARGET``."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-") and arg != "-")
    names = [arg for arg in command.args if not arg.startswith("-")]
    if len(names) < 2:
        return command.fail("missing file operand")
    *sources, target = names
    moves = command.name == "mv"
    into = folders.exists(command.path(target), command.env.list_files) or target.endswith("/")
    if len(sources) > 1 and not into:
        return command.fail(f"target '{target}' is not a directory")
    code = 0
    for source in sources:
        path = command.path(source)
        files = list(command.env.list_files(path))
        base = command.path(target)
        if into:
            base = f"{base.rstrip('/')}/{path.rpartition('/')[2]}"
        if not files:
            code = command.fail(f"cannot stat '{source}': No such file or directory")
        elif files != [path] and not moves and not {*options} & {*"rRa"}:
            code = command.fail(f"-r not specified; omitting directory '{source}'")
        else:
            code = await _copy(command, files, path, base, moves=moves) or code
    return code


async def _copy(command: Command, files: list[str], path: str, base: str, *, moves: bool) -> int:
    for file in files:
        goal = base + file[len(path) :]
        if goal == file:
            return command.fail(f"'{file}' and '{goal}' are the same file")
        try:
            if not file.endswith("/"):
                await command.env.write_file(goal, command.env.read_file(file))
            elif not folders.exists(goal, command.env.list_files):
                await command.env.write_file(goal, b"")
        except OSError as error:
            return command.fail(f"cannot create regular file '{goal}': {error.strerror or error}")
    if moves:
        try:
            await remove(command, path)
        except OSError as error:
            return command.fail(f"cannot remove '{path}': {error.strerror or error}")
    return 0
