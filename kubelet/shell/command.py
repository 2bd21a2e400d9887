"""A running command: its words, its streams, its surroundings. What every tool is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from podwire.client.counters import ContainerSpec
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.shell import folders
from podwire.runtime.tasks import Event

if TYPE_CHECKING:
    from podwire.kubelet.shell.streams import Streams
    from podwire.kubelet.shell.syntax import Node

MAX_PIPE_BYTES = 4 * 1024 * 1024
"""What a pipe or a ``$(...)`` may hold unread."""

Tool = Callable[["Command"], Awaitable[int]]
"""A command: runs until it returns its exit code."""


SIGPIPE = 141
"""The exit code of a command that wrote to a pipe which nobody reads."""


class ClosedPipeError(Exception):
    """The reader of a pipe is gone: the writing command ends with ``SIGPIPE``."""


class UsageError(Exception):
    """A tool was called wrongly; printed as ``NAME: MESSAGE``, exit code ``code``."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Input:
    """Bytes to read by line or whole; ``fetch`` gives more, b"" at the end."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        self._fetch = fetch
        self._buffer = bytearray()
        self._ended = False

    async def some(self) -> bytes:
        """What is there, or the next bytes; b"" at the end."""
        if not self._buffer and not self._ended:
            await self._more()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def _more(self) -> None:
        data = await self._fetch()
        self._ended = not data
        self._buffer += data

    async def line(self) -> bytes:
        """A line with its newline, the rest without one, or b"" at the end."""
        return await self.until(b"\n")

    async def until(self, end: bytes) -> bytes:
        """Bytes up to one that ends them, or to the end."""
        while (at := self._buffer.find(end)) < 0 and not self._ended:
            await self._more()
        return self._cut(at + 1 if at >= 0 else len(self._buffer))

    async def upto(self, size: int) -> bytes:
        """So many bytes of a line, or all to its end."""
        while len(self._buffer) < size and b"\n" not in self._buffer and not self._ended:
            await self._more()
        at = self._buffer.find(b"\n", 0, size)
        return self._cut(at + 1 if at >= 0 else min(size, len(self._buffer)))

    def _cut(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def all(self) -> bytes:
        """Everything up to the end."""
        while not self._ended:
            await self._more()
            if len(self._buffer) > MAX_PIPE_BYTES:
                raise UsageError("input too large: not modelled")
        return await self.some()


def input_of(data: bytes) -> Input:
    """An input that holds just these bytes."""
    rest = [data]

    async def fetch() -> bytes:
        return rest.pop() if rest else b""

    return Input(fetch)


class Pipe:
    """Bytes from one command to another (or into ``$(...)``)."""

    def __init__(self) -> None:
        self._chunks = bytearray()
        self._news = Event()
        self._ended = False
        self._reader_gone = False

    def write(self, data: bytes) -> None:
        """Add bytes. Raises ClosedPipeError, UsageError when far too much waits unread."""
        if self._reader_gone:
            raise ClosedPipeError
        self._chunks += data
        if len(self._chunks) > MAX_PIPE_BYTES:
            raise UsageError("more than 4 MiB wait in a pipe: not modelled")
        self._news.set()

    def end(self) -> None:
        """No more bytes will come."""
        self._ended = True
        self._news.set()

    def leave(self) -> None:
        """The reader goes away."""
        self._reader_gone = True

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        while not self._chunks and not self._ended:
            self._news.clear()
            await self._news.wait()
        return self.taken()

    def taken(self) -> bytes:
        """What is there now."""
        data = bytes(self._chunks)
        self._chunks.clear()
        return data


class Interactive(Protocol):
    """A shell that is fed node by node."""

    dialect: str
    """Of ``lexer.py``."""

    @property
    def cwd(self) -> str:
        """The working directory."""

    @property
    def status(self) -> int:
        """``$?``."""

    async def run_foreground(self, node: Node, streams: Streams) -> int:
        """Run a node; Ctrl-C on the terminal ends it."""


class Runner(Protocol):
    """What a tool may ask of the shell that runs it."""

    async def run_argv(self, argv: Sequence[str], command: Command) -> int:
        """Run another command with this one's streams (``env``, ``timeout``, ``xargs``)."""

    async def run_script(self, text: str, name: str, args: Sequence[str], command: Command) -> int:
        """Run a script in a fresh shell with this command's streams (``sh -c``)."""

    def fresh_shell(self, name: str, args: Sequence[str], command: Command) -> Interactive:
        """A new shell process with this command's environment."""


class Command:
    """One command while it runs."""

    def __init__(
        self,
        argv: Sequence[str],
        env: ExecEnv,
        image: Image,
        runner: Runner | Callable[[], Runner],
        variables: Mapping[str, str],
        stdin: Input,
        out: Callable[[bytes], None],
        err: Callable[[bytes], None],
        cwd: str = "/",
        signals: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.argv = list(argv)
        self.env = env
        self.image = image
        self._runner = runner
        self.variables = variables
        self.stdin = stdin
        self.write_out = out
        self.write_err = err
        self.cwd = cwd
        self.signals = signals
        """Waits for the next signal; None: no signal ever reaches this command."""

    @property
    def runner(self) -> Runner:
        """The shell that runs it; process 1 has one only once it asks."""
        if callable(self._runner):
            self._runner = self._runner()
        return self._runner

    @property
    def name(self) -> str:
        """The command as called, without its path."""
        return self.argv[0].rpartition("/")[2]

    @property
    def args(self) -> list[str]:
        """The words after the command."""
        return self.argv[1:]

    @property
    def spec(self) -> ContainerSpec:
        """The container's specification."""
        return self.env.spec

    def out(self, text: str) -> None:
        """Write to stdout."""
        self.write_out(text.encode(errors="surrogateescape"))

    def err(self, text: str) -> None:
        """Write to stderr."""
        self.write_err(text.encode(errors="surrogateescape"))

    def fail(self, message: str, code: int = 1) -> int:
        """Write ``NAME: MESSAGE`` to stderr; the exit code."""
        self.err(f"{self.name}: {message}\n")
        return code

    def path(self, name: str) -> str:
        """A file name as an absolute path."""
        parts: list[str] = []
        for part in (name if name.startswith("/") else f"{self.cwd}/{name}").split("/"):
            if part == "..":
                parts[-1:] = []
            elif part not in {"", "."}:
                parts.append(part)
        return "/" + "/".join(parts)

    def read_file(self, name: str) -> bytes:
        """A file's bytes. Raises UsageError in the words of the tools."""
        try:
            return b"" if self.path(name) == "/dev/null" else self.env.read_file(self.path(name))
        except FileNotFoundError:
            if folders.exists(self.path(name), self.env.list_files):
                raise UsageError(f"{name}: Is a directory") from None
            raise UsageError(f"{name}: No such file or directory") from None
        except IsADirectoryError:
            raise UsageError(f"{name}: Is a directory") from None

    async def load(self, name: str) -> bytes:
        """A file's bytes, those of /proc as the kernel tells them. Raises UsageError."""
        path = self.path(name).replace("/proc/self/", f"/proc/{self.env.pid}/")
        if path.startswith("/proc/") and path in self.env.list_files("/proc"):
            return self.env.read_file(path)
        if not path.startswith(("/proc/", "/sys/class/net/")):
            return self.read_file(name)
        spec = self.spec
        result = await self.env.fabric.tool(spec.node, spec.netns, ["cat", path])
        if result.code:
            if path.startswith("/proc/net/"):
                raise UsageError(f"{name}: not modelled")
            raise UsageError(f"{name}: No such file or directory")
        return result.stdout.encode()

    async def inputs(self, names: Sequence[str], words: str = "{}") -> list[tuple[str, bytes]]:
        """(name, content) of each file, or of stdin when none is named. Raises UsageError with
        the name in ``words`` (what GNU's tools say; busybox's say just the name).
        """
        found = []
        for name in names or ["-"]:
            try:
                data = await self.stdin.all() if name == "-" else await self.load(name)
            except UsageError as error:
                if self.image.busybox or not str(error).startswith(f"{name}: "):
                    raise
                rest = str(error).removeprefix(name)
                raise UsageError(words.format(name) + rest, error.code) from None
            found.append((name, data))
        return found
