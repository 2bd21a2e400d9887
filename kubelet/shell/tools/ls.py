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
            long = _long(command, [(told, name)])
            command.out(long if "l" in options else f"{name}\n")
            continue
        if len(names) > 1:
            blank = "\n" if name != names[0] and not command.image.busybox else ""
            command.out(f"{blank}{name}:\n")
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
    command.out(f"total {blocks}\n" + _long(command, told))


def _long(command: Command, listed: list[tuple[Stat, str]]) -> str:
    """Lines with columns as wide as busybox has them, or (GNU) as their content needs."""
    rows: list[tuple[str, ...]] = []
    for told, name in listed:
        links = "2" if stat.S_ISDIR(told.mode) else "1"
        arrow = f" -> {told.target}" if told.target else ""
        owners = stats.owner(told.uid), stats.owner(told.gid)
        when = stats.day(told.time_ns)
        rows.append(
            (stat.filemode(told.mode), links, *owners, str(told.size_bytes), when, name + arrow)
        )
    wide = [4, 8, 8, 9] if command.image.busybox else [
        max((len(row[i]) for row in rows), default=0) for i in (1, 2, 3, 4)
    ]  # fmt: skip
    return "".join(
        f"{mode} {links:>{wide[0]}} {user:{wide[1]}} {group:{wide[2]}} {size:>{wide[3]}} "
        f"{when} {name}\n"
        for mode, links, user, group, size, when, name in rows
    )
