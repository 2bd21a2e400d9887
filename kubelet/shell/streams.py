"""Where a command reads and writes, and how redirections change that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from podwire.client.counters import Stream
from podwire.kubelet.shell.command import Input, UsageError, input_of
from podwire.kubelet.shell.syntax import Redirect

Write = Callable[[bytes], None]
MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Streams:
    """File descriptors 0, 1 and 2, and those above that were opened for writing."""

    stdin: Input
    out: Write
    err: Write
    more: Mapping[int, Write] = field(default_factory=dict)


def discard(_data: bytes) -> None:
    """/dev/null."""


@dataclass(slots=True)
class _File:
    """A file being written: kept until the command ended."""

    path: str
    data: bytearray = field(default_factory=bytearray)
    written: int = -1
    """How many bytes were there when it was written last."""

    def write(self, data: bytes) -> None:
        if len(self.data) + len(data) > MAX_FILE_BYTES:
            raise UsageError(f"{self.path}: File too large")
        self.data += data


@dataclass(slots=True)
class Redirected:
    """Streams after redirections, and the files to write when the command has ended."""

    streams: Streams
    files: list[_File] = field(default_factory=list)
    connections: list[tuple[Stream, bytearray]] = field(default_factory=list)
    """bash's ``/dev/tcp``: what is to be sent when the command has ended."""

    async def flush(self, write_file: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Write the files. Raises UsageError."""
        for stream, data in self.connections:
            try:
                await stream.send(bytes(data))
                await stream.close()
            except OSError:
                stream.abort()
        self.connections.clear()
        for file in self.files:
            if file.written == len(file.data):
                continue
            file.written = len(file.data)
            try:
                await write_file(file.path, bytes(file.data))
            except OSError as error:
                raise UsageError(f"can't create {file.path}: {error.strerror or error}") from None


def redirect(
    streams: Streams,
    wanted: Sequence[tuple[Redirect, str]],
    absolute: Callable[[str], str],
    read_file: Callable[[str], bytes],
    connected: Mapping[str, Stream] = {},
) -> Redirected:
    """Apply redirections from left to right; ``connected`` has the streams behind ``/dev/tcp``.

    Raises UsageError.
    """
    connections: list[tuple[Stream, bytearray]] = []
    stdin = streams.stdin
    fds: dict[int, Write] = {1: streams.out, 2: streams.err, **streams.more}
    files: list[_File] = []
    for one, target in wanted:
        if one.fd > 2 and one.op in {"<", "<<", "<<<", "<&"} and target != "-":
            raise UsageError(f"not modelled: reading from file descriptor {one.fd}", 2)
        if one.op in {"<<", "<<<"}:
            text = target + "\n" * (one.op == "<<<")
            stdin = input_of(text.encode(errors="surrogateescape"))
        elif one.op in {">&", "<&"} and target == "-":
            fds.pop(one.fd, None)
            fds |= {fd: discard for fd in (1, 2) if fd not in fds}
        elif one.op in {">&", "<&"} and target.isdigit():
            if int(target) not in fds and int(target) != 0:
                raise UsageError(f"{target}: Bad file descriptor", 2)
            fds[one.fd] = fds.get(int(target), discard)
        elif one.op in {">", ">>", ">&"}:
            path = absolute(target)
            special = {"/dev/null": discard, "/dev/stdout": fds[1], "/dev/stderr": fds[2]}
            if path in special:
                fds[one.fd] = special[path]
                continue
            if path in connected:
                data = bytearray()
                connections.append((connected[path], data))
                fds[one.fd] = data.extend
                continue
            if path.startswith(("/dev/tcp/", "/dev/udp/")):
                raise UsageError(f"not modelled: {path}", 2)
            file = _File(path)
            if one.op == ">>":
                file.data += _existing(path, read_file)
            files.append(file)
            fds[one.fd] = file.write
        elif absolute(target) in connected:
            stream = connected[absolute(target)]
            connections.append((stream, bytearray()))
            stdin = Input(stream.recv)
        else:
            stdin = input_of(_required(target, absolute(target), read_file))
    more = {fd: write for fd, write in fds.items() if fd > 2}
    return Redirected(Streams(stdin, fds[1], fds[2], more), files, connections)


def _existing(path: str, read_file: Callable[[str], bytes]) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""


def _required(name: str, path: str, read_file: Callable[[str], bytes]) -> bytes:
    if path == "/dev/null":
        return b""
    try:
        return read_file(path)
    except FileNotFoundError:
        raise UsageError(f"can't open {name}: no such file", 1) from None
