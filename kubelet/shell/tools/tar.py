"""tar: ustar archives with GNU and pax long names, to and from files and stdio (``kubectl cp``).

Links are not modelled.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from podwire.kubelet.shell import folders
from podwire.kubelet.shell.command import Command, Input, UsageError, input_of

BLOCK, RECORD = 512, 10_240
MAX_MEMBER_BYTES = 64 * 1024 * 1024
MAX_NAMES_BYTES = 64 * 1024
_LONG = {"same-permissions", "same-owner", "no-same-permissions", "no-same-owner", "touch",
         "preserve-permissions", "numeric-owner", "overwrite", "warning"}  # fmt: skip
_WITH_VALUE = {"file": "f", "directory": "C", "exclude": "X"}
_LONG_MODES = {"create": "c", "extract": "x", "get": "x", "list": "t"}


@dataclass(slots=True)
class _Wanted:
    mode: str = ""
    file: str = "-"
    verbose: bool = False
    strip: int = 0
    folder: str = ""
    names: list[str] = field(default_factory=list)


def _long(word: str, rest: list[str], wanted: _Wanted) -> None:
    name, equals, value = word[2:].partition("=")
    if name in _LONG_MODES:
        wanted.mode = _LONG_MODES[name]
    elif name in _WITH_VALUE:
        value = value if equals else rest.pop(0) if rest else ""
        if name == "file":
            wanted.file = value
        elif name == "directory":
            wanted.folder = value
        else:
            raise UsageError("--exclude is not modelled", 2)
    elif name == "strip-components" and value.isdecimal():
        wanted.strip = int(value)
    elif name == "verbose":
        wanted.verbose = True
    elif name not in _LONG:
        raise UsageError(f"unrecognized option '{word}'", 2)


def _parse(args: list[str]) -> _Wanted:
    """The options; the first word may lack its dash. Raises UsageError."""
    wanted, rest, first = _Wanted(), list(args), True
    while rest:
        word = rest.pop(0)
        if word == "--":
            wanted.names += rest
            break
        if word.startswith("--"):
            _long(word, rest, wanted)
        elif first or (word.startswith("-") and word != "-"):
            for letter in word.lstrip("-"):
                if letter in "cxt":
                    wanted.mode = letter
                elif letter in "fC":
                    if not rest:
                        raise UsageError(f"option requires an argument -- '{letter}'", 64)
                    value = rest.pop(0)
                    wanted.file = value if letter == "f" else wanted.file
                    wanted.folder = value if letter == "C" else wanted.folder
                elif letter == "v":
                    wanted.verbose = True
                elif letter in "zjJ":
                    raise UsageError("compressed archives are not modelled", 2)
                elif letter not in "mpokhS":
                    raise UsageError(f"invalid option -- '{letter}'", 64)
        else:
            wanted.names.append(word)
        first = False
    if not wanted.mode:
        raise UsageError("You must specify one of the '-Acdtrux', '--delete' options", 2)
    return wanted


async def run(command: Command) -> int:
    """``tar {c|x|t}[vmp]f ARCHIVE [-C DIR] [NAMES...]``."""
    wanted = _parse(command.args)
    if wanted.folder:
        command.cwd = command.path(wanted.folder)
        if wanted.mode == "c" and not _is_folder(command, command.cwd):
            return command.fail(f"{wanted.folder}: Cannot open: No such file or directory", 2)
    if wanted.mode == "c":
        return await _create(command, wanted)
    source = command.stdin if wanted.file == "-" else input_of(command.read_file(wanted.file))
    return await _read(command, wanted, source)


# ---------------------------------------------------------------- c


def _is_folder(command: Command, path: str) -> bool:
    return folders.exists(path, command.env.list_files)


def _members(command: Command, name: str) -> list[tuple[str, bytes | None]]:
    """(name in the archive, content; None for a directory) of what a name stands for."""
    path = command.path(name)
    files = list(command.env.list_files(path))
    shown = name.rstrip("/") or "."
    if files == [path]:
        return [(shown, command.env.read_file(path))]
    if not files and not folders.usual(path):
        return []
    found: dict[str, bytes | None] = {f"{shown}/": None}
    cut = len(path.rstrip("/")) + 1
    for file in files:
        parts = file[cut:].split("/")
        for depth in range(1, len(parts)):
            found.setdefault(f"{shown}/{'/'.join(parts[:depth])}/", None)
        if not parts[-1]:
            continue  # a folder
        found[f"{shown}/{file[cut:]}"] = command.env.read_file(file)
    return list(found.items())


async def _create(command: Command, wanted: _Wanted) -> int:
    if not wanted.names:
        return command.fail("Cowardly refusing to create an empty archive", 2)
    archive, warned, code, size = bytearray(), False, 0, 0
    mtime = command.env.clock.now_ns() // 10**9
    for name in wanted.names:
        members = _members(command, name)
        if not members:
            code = 1 if command.image.busybox else 2
            why = "" if command.image.busybox else "Cannot stat: "
            command.fail(f"{name}: {why}No such file or directory")
        for member, data in members:
            if member.startswith("/") and not warned:
                warned = True
                words = ("removing", "'") if command.image.busybox else ("Removing", "`")
                command.fail(f"{words[0]} leading {words[1]}/' from member names")
            block = _block(member.lstrip("/") or "./", data, mtime)
            size += len(block)
            if wanted.verbose:
                (command.err if wanted.file == "-" else command.out)(f"{member}\n")
            if wanted.file == "-":
                command.write_out(block)
                await command.env.drained()
            else:
                archive += block
    end = bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)
    if wanted.file == "-":
        command.write_out(end)
    else:
        await command.env.write_file(command.path(wanted.file), bytes(archive) + end)
    if code:
        late = "error exit delayed from previous errors"
        gnu = "Exiting with failure status due to previous errors"
        command.fail(late if command.image.busybox else gnu)
    return code


def _block(name: str, data: bytes | None, mtime: int) -> bytes:
    info = tarfile.TarInfo(name.rstrip("/") or ".")
    info.mtime, info.uname, info.gname = mtime, "root", "root"
    if data is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info.tobuf(tarfile.GNU_FORMAT)
    info.size = len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


# ---------------------------------------------------------------- x and t


class _Blocks:
    """An archive's bytes, so many at a time."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._buffer = bytearray()

    async def take(self, size: int) -> bytes:
        """That many bytes, or fewer at the end."""
        while len(self._buffer) < size and (data := await self._source.some()):
            self._buffer += data
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def rest(self) -> None:
        """Read to the end: whoever writes must not meet a closed pipe."""
        self._buffer.clear()
        while await self._source.some():
            pass


async def _members_of(blocks: _Blocks) -> AsyncIterator[tuple[tarfile.TarInfo, bytes]]:
    """The members of an archive. Raises UsageError for what is none."""
    long_name, first = "", True
    while len(head := await blocks.take(BLOCK)) == BLOCK and head.strip(b"\0"):
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            why = "This does not look like a tar archive" if first else "Skipping to next header"
            raise UsageError(why, 2) from None
        first = False
        named = info.type in {tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE}
        if info.size > (MAX_NAMES_BYTES if named else MAX_MEMBER_BYTES):
            raise UsageError(f"{info.name}: File too large", 2)
        data = (await blocks.take(info.size + -info.size % BLOCK))[: info.size]
        if len(data) < info.size:
            raise UsageError("Unexpected EOF in archive", 2)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type == tarfile.XHDTYPE:
            long_name = _pax_path(data) or long_name
        elif info.type != tarfile.XGLTYPE:
            info.name, long_name = long_name or info.name, ""
            yield info, data
    if first and 0 < len(head) < BLOCK:
        raise UsageError("This does not look like a tar archive", 2)


def _pax_path(data: bytes) -> str:
    """The ``path`` of a pax header: records ``LENGTH KEY=VALUE`` and a newline."""
    at, path = 0, ""
    while at < len(data):
        digits, _, _ = data[at:].partition(b" ")
        if not digits.isdigit() or not int(digits):
            break
        record = data[at : at + int(digits)]
        key, _, value = record[len(digits) + 1 :].rstrip(b"\n").partition(b"=")
        if key == b"path":
            path = value.decode("utf-8", "surrogateescape")
        at += int(digits)
    return path


async def _read(command: Command, wanted: _Wanted, source: Input) -> int:
    blocks, code = _Blocks(source), 0
    async for info, data in _members_of(blocks):
        name = "/".join(info.name.split("/")[wanted.strip :])
        if not name or not _chosen(info.name, wanted.names):
            continue
        if wanted.verbose or wanted.mode == "t":
            command.out(f"{name}{'/' if info.isdir() else ''}\n")
        if wanted.mode == "t":
            continue
        if ".." in name.split("/"):
            code = command.fail(f"{name}: Member name contains '..', skipping", 2)
        elif not info.isreg() and not info.isdir():
            code = command.fail(f"{name}: links and devices are not modelled", 2)
        else:
            path = command.path(name.lstrip("/"))
            try:
                if not info.isdir():
                    await command.env.write_file(path, data)
                elif not _is_folder(command, path):
                    await command.env.write_file(f"{path}/", b"")
            except OSError as error:
                code = command.fail(f"{name}: Cannot open: {error.strerror or error}", 2)
    await blocks.rest()
    return code


def _chosen(name: str, names: list[str]) -> bool:
    return not names or any(name == n or name.startswith(f"{n.rstrip('/')}/") for n in names)
