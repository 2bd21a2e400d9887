"""Counter 6: what the API server asks of kubelets: exec, attach, logs, ports, names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from podwire.client.counters.api import Request, Response
from podwire.client.counters.fabric import ToolResult
from podwire.client.counters.sockets import Stream

KUBELET_ENDPOINT = "podwire.dev/kubelet-endpoint"
"""Annotation of a Node: where its kubelet serves counter 6 (``host:port``) when it is a process of
its own.
"""


class ExecSession(Protocol):
    """A running command in a container."""

    async def send_stdin(self, data: bytes) -> None:
        """Bytes for stdin; b"" closes it. Waits while the command has enough to read."""

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout bytes) and (2, stderr bytes) until both end."""

    async def wait(self) -> int:
        """The exit code. Raises ApiError when the command could not be started."""

    def cancel(self) -> None:
        """The client went away: kill the command (but not the program it is attached to)."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Query of the log subresource."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: str = ""
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Resolver:
    """How a pod (or node) resolves names, and from where."""

    node: str
    netns: str
    address: str
    resolv_conf: str
    hosts: str


class KubeletStreams(Protocol):
    """Counter 6: what the API server asks of the kubelet of a node.

    Raises ApiError for what the caller did wrong, ConnectionError when the kubelet is gone.
    """

    async def exec(
        self, node: str, namespace: str, pod: str, container: str, argv: Sequence[str], tty: bool
    ) -> ExecSession:
        """Start a command in a running container."""

    async def attach(
        self, node: str, namespace: str, pod: str, container: str, *, stdin: bool
    ) -> ExecSession:
        """Attach to a container's main program: what it prints from now on, and with ``stdin`` what
        it reads. The exit code is 0 once the client is let go.
        """

    async def port_forward(self, node: str, namespace: str, pod: str, port: int) -> Stream:
        """Connect to ``localhost:port`` in the pod's network namespace. An ApiError has the text
        of the error stream.
        """

    async def dial(self, node: str, address: str, port: int, timeout_s: float) -> Stream:
        """Connect from the node's own namespace, as a konnectivity agent there does for an API
        server that has no route to pods. ConnectionError has Go's words.
        """

    async def http(self, node: str, request: Request) -> Response:
        """A request to the kubelet's own port (10250)."""

    async def logs(
        self, node: str, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """The container's log."""

    async def resolver(self, node: str, namespace: str, pod: str) -> Resolver:
        """The pod's resolver set-up (pod "" is the node itself)."""

    async def run(self, node: str, argv: Sequence[str], stdin: bytes = b"") -> ToolResult:
        """Run a command on the node itself, to its end."""
