"""Counter 3: the sockets of all namespaces of all nodes."""

from __future__ import annotations

import asyncio
import errno
from typing import Protocol

from podwire.client.counters import Probe, ProbeAnswer
from podwire.dataplane.packet import Packet
from podwire.fabric.associations import SctpListener, SctpSocket
from podwire.fabric.icmp import os_error
from podwire.fabric.space import Space
from podwire.fabric.streams import TcpListener, TcpSocket
from podwire.fabric.udp import UdpSocket
from podwire.runtime.ports import Clock, Rng


class SocketHardware(Protocol):
    """What sockets need from the kernels below them."""

    def require_netns(self, node: str, netns: str) -> None:
        """Raises OSError (ENODEV, ENOENT) when the node or the namespace does not exist."""

    def route(self, node: str, netns: str, address: str) -> tuple[str, int]:
        """Source address and path MTU toward an address. Raises OSError (ENETUNREACH ...)."""

    def translate(self, node: str, netns: str, packet: Packet) -> tuple[str, int]:
        """Where programs at connect() send a socket. Raises OSError (EHOSTUNREACH)."""

    def heard_from(
        self, node: str, netns: str, port: int, source: str, source_port: int
    ) -> tuple[str, int]:
        """Whom a datagram socket thinks it hears from (recvmsg)."""

    def send(self, node: str, netns: str, packet: Packet) -> None:
        """Output of a locally made packet. Raises OSError when routing refuses it."""

    def open_socket(
        self,
        node: str,
        netns: str,
        protocol: str,
        address: str,
        port: int,
        remote: str = "",
        remote_port: int = 0,
    ) -> None:
        """Tell the kernel of a socket. Raises OSError (EADDRINUSE)."""

    def close_socket(
        self,
        node: str,
        netns: str,
        protocol: str,
        address: str,
        port: int,
        remote: str = "",
        remote_port: int = 0,
    ) -> None:
        """Undo ``open_socket``."""


class SocketLayer:
    """Implements ``counters.Sockets``; one ``Space`` per namespace, made on first use."""

    def __init__(self, clock: Clock, rng: Rng, hardware: SocketHardware) -> None:
        self.clock = clock
        self.rng = rng
        self.hardware = hardware
        self._spaces: dict[tuple[str, str], Space] = {}
        self._used_by: dict[str, dict[Space, None]] = {}
        """Where each owner has opened sockets."""

    # ------------------------------------------------------------ the counter

    async def listen(
        self, node: str, netns: str, address: str, port: int, owner: str = ""
    ) -> TcpListener:
        """Listen on TCP; port 0 picks one. Raises OSError (EADDRINUSE)."""
        return self._require(node, netns, owner).listen(address, port, owner)

    async def connect(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        timeout_s: float,
        source_port: int = 0,
        owner: str = "",
    ) -> TcpSocket:
        """Connect by TCP. Raises ConnectionRefusedError, TimeoutError,
        OSError(ENETUNREACH | EHOSTUNREACH | EADDRNOTAVAIL).
        """
        socket = self._require(node, netns, owner).connect(address, port, source_port, owner)
        await self._opened(socket, timeout_s)
        return socket

    async def listen_sctp(
        self, node: str, netns: str, address: str, port: int, owner: str = ""
    ) -> SctpListener:
        """Listen on SCTP; port 0 picks one. Raises OSError (EADDRINUSE)."""
        return self._require(node, netns, owner).sctp.listen(address, port, owner)

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, owner: str = ""
    ) -> SctpSocket:
        """Make an association. Raises as ``connect``."""
        socket = self._require(node, netns, owner).sctp.connect(address, port, owner)
        await self._opened(socket, timeout_s)
        return socket

    async def _opened(self, socket: TcpSocket | SctpSocket, timeout_s: float) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        socket.opened = opened
        timer = self.clock.call_later(timeout_s, _give_up, socket)
        try:
            socket.settle()
            await opened
        except asyncio.CancelledError:
            socket.abort()
            raise
        finally:
            timer.cancel()

    async def bind_udp(
        self, node: str, netns: str, address: str = "", port: int = 0, owner: str = ""
    ) -> UdpSocket:
        """Bind UDP; port 0 picks an ephemeral one. Raises OSError (EADDRINUSE)."""
        return self._require(node, netns, owner).bind_udp(address, port, owner)

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """Send one packet and wait for what it causes. Raises TimeoutError, OSError."""
        space = self._require(node, netns)
        answered: asyncio.Future[ProbeAnswer] = asyncio.get_running_loop().create_future()
        sent = space.probes.start(probe, answered)
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        finally:
            space.probes.end(sent)

    def owned_by(self, owner: str) -> OwnedSockets:
        """The counter for one process."""
        return OwnedSockets(self, owner)

    def release(self, owner: str) -> None:
        """``owner`` exited: its sockets close as a kernel closes them."""
        for space in self._used_by.pop(owner, {}):
            space.release(owner)

    # ------------------------------------------------------------ for the hardware

    def deliver(self, node: str, netns: str, packet: Packet) -> None:
        """The kernel delivers a packet to this namespace."""
        space = self._spaces.get((node, netns))
        if space is not None:
            space.deliver(packet)

    def reset_owner(self, owner: str) -> None:
        """Abort every socket of an owner (its kubelet is gone)."""
        for space in self._used_by.pop(owner, {}):
            space.reset(owner)

    def reset_netns(self, node: str, netns: str) -> None:
        """Abort every socket of a namespace, before it goes."""
        space = self._spaces.pop((node, netns), None)
        if space is not None:
            space.reset()

    def reset_node(self, node: str) -> None:
        """Abort every socket of a node (power is off: nobody hears the RST)."""
        for key in [key for key in self._spaces if key[0] == node]:
            self.reset_netns(*key)

    def space(self, node: str, netns: str) -> Space | None:
        """The sockets of a namespace, if it has had any."""
        return self._spaces.get((node, netns))

    def spaces(self) -> list[Space]:
        """All namespaces that have had sockets, in order of first use."""
        return list(self._spaces.values())

    def _require(self, node: str, netns: str, owner: str = "") -> Space:
        space = self._spaces.get((node, netns))
        if space is None:
            self.hardware.require_netns(node, netns)
            space = self._spaces[node, netns] = Space(self, node, netns)
        if owner:
            self._used_by.setdefault(owner, {})[space] = None
        return space


def _give_up(socket: TcpSocket | SctpSocket) -> None:
    socket.conn.abort(os_error(errno.ETIMEDOUT))
    socket.settle()


class OwnedSockets:
    """``counters.Sockets`` whose sockets belong to one process."""

    def __init__(self, layer: SocketLayer, owner: str) -> None:
        self._layer = layer
        self._owner = owner

    async def listen(self, node: str, netns: str, address: str, port: int) -> TcpListener:
        """As ``SocketLayer.listen``."""
        return await self._layer.listen(node, netns, address, port, self._owner)

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> TcpSocket:
        """As ``SocketLayer.connect``."""
        return await self._layer.connect(
            node, netns, address, port, timeout_s, source_port, self._owner
        )

    async def bind_udp(self, node: str, netns: str, address: str = "", port: int = 0) -> UdpSocket:
        """As ``SocketLayer.bind_udp``."""
        return await self._layer.bind_udp(node, netns, address, port, self._owner)

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> SctpListener:
        """As ``SocketLayer.listen_sctp``."""
        return await self._layer.listen_sctp(node, netns, address, port, self._owner)

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> SctpSocket:
        """As ``SocketLayer.connect_sctp``."""
        return await self._layer.connect_sctp(node, netns, address, port, timeout_s, self._owner)

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """As ``SocketLayer.probe``."""
        return await self._layer.probe(node, netns, probe, timeout_s)

    def owned_by(self, owner: str) -> OwnedSockets:
        """The counter for another process."""
        return self._layer.owned_by(owner)

    def release(self, owner: str) -> None:
        """As ``SocketLayer.release``."""
        self._layer.release(owner)
