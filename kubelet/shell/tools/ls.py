"""ls: the files that are known; sizes are real, owners and dates are root's and the epoch's."""

from __future__ import annotations

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command


def entries(command: Command, path: str) -> dict[str, bool] | None:
    """Names directly below a directory (True: a directory itself); None when there is none."""
    base = path.rstrip("/") + "/"
    found: dict[str, bool] = dict.fromkeys(folders.NAMES, True) if path == "/" else {}
    for known in command.env.list_files(path):
        if known.startswith(base):
            name, slash, _ = known[len(base) :].partition("/")
            found[name] = bool(slash) or found.get(name, False)
    return found if found or folders.usual(path) else None


async def run(command: Command) -> int:
    """``ls [-1alhdR] [PATH...]``; recursion is not modelled."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    names = [arg for arg in command.args if not arg.startswith("-")] or ["."]
    status = 0
    for name in names:
        path = command.path(name)
        found = entries(command, path)
        if found is None or "d" in options:
            if found is None and path not in command.env.list_files(path):
                text = f"cannot access '{name}'" if not command.image.busybox else name
                status = command.fail(f"{text}: No such file or directory", 2)
                continue
            found, path = {name: False}, command.cwd
        elif len(names) > 1:
            command.out(f"{name}:\n")
        shown = sorted(key for key in found if "a" in options or not key.startswith("."))
        for entry in shown:
            command.out(
                _long(command, path, entry, found[entry]) if "l" in options else f"{entry}\n"
            )
    return status


def _long(command: Command, path: str, name: str, directory: bool) -> str:
    full = name if name.startswith("/") else f"{path.rstrip('/')}/{name}"
    size = 4096 if directory else len(command.read_file(full))
    mode = "drwxr-xr-x" if directory else "-rw-r--r--"
    return f"{mode}    1 root     root     {size:9} Jan  1 00:00 {name}\n"
