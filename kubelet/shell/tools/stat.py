"""stat and readlink: what a path is, and where a link leads."""

from __future__ import annotations

import stat
from collections.abc import Callable

from podwire.kubelet.files import Stat
from podwire.kubelet.shell import stats
from podwire.kubelet.shell.command import Command, UsageError

_TYPES = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFREG: "regular file"}
_FORMS: dict[str, Callable[[str, Stat], str]] = {
    "n": lambda name, _: name,
    "N": lambda name, told: f"'{name}'" + (f" -> '{told.target}'" if told.target else ""),
    "a": lambda _, told: f"{stat.S_IMODE(told.mode):o}",
    "A": lambda _, told: stat.filemode(told.mode),
    "F": lambda _, told: _TYPES[stat.S_IFMT(told.mode)],
    "s": lambda _, told: str(told.size_bytes),
    "u": lambda _, told: str(told.uid),
    "g": lambda _, told: str(told.gid),
    "U": lambda _, told: stats.owner(told.uid),
    "G": lambda _, told: stats.owner(told.gid),
    "Y": lambda _, told: str(told.time_ns // 10**9),
}


async def run(command: Command) -> int:
    """``stat [-L] -c FORMAT FILE...``; ``readlink [-f] FILE...``. Inodes are not modelled."""
    if command.name == "readlink":
        return _readlink(command)
    args, follow, form = list(command.args), False, ""
    while args and args[0].startswith("-"):
        word = args.pop(0)
        if word == "-L":
            follow = True
        elif word in {"-c", "-Lc"} and args:
            follow, form = follow or "L" in word, args.pop(0)
        elif word.startswith("--format="):
            form = word.partition("=")[2]
        else:
            raise UsageError(f"option {word}: not modelled")
    if not form:
        raise UsageError("inodes and blocks are not modelled: use stat -c FORMAT")
    status = 0
    for name in args:
        path = command.path(name)
        try:
            told = stats.lstat(command, stats.resolve(command.env, path) if follow else path)
        except FileNotFoundError:
            quoted = f"can't stat '{name}'" if command.image.busybox else f"cannot stat '{name}'"
            status = command.fail(f"{quoted}: No such file or directory")
            continue
        command.out(_formatted(form, name, told) + "\n")
    return status


def _formatted(form: str, name: str, told: Stat) -> str:
    head, *parts = form.split("%")
    for part in parts:
        make = _FORMS.get(part[:1])
        if make is None:
            raise UsageError(f"%{part[:1]}: not modelled")
        head += make(name, told) + part[1:]
    return head


def _readlink(command: Command) -> int:
    status = 0
    for name in (arg for arg in command.args if not arg.startswith("-")):
        path = command.path(name)
        try:
            told = stats.lstat(command, path)
            if "-f" in command.args:
                command.out(f"{stats.resolve(command.env, path)}\n")
            elif told.target:
                command.out(f"{told.target}\n")
            else:
                status = 1
        except FileNotFoundError:
            status = 1
    return status
