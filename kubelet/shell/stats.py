"""What commands know of a path: its type, mode, owner, size and time; where links lead."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Mapping
from typing import Protocol

from podwire.kubelet.files import DIRECTORY_BYTES, Stat
from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command
from podwire.runtime.civil import date_time

MAX_LINKS = 40
"""The kernel's limit (ELOOP)."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def lstat(command: Command, path: str) -> Stat:
    """Of an absolute path, a link at its end not followed. Raises FileNotFoundError."""
    env = command.env
    if env.lstat is not None:
        try:
            return env.lstat(path)
        except FileNotFoundError:
            if not folders.usual(path):
                raise
            return Stat(stat.S_IFDIR | 0o755, size_bytes=DIRECTORY_BYTES)
    try:
        return Stat(stat.S_IFREG | 0o644, size_bytes=len(env.read_file(path)))
    except FileNotFoundError:
        if not folders.exists(path, env.list_files):
            raise
    return Stat(stat.S_IFDIR | 0o755, size_bytes=DIRECTORY_BYTES)


class Linked(Protocol):
    """Who knows symbolic links (``ExecEnv``, ``kubelet.files.FileView``)."""

    @property
    def links(self) -> Callable[[str], Mapping[str, str]]:
        """Those below a path, with their targets."""


def resolve(env: Linked, path: str) -> str:
    """An absolute path without links. Raises OSError (ELOOP)."""
    done = ""
    rest = [part for part in path.split("/") if part]
    for _ in range(MAX_LINKS + len(rest)):
        if not rest:
            return done or "/"
        part = rest.pop(0)
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        target = env.links(done or "/").get(f"{done}/{part}")
        if target is None:
            done = f"{done}/{part}"
            continue
        if target.startswith("/"):
            done = ""
        rest = [word for word in target.split("/") if word not in {"", "."}] + rest
    raise OSError(errno.ELOOP, "Too many levels of symbolic links", path)


def owner(number: int) -> str:
    """A user's or group's name; its number where none is known."""
    return "root" if number == 0 else str(number)


def day(time_ns: int) -> str:
    """``Jan  2 15:04``, as ls tells of a recent change."""
    text = date_time(time_ns // 10**9)
    month = _MONTHS[int(text[5:7]) - 1] if time_ns else "Jan"
    return f"{month} {int(text[8:10]):2d} {text[11:16]}"
