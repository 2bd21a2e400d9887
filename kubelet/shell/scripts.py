"""Files that are commands: a script's first line names who runs it (``#!``, fs/binfmt_script.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Protocol

from podwire.kubelet.files import Stat, normal
from podwire.kubelet.shell import stats

MAX_LINE_BYTES = 255
"""BINPRM_BUF_SIZE, without its end."""
EXECUTABLE = 0o111


class Place(Protocol):
    """Where files lie: a container's view of them, or a command's surroundings."""

    @property
    def lstat(self) -> Callable[[str], Stat] | None:
        """What lies at a path; None where only content is known."""

    @property
    def links(self) -> Callable[[str], Mapping[str, str]]:
        """Symbolic links below a path."""


def words(path: str, cwd: str, read: Callable[[str], bytes], place: Place) -> list[str] | None:
    """What runs the file that a command word with a slash names: interpreter, its argument and
    the path; just the path where no first line says so; None when there is no such file.

    Raises PermissionError when it is not executable.
    """
    if "/" not in path:
        return None
    try:
        real = stats.resolve(place, normal(path if path.startswith("/") else f"{cwd}/{path}"))
        head = read(real)[: MAX_LINE_BYTES + 1]
    except OSError:
        return None
    if place.lstat is not None and not place.lstat(real).mode & EXECUTABLE:
        raise PermissionError(errno.EACCES, "permission denied", path)
    if not head.startswith(b"#!"):
        return [path]
    line = head[2:].partition(b"\n")[0].decode(errors="surrogateescape").strip(" \t\r")
    interpreter, _, argument = line.partition(" ")
    found = [interpreter, argument.strip()] if argument.strip() else [interpreter]
    if interpreter.endswith("/env") and len(found) > 1:
        found = [word for word in found[1].split() if word != "-S"]
    return [*found, path]
