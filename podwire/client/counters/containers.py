"""Counter 5: kubelet hands containers to the room that implements their image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from podwire.client.counters.sockets import Sockets


@dataclass(frozen=True, slots=True)
class ContainerUser:
    """Whose processes a container's are. Files belong to root in the model, whoever made them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    """Supplementary groups."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a runtime hands to a container: already resolved by kubelet."""

    id: str
    node: str
    netns: str
    namespace: str
    pod: str
    pod_uid: str
    pod_ip: str
    name: str
    image: str
    argv: tuple[str, ...]
    """command + args after $(VAR) expansion; empty: the image's own entrypoint."""
    has_command: bool = False
    """Whether the pod gives a ``command``; without one, argv are the entrypoint's arguments."""
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()
    """(containerPort, protocol) in order."""
    hostname: str = ""
    working_dir: str = "/"
    user: ContainerUser = ContainerUser()


class Process(Protocol):
    """What a modelled program sees of the world. One per running container (or exec)."""

    spec: ContainerSpec
    sockets: Sockets

    def out(self, line: str) -> None:
        """Write one line to stdout (the container's log)."""

    def err(self, line: str) -> None:
        """Write one line to stderr (the container's log)."""

    async def read_file(self, path: str) -> bytes:
        """A file of the container (volumes, /etc/resolv.conf, /etc/hosts). FileNotFoundError."""

    async def list_files(self, prefix: str) -> list[str]:
        """Sorted absolute paths of the container's files below a path (what ``ls`` can know)."""

    async def write_file(self, path: str, data: bytes) -> None:
        """Write a file; below a hostPath mount it lands on the node's disk."""

    async def remove_file(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError on a read-only mount."""

    async def terminated(self) -> str:
        """Wait for a signal ("TERM", "HUP" ...); KILL cancels the program instead.

        A program that never waits here ignores TERM, as process 1 of a container does.
        """

    def deliver(self, signal: str) -> None:
        """For the container host: a signal arrived."""


class Container(Protocol):
    """A started container, seen by kubelet."""

    async def wait(self) -> int:
        """The exit code, once it exited (137 after KILL, 143 after an unhandled TERM).

        Raises ConnectionError when the room that ran it is gone: the container is lost.
        """

    def signal(self, name: str) -> None:
        """Deliver "TERM", "HUP" or "KILL"."""


class ContainerHost(Protocol):
    """Counter 5: a room that implements images."""

    def implements(self, image: str) -> bool:
        """Whether this room is the implementation of an image reference."""

    async def available(self) -> None:
        """Wait until the room can start containers: at once where it is in the same process."""

    async def start(self, process: Process) -> Container:
        """Start the program. Raises OSError when the command does not exist, ConnectionError when
        the room is gone: the container is lost.
        """
