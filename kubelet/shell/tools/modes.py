"""chmod, chown and chgrp: who may do what with a file; told by ls and stat, and a script that is
to be run needs its ``x``. Nobody is kept from reading or writing.
"""

from __future__ import annotations

import re
import stat

from podwire.kubelet.files import Change, Stat
from podwire.kubelet.shell import folders, stats
from podwire.kubelet.shell.command import Command, UsageError

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_KNOWN = {"root": 0, "daemon": 1, "www-data": 33, "nginx": 101, "nobody": 65534, "nogroup": 65534}
"""Users and groups that images have; others have numbers only."""


async def run(command: Command) -> int:
    """``chmod MODE FILE...``, ``chown USER[:GROUP] FILE...``, ``chgrp GROUP FILE...``; ``-R``."""
    options = [
        a for a in command.args if re.fullmatch(r"-[Rcfvh]+|--recursive|--no-dereference", a)
    ]
    words = [arg for arg in command.args if arg not in options and arg != "--"]
    if len(words) < 2:
        raise UsageError("missing operand")
    recursive = any("R" in option or option == "--recursive" for option in options)
    status = 0
    for name in words[1:]:
        for path in _paths(command, name, recursive=recursive):
            try:
                found = stats.lstat(command, stats.resolve(command.env, path))
                command.env.change(path, _change(command, words[0], found))
            except FileNotFoundError:
                status = _missing(command, name)
            except OSError as error:
                status = _refused(command, name, error)
    return status


def _paths(command: Command, name: str, *, recursive: bool) -> list[str]:
    path = command.path(name)
    if not recursive:
        return [path]
    inside = folders.inside(path, command.env.list_files)
    below = [known.rstrip("/") for known in folders.below(path, inside)] if inside else []
    return [*dict.fromkeys([*below, *(known.rstrip("/") for known in inside), path])]


def _change(command: Command, wanted: str, found: Stat) -> Change:
    if command.name == "chmod":
        return Change(mode=_mode(wanted, found.mode))
    if command.spec.user.uid:
        raise PermissionError(1, "Operation not permitted")
    if command.name == "chgrp":
        return Change(gid=_number(wanted, "group"))
    user, colon, group = wanted.partition(":")
    return Change(
        uid=_number(user, "user") if user else None,
        gid=_number(group, "group") if colon and group else None,
    )


def _number(name: str, kind: str) -> int:
    number = int(name) if name.isascii() and name.isdigit() else _KNOWN.get(name)
    if number is None:
        raise UsageError(f"not modelled: which number the {kind} '{name}' has")
    return number


def _mode(text: str, mode: int) -> int:
    if re.fullmatch(r"[0-7]{1,4}", text):
        return int(text, 8)
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise UsageError(f"invalid mode: '{text}'")
        who = found[1].replace("a", "ugo") or "ugo"
        mask = 0
        for letter in who:
            mask |= _WHO[letter]
        for act, letters in re.findall(r"([-+=])([rwxXst]*)", found[2]):
            bits = 0
            for letter in letters:
                if letter == "X":
                    runs = stat.S_ISDIR(mode) or mode & 0o111
                    bits |= 0o111 if runs else 0
                else:
                    bits |= _BITS[letter]
            bits &= mask
            mode = (
                mode & ~mask | bits if act == "=" else mode | bits if act == "+" else mode & ~bits
            )
    return mode & 0o7777


def _missing(command: Command, name: str) -> int:
    if command.image.busybox:
        return command.fail(f"{name}: No such file or directory")
    return command.fail(f"cannot access '{name}': No such file or directory")


def _refused(command: Command, name: str, error: OSError) -> int:
    if command.image.busybox:
        return command.fail(f"{name}: {error.strerror}")
    doing = "permissions" if command.name == "chmod" else "ownership"
    return command.fail(f"changing {doing} of '{name}': {error.strerror}")
