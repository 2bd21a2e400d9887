"""Counter 2: the kernels and disks of all nodes, for their agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from podwire.dataplane.commands import Command
from podwire.dataplane.verdict import WalkAnswer, WalkRequest


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a command line tool printed, and its exit code."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The hardware facts of a node, as its kubelet finds them at boot."""

    name: str
    address: str
    mac: str
    boot_id: str
    machine_id: str
    cpus: int
    memory_bytes: int
    kernel_version: str
    address6: str = ""
    """Its IPv6 address in a dual-stack cluster."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All its addresses, the primary family's first."""
        return (self.address, self.address6) if self.address6 else (self.address,)


@dataclass(frozen=True, slots=True)
class Publication:
    """A real address that leads to a modelled one.

    ``name`` says what it is: ``dns``, ``nodePort default/frontend``, ``ingress http``. Addresses
    are ``host:port``; ``address`` is "" when it could not be published, and ``message`` says why.
    """

    name: str
    protocol: str
    """tcp or udp."""
    address: str
    modelled: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame that passed a device, as bytes (Ethernet). ``direction``: In | Out."""

    device: str
    direction: str
    data: bytes
    time_ns: int
    """Wall time."""


class Fabric(Protocol):
    """Counter 2: the kernels and disks of all nodes."""

    async def node(self, node: str) -> NodeInfo:
        """Facts of a node. Raises LookupError for an unknown one."""

    async def execute(self, node: str, commands: Sequence[Command]) -> None:
        """Run kernel commands in order on one node; stops at the first that fails.

        Raises dataplane.commands.CommandError with the kernel's own message.
        """

    async def execute_all(
        self, nodes: Sequence[str], commands: Sequence[Command]
    ) -> dict[str, str]:
        """``execute`` the same commands on each of several nodes. By node, what was raised where
        they failed: nothing is raised, and the other nodes are not held up.
        """

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        """Run a network tool (ip, iptables-save, conntrack, bridge, sysctl, ss ...) in a netns
        of a node ("" is the host's). Unknown tools exit 127.
        """

    def capture(self, node: str, netns: str, device: str) -> AsyncGenerator[CapturedFrame, None]:
        """Frames at a device of a namespace ("any": at all) until the iterator is closed. The first
        item has no data: the capture has begun. Who reads too slowly misses some. Raises
        LookupError when there is no such device.
        """

    async def read_file(self, node: str, path: str) -> bytes:
        """A file of the node's disk. Raises FileNotFoundError."""

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        """Create or replace a file of the node's disk."""

    async def remove_file(self, node: str, path: str) -> None:
        """Remove a file; harmless when absent."""

    async def list_files(self, node: str, prefix: str) -> list[str]:
        """Sorted paths below a prefix."""

    def watch_files(self, node: str, prefix: str) -> AsyncIterator[str]:
        """Paths below a prefix as they change; starts with those that exist."""

    async def walk(self, request: WalkRequest) -> WalkAnswer:
        """Walk a packet on a fork; leaves no counter and no conntrack entry behind."""

    async def ask_datagram(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        payload: bytes,
        timeout_s: float,
        draw: float | None = None,
    ) -> tuple[WalkAnswer, bytes | None]:
        """Send one UDP datagram on a fork to whichever program would get it and carry its answer
        back on the same fork: the walk there, and the reply payload (None: none came).
        ``draw`` picks the load-balancing branch, as in WalkRequest.
        """

    async def publications(self) -> list[Publication]:
        """The real addresses that lead into the network, in order of their modelled ones; none in
        virtual time.
        """
