"""df and du: how full disks are is not modelled, what files take is."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.ls import entries

BLOCK = 4096


async def run(command: Command) -> int:
    """``du [-shak] [PATH...]``; ``df`` says that it is not modelled."""
    if command.name == "df":
        raise UsageError("not modelled: how full disks are")
    letters = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    if letters.strip("shakmc"):
        raise UsageError(f"not modelled: -{letters}")
    status = 0
    for name in [arg for arg in command.args if not arg.startswith("-")] or ["."]:
        path = command.path(name)
        if entries(command, path) is None and path not in command.env.list_files(path):
            quoted = name if command.image.busybox else f"cannot access '{name}'"
            status = command.fail(f"{quoted}: No such file or directory")
            continue
        _tell(command, letters, name, 0)
    return status


def _tell(command: Command, letters: str, name: str, depth: int) -> int:
    """Print what a path takes; bytes, in whole blocks."""
    inside = entries(command, command.path(name))
    if inside is None:
        size = -(-len(command.read_file(name)) // BLOCK) * BLOCK
    else:
        size = BLOCK
        for entry in sorted(inside):
            size += _tell(command, letters, f"{name.rstrip('/')}/{entry}", depth + 1)
    if depth == 0 or ("s" not in letters and (inside is not None or "a" in letters)):
        command.out(f"{_shown(size, letters, command.image.busybox)}\t{name}\n")
    return size


def _shown(size: int, letters: str, busybox: bool) -> str:
    if "h" not in letters:
        return str(size >> (20 if "m" in letters else 10))
    value, units = size / 1024, ["K", "M", "G"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    if busybox:
        return f"{value:.1f}{units[0]}"
    return f"{value:.1f}{units[0]}" if value < 10 and value % 1 else f"{round(value)}{units[0]}"
