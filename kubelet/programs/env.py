"""What a command in a container sees of the world: the seam between kubelet and the programs.

Kubelet builds one ``ExecEnv`` per ``exec`` (and exec probe, and lifecycle hook) and calls
``podwire.kubelet.programs.exec_command(env, argv)``; the program host builds one per container
from its ``Process``.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podwire.api.view import JSON
from podwire.client.counters import ContainerSpec, ExecSession, Fabric, LogOptions, Sockets
from podwire.kubelet.files import Change, Stat
from podwire.runtime.ports import Clock, Rng


async def no_stdin() -> bytes:
    """The stdin of a command that was given none: at its end at once."""
    return b""


async def no_wait() -> None:
    """The output of a command whose reader is never slow."""


def no_size() -> tuple[int, int]:
    """The size of no terminal."""
    return (0, 0)


def no_change(path: str, _change: Change) -> None:
    """Where modes and owners are not kept."""
    raise OSError(errno.EROFS, "Read-only file system", path)


def no_links(_prefix: str) -> Mapping[str, str]:
    """The links of a container that has none."""
    return {}


def no_processes(pid: int, name: str) -> None:
    """The signals of a command that sees no other process. Raises OSError."""
    if (pid, name) != (1, "0"):
        raise ProcessLookupError(errno.ESRCH, "No such process")


async def no_removal(path: str) -> None:
    """The files of a container that cannot be changed. Raises OSError."""
    raise OSError(errno.EROFS, "Read-only file system", path)


def no_files(_prefix: str) -> Sequence[str]:
    """The listing of a container whose files cannot be listed."""
    return ()


class NodeTools(Protocol):
    """What commands may ask of the node's kubelet and container runtime.

    Objects have the form of CRI's JSON (k8s.io/cri-api runtime/v1), as crictl prints it.
    """

    def pods(self) -> list[JSON]:
        """The pod sandboxes (``PodSandbox``)."""

    def containers(self) -> list[JSON]:
        """The containers (``Container``), ended ones included."""

    def images(self) -> list[JSON]:
        """The images on the node's disk (``Image``)."""

    def status(self, id: str) -> JSON:
        """``status`` (ContainerStatus, PodSandboxStatus) and ``info`` of an id. Raises KeyError."""

    def netns(self, pid: int) -> str | None:
        """The network namespace of a process by its id on the node; None: no such process."""

    def usage(self, id: str) -> tuple[int, int] | None:
        """Cores in units of 1e-9 and bytes that a container used in the last window; None for
        one that has not lived through it.
        """

    def memory(self) -> tuple[int, int]:
        """Bytes of memory: all and used."""

    def log(self, id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """A container's log. Raises KeyError."""

    def execute(self, id: str, argv: Sequence[str]) -> ExecSession:
        """Start a command in a running container. Raises KeyError."""

    def network_ready(self) -> bool:
        """Whether CNI is configured."""

    def journal(self) -> list[tuple[int, str]]:
        """Wall time in nanoseconds and line of what kubelet logged."""


@dataclass(slots=True)
class ExecEnv:
    """One command's surroundings. Files and sockets are the container's own."""

    spec: ContainerSpec
    sockets: Sockets
    fabric: Fabric
    clock: Clock
    rng: Rng
    read_file: Callable[[str], bytes]
    """A file of the container, by absolute path. Raises FileNotFoundError."""
    write_file: Callable[[str, bytes], Awaitable[None]]
    """Create or replace a file of the container."""
    write_stdout: Callable[[bytes], None]
    """Bytes as the command writes them; with a tty, stderr is written here too."""
    write_stderr: Callable[[bytes], None]
    read_stdin: Callable[[], Awaitable[bytes]] = no_stdin
    """The next bytes of stdin, b"" at its end (and ever after)."""
    list_files: Callable[[str], Sequence[str]] = no_files
    """Sorted absolute paths of the files below a path (what ``ls`` can know)."""
    remove_file: Callable[[str], Awaitable[None]] = no_removal
    """Remove a file of the container. Raises FileNotFoundError, OSError."""
    lstat: Callable[[str], Stat] | None = None
    """What lies at a path, links not followed; None where only content is known."""
    change: Callable[[str, Change], None] = no_change
    """Change mode or owner of a file. Raises OSError."""
    links: Callable[[str], Mapping[str, str]] = no_links
    """Symbolic links below a path, with their targets."""
    pid: int = 1
    """The command's number in its PID namespace (``/proc`` shows the others)."""
    kill: Callable[[int, str], None] = no_processes
    """Send a signal by name to a process. Raises OSError."""
    tty: bool = False
    size: Callable[[], tuple[int, int]] = no_size
    """Columns and rows of the terminal; (0, 0) until a client told."""
    drained: Callable[[], Awaitable[None]] = no_wait
    """Waits while too much output is unread: for those who print without end."""
    node: NodeTools | None = None
    """The node's kubelet and runtime; None for process 1 of a container."""
