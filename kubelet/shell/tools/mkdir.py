"""mkdir and rmdir: folders of the container."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``mkdir [-pv] [-m MODE] DIR...``, ``rmdir [-p] DIR...``; the mode is not kept."""
    args, names, letters = list(command.args), [], ""
    while args:
        arg = args.pop(0)
        if arg == "-m" and args:
            args.pop(0)
        elif arg == "--parents":
            letters += "p"
        elif not arg.startswith("-"):
            names.append(arg)
        elif arg != "--" and not arg.startswith(("-m", "--mode")):
            letters += arg[1:]
    if letters.strip("pv"):
        raise UsageError(f"not modelled: -{letters}")
    if not names:
        return command.fail("missing operand")
    do = _make if command.name == "mkdir" else _remove
    return 1 if [name for name in names if await do(command, name, parents="p" in letters)] else 0


def _refuse(command: Command, words: str, name: str, why: str) -> int:
    if command.image.busybox:
        words = words.replace("failed to remove", "").replace("cannot create", "can't create")
        return command.fail(f"{words} '{name}': {why}".lstrip())
    return command.fail(f"{words} '{name}': {why}")


async def _make(command: Command, name: str, *, parents: bool) -> int:
    env, path, why = command.env, command.path(name), ""
    words, parent = "cannot create directory", path.rpartition("/")[0] or "/"
    if folders.exists(path, env.list_files):
        return 0 if parents else _refuse(command, words, name, "File exists")
    if path in env.list_files(path):
        return _refuse(command, words, name, "File exists")
    known = folders.exists(parent, env.list_files) or folders.unknown(parent)
    if not parents and not known and parent not in env.list_files(parent):
        return _refuse(command, words, name, "No such file or directory")
    above = parent
    while above != "/":
        if above in env.list_files(above):
            return _refuse(command, words, name, "Not a directory")
        above = above.rpartition("/")[0] or "/"
    try:
        await env.write_file(f"{path}/", b"")
    except OSError as error:
        why = error.strerror or str(error)
    return _refuse(command, words, name, why) if why else 0


async def _remove(command: Command, name: str, *, parents: bool) -> int:
    env, path = command.env, command.path(name)
    why = ""
    if not folders.exists(path, env.list_files):
        why = "Not a directory" if path in env.list_files(path) else "No such file or directory"
    elif folders.inside(path, env.list_files):
        why = "Directory not empty"
    else:
        try:
            await env.remove_file(f"{path}/")
        except OSError as error:
            why = error.strerror or str(error)
    if why:
        return _refuse(command, "failed to remove", name, why)
    above = name.rstrip("/").rpartition("/")[0]
    return await _remove(command, above, parents=True) if parents and above else 0
