"""tail: the last lines, and (``-f``, ``-F``) what files grow by, looked at once a second.

Messages: GNU coreutils 9 and busybox 1.36, both of which poll where there is no inotify.
"""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.head import count
from podwire.kubelet.shell.tools.sleep import FOREVER_S, seconds


async def run(command: Command) -> int:
    """``tail [-n N | -n +N | -c N] [-f | -F] [-s SECONDS] [-q] [FILE...]``."""
    args, every_s = list(command.args), 1.0
    if "-s" in args[:-1]:
        at = args.index("-s")
        every_s = seconds(args[at + 1])
        del args[at : at + 2]
    command.argv[1:] = args
    number, names, unit = count(command)
    letters = "".join(arg[1:] for arg in args if arg[:1] == "-" and arg[1:2] != "-")
    retry = "F" in letters or "--follow=name" in args or "--retry" in args
    follow = retry or "f" in letters or "--follow" in args
    heads = _Headings(command, shown=len(names) > 1 and "q" not in letters)
    sizes: dict[str, int] = {}
    status = 0
    for name in names or ["-"]:
        data = await _load(command, name)
        if isinstance(data, UsageError):
            status = _missing(command, name, data)
            if retry:
                sizes[name] = -1
            continue
        heads.over(name)
        command.write_out(_kept(data, number, unit))
        sizes[name] = len(data)
    watched = [name for name in sizes if name != "-" and command.path(name) != "/dev/null"]
    if not follow or (not sizes and status):
        if follow:
            command.err("tail: no files" + (" remaining" * (not command.image.busybox)) + "\n")
        return status
    if not watched:
        await command.env.clock.sleep(FOREVER_S)
    while True:
        await command.env.clock.sleep(max(every_s, 0.1))
        for name in watched:
            sizes[name] = await _grown(command, name, sizes[name], heads, retry=retry)
        await command.env.drained()


def _kept(data: bytes, number: str, unit: str) -> bytes:
    n = abs(int(number))
    from_start = number.startswith("+")
    if unit == "c":
        return data[max(n - 1, 0) :] if from_start else data[-n:] if n else b""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[n - 1 if n else 0 :] if from_start else lines[-n:] if n else [])


async def _load(command: Command, name: str) -> bytes | UsageError:
    try:
        return await command.stdin.all() if name == "-" else await command.load(name)
    except UsageError as error:
        return error


def _missing(command: Command, name: str, error: UsageError) -> int:
    why = _why(error, name)
    if command.image.busybox:
        return command.fail(f"can't open '{name}': {why}")
    return command.fail(f"cannot open '{name}' for reading: {why}")


async def _grown(
    command: Command, name: str, size: int, heads: _Headings, *, retry: bool
) -> int:  # fmt: skip
    """Print what a file has more than ``size`` bytes (-1: it was not there); its size now."""
    data = await _load(command, name)
    busybox = command.image.busybox
    if isinstance(data, UsageError):
        if retry and size >= 0:
            why = _why(data, name)
            command.fail(
                f"{name} has become inaccessible: {why}" if busybox
                else f"'{name}' has become inaccessible: {why}"
            )  # fmt: skip
            return -1
        return size
    if size < 0:
        command.fail(
            f"{name} has appeared; following end of new file" if busybox
            else f"'{name}' has appeared;  following new file"
        )  # fmt: skip
        size = 0
    elif len(data) < size:
        if not busybox:
            command.fail(f"{name}: file truncated")
        size = 0
    if len(data) > size:
        heads.over(name)
        command.write_out(data[size:])
    return len(data)


def _why(error: UsageError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")


class _Headings:
    """``==> NAME <==`` over each piece, when several files are shown."""

    def __init__(self, command: Command, *, shown: bool) -> None:
        self._command = command
        self._shown = shown
        self._last = ""

    def over(self, name: str) -> None:
        """The next bytes are of this file."""
        if not self._shown or name == self._last:
            return
        said = "standard input" if name == "-" else name
        self._command.out(("\n" if self._last else "") + f"==> {said} <==\n")
        self._last = name
