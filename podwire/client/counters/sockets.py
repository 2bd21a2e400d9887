"""Counter 3: TCP, UDP and SCTP of a network namespace, for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Stream(Protocol):
    """A TCP connection, or an SCTP association: then each ``send`` and ``recv`` is one message."""

    local: tuple[str, int]
    remote: tuple[str, int]

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises BrokenPipeError, ConnectionResetError."""

    async def recv(self) -> bytes:
        """The next bytes, b"" at end of stream. Raises ConnectionResetError, TimeoutError."""

    async def close(self) -> None:
        """Send FIN (SHUTDOWN) after what was sent; returns at once."""

    def abort(self) -> None:
        """Send RST (ABORT)."""


class Listener(Protocol):
    """A listening TCP or SCTP socket."""

    local: tuple[str, int]

    async def accept(self) -> Stream:
        """The next established connection. Raises OSError after close."""

    def close(self) -> None:
        """Stop listening."""


class Datagrams(Protocol):
    """A UDP socket."""

    local: tuple[str, int]

    async def send_to(self, data: bytes, address: str, port: int) -> None:
        """Send one datagram."""

    async def recv_from(self) -> tuple[bytes, str, int]:
        """The next datagram with its source. Raises ConnectionRefusedError when an ICMP port
        unreachable came back for something this socket sent.
        """

    def close(self) -> None:
        """Release the port."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet whose answer tells of the way: what ping, traceroute, tracepath and mtr send.

    ``protocol``: icmp (an echo request) | udp | tcp (a SYN). ``source_port`` 0 picks one;
    ``sequence`` is the echo's. ``size_bytes`` counts the IP header. Without ``dont_fragment`` a
    packet larger than the path's MTU is fragmented on its way.
    """

    address: str
    protocol: str = "icmp"
    port: int = 0
    source_port: int = 0
    sequence: int = 1
    ttl: int = 64
    size_bytes: int = 84
    dont_fragment: bool = True


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What came back. ``kind``: echo | time-exceeded | unreachable (``code`` is ICMP's) | too-big |
    open (a SYN-ACK or a datagram) | closed (a RST).

    ``address`` and ``ttl`` are those of the answer; "" when the own kernel refused a packet that
    is larger than ``mtu_bytes`` before it left.
    """

    kind: str
    address: str
    seconds: float
    ttl: int = 64
    code: int = 0
    mtu_bytes: int = 0


class Sockets(Protocol):
    """Counter 3: sockets of one network namespace (``netns`` "" is the node's own)."""

    async def listen(self, node: str, netns: str, address: str, port: int) -> Listener:
        """Listen on TCP. ``address`` "" is any. Raises OSError (EADDRINUSE)."""

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> Stream:
        """Connect by TCP. Raises ConnectionRefusedError, TimeoutError,
        OSError(ENETUNREACH | EHOSTUNREACH).
        """

    async def bind_udp(self, node: str, netns: str, address: str = "", port: int = 0) -> Datagrams:
        """Bind UDP; port 0 picks an ephemeral one. Raises OSError (EADDRINUSE)."""

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> Listener:
        """Listen on SCTP. ``address`` "" is any. Raises OSError (EADDRINUSE)."""

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> Stream:
        """Make an association. Raises as ``connect``."""

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """Send one packet and wait for what it causes. Raises TimeoutError when nothing comes
        back, OSError (ENETUNREACH ...) when the packet cannot be sent.
        """

    def owned_by(self, owner: str) -> Sockets:
        """The same counter for one process: sockets opened there belong to ``owner`` (a
        container's id, say) and close together when it exits.
        """

    def release(self, owner: str) -> None:
        """``owner`` exited: its sockets close as a kernel closes them (listeners vanish,
        connections send FIN, or RST when data lies unread).
        """
