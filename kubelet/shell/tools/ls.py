"""ls: the files that are known, with their modes, owners, sizes and times."""

from __future__ import annotations

import stat

from podwire.kubelet.files import Stat
from podwire.kubelet.shell import folders, stats
from podwire.kubelet.shell.command import Command


def entries(command: Command, path: str) -> dict[str, bool] | None:
    """Names directly below a directory (True: a directory itself); None when there is none."""
    base = path.rstrip("/") + "/"
    found: dict[str, bool] = dict.fromkeys(folders.NAMES, True) if path == "/" else {}
    there = folders.usual(path)
    for known in command.env.list_files(path):
        if known.startswith(base):
            there = True
            name, slash, _ = known[len(base) :].partition("/")
            if name:
                found[name] = bool(slash) or found.get(name, False)
    for known in command.env.links(path):
        name, slash, _ = known[len(base) :].partition("/")
        if not slash:
            found.setdefault(name, False)
    return found if found or there else None


async def run(command: Command) -> int:
    """``ls [-1alhdR] [PATH...]``; recursion is not modelled."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-"))
    names = [arg for arg in command.args if not arg.startswith("-")] or ["."]
    status = 0
    for name in names:
        path = command.path(name)
        inner = path
        if "l" not in options or name.endswith("/"):
            inner = stats.resolve(command.env, path)
        found = entries(command, inner)
        if found is None or "d" in options:
            try:
                told = stats.lstat(command, path)
            except FileNotFoundError:
                text = f"cannot access '{name}'" if not command.image.busybox else name
                status = command.fail(f"{text}: No such file or directory", 2)
                continue
            command.out(_long(told, name) if "l" in options else f"{name}\n")
            continue
        if len(names) > 1:
            command.out(f"{name}:\n")
        _folder(command, inner, found, options)
    return status


def _folder(command: Command, path: str, found: dict[str, bool], options: str) -> None:
    shown = sorted(key for key in found if "a" in options or not key.startswith("."))
    if "a" in options:
        shown = [".", "..", *shown]
    if "l" not in options:
        command.out("".join(f"{entry}\n" for entry in shown))
        return
    told = [(stats.lstat(command, command.path(f"{path}/{entry}")), entry) for entry in shown]
    blocks = sum(-(-each.size_bytes // 4096) * 4 for each, _ in told if not each.target)
    command.out(f"total {blocks}\n" + "".join(_long(each, entry) for each, entry in told))


def _long(told: Stat, name: str) -> str:
    links = 2 if stat.S_ISDIR(told.mode) else 1
    arrow = f" -> {told.target}" if told.target else ""
    return (
        f"{stat.filemode(told.mode)} {links:4} {stats.owner(told.uid):8} {stats.owner(told.gid):8} "
        f"{told.size_bytes:9} {stats.day(told.time_ns)} {name}{arrow}\n"
    )
