"""find: names below folders, with the tests and actions that scripts use."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.ls import entries

MAX_FOUND = 100_000
Test = Callable[[str, bool], bool]
"""(path, whether it is a folder) -> whether it fits."""


@dataclass(slots=True)
class _Group:
    """One alternative (of ``-o``): tests that must all hold, and what is done then."""

    tests: list[Test] = field(default_factory=list)
    action: str = ""
    words: list[str] = field(default_factory=list)
    """Of ``-exec``."""
    together: bool = False
    found: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Query:
    """What to look for."""

    groups: list[_Group] = field(default_factory=lambda: [_Group()])
    least: int = 0
    most: int = 1000


async def run(command: Command) -> int:
    """``find [PATH...] [-name|-iname|-path GLOB] [-type f|d] [-maxdepth N] [-mindepth N]
    [! TEST] [-o] [-empty] [-size N] [-print|-print0|-delete|-exec COMMAND {} ;|+]``.
    """
    words = list(command.args)
    roots: list[str] = []
    while words and words[0][:1] not in {"-", "!", "("}:
        roots.append(words.pop(0))
    query = _query(command, words)
    if not any(group.action for group in query.groups):
        for group in query.groups:
            group.action = "print"
    status = 0
    for root in roots or ["."]:
        path = command.path(root)
        if entries(command, path) is None and path not in command.env.list_files(path):
            quoted = root if command.image.busybox else f"'{root}'"
            status = command.fail(f"{quoted}: No such file or directory")
            continue
        _walk(command, query, root, 0)
    for group in query.groups:
        status = await _act(command, group) or status
    return status


def _walk(command: Command, query: _Query, shown: str, depth: int) -> None:
    path = command.path(shown)
    inside = entries(command, path)
    folder = inside is not None
    if depth >= query.least:
        for group in query.groups:
            if all(test(shown, folder) for test in group.tests):
                group.found.append(shown)
                if len(group.found) > MAX_FOUND:
                    raise UsageError(f"not modelled: more than {MAX_FOUND} files")
                break
    if depth < query.most:
        for name in sorted(inside or {}):
            _walk(command, query, f"{shown.rstrip('/')}/{name}", depth + 1)


def _query(command: Command, words: list[str]) -> _Query:
    query, wanted = _Query(), True
    while words:
        word = words.pop(0)
        if word in {"!", "-not"}:
            wanted = not wanted
            continue
        if word in {"-o", "-or"}:
            query.groups.append(_Group())
        elif word in {"-print", "-print0", "-delete"}:
            query.groups[-1].action = word[1:]
        elif word in {"-exec", "-ok"}:
            _exec(query.groups[-1], words)
        elif word in {"-maxdepth", "-mindepth"}:
            number = words.pop(0) if words else ""
            if not number.isdigit():
                raise UsageError(f"invalid argument to {word}: {number}")
            if word == "-maxdepth":
                query.most = int(number)
            else:
                query.least = int(number)
        elif word not in {"-a", "-and", "-xdev", "-follow", "-L", "-depth"}:
            test = _test(command, word, words)
            query.groups[-1].tests.append(test if wanted else _not(test))
        wanted = True
    return query


def _not(test: Test) -> Test:
    return lambda path, folder: not test(path, folder)


def _exec(group: _Group, words: list[str]) -> None:
    group.action = "exec"
    while words and words[0] not in {";", "+"}:
        group.words.append(words.pop(0))
    if not words or not group.words:
        raise UsageError("missing argument to `-exec'")
    group.together = words.pop(0) == "+"


def _test(command: Command, word: str, words: list[str]) -> Test:
    if word == "-empty":
        return lambda path, folder: (
            not entries(command, command.path(path))
            if folder
            else not command.env.read_file(command.path(path))
        )
    if word not in {"-name", "-iname", "-path", "-wholename", "-type", "-size", "-ipath"}:
        raise UsageError(f"not modelled: {word}")
    if not words:
        raise UsageError(f"missing argument to `{word}'")
    text = words.pop(0)
    if word == "-type":
        return lambda _path, folder: text == ("d" if folder else "f")
    if word == "-size":
        return _size(command, text)

    def fits(path: str, _folder: bool) -> bool:
        name = path if "path" in word or "whole" in word else path.rstrip("/").rpartition("/")[2]
        if word[1] == "i":
            return fnmatch.fnmatchcase((name or "/").lower(), text.lower())
        return fnmatch.fnmatchcase(name or "/", text)

    return fits


def _size(command: Command, text: str) -> Test:
    sign, digits, unit = text[:1], text.strip("+-bckMG"), text[-1:]
    if not digits.isdigit():
        raise UsageError(f"Invalid argument `{text}' to -size")
    scale = {"c": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit, 512)
    wanted = int(digits)

    def fits(path: str, folder: bool) -> bool:
        size = 4096 if folder else len(command.env.read_file(command.path(path)))
        units = -(-size // scale)
        return {"+": units > wanted, "-": units < wanted}.get(sign, units == wanted)

    return fits


async def _act(command: Command, group: _Group) -> int:
    if group.action in {"print", "print0"}:
        end = "\0" if group.action == "print0" else "\n"
        command.out("".join(f"{path}{end}" for path in group.found))
    elif group.action == "delete":
        return await _delete(command, group)
    elif group.together:
        words = [word for word in group.words if word != "{}"]
        if group.found and await command.runner.run_argv([*words, *group.found], command):
            return 1
    else:
        for path in group.found:
            words = [word.replace("{}", path) for word in group.words]
            await command.runner.run_argv(words, command)
    return 0


async def _delete(command: Command, group: _Group) -> int:
    status = 0
    for shown in reversed(group.found):  # what lies in a folder before it
        path = command.path(shown)
        inside = entries(command, path)
        why = "Directory not empty" if inside else ""
        try:
            if not inside:
                await command.env.remove_file(path if inside is None else f"{path}/")
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            quoted = shown if command.image.busybox else f"cannot delete '{shown}'"
            status = command.fail(f"{quoted}: {why}")
    return status
