"""UDP sockets of the modelled namespaces."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from typing import TYPE_CHECKING

from podwire.dataplane.packet import Packet
from podwire.fabric.icmp import os_error
from podwire.fabric.waiters import Waiters

if TYPE_CHECKING:
    from podwire.fabric.space import Space

MAX_PAYLOAD_BYTES = 65507
RECEIVE_BUFFER_BYTES = 212_992
"""``net.core.rmem_default``."""


def headers_bytes(address: str) -> int:
    """The IP and UDP headers of a datagram to or from an address."""
    return 48 if ":" in address else 28


class UdpSocket:
    """A bound datagram socket (``counters.Datagrams``).

    A socket that was bound to no particular port belongs to a client and is taken as connected:
    ICMP errors about what it sent reach its reader. A server's socket is not told, as in Linux.
    """

    def __init__(self, space: Space, address: str, port: int, owner: str, *, client: bool) -> None:
        self.space = space
        self.local = (address, port)
        self.owner = owner
        self.client = client
        self.closed = False
        self.dropped = 0
        """Datagrams lost because the receive buffer was full."""
        self._shadows: dict[tuple[str, int], asyncio.Future[bytes | None]] = {}
        self._inbox: deque[tuple[bytes, str, int] | OSError] = deque()
        self._held = 0
        self._readers = Waiters()

    async def send_to(self, data: bytes, address: str, port: int) -> None:
        """Send one datagram. Raises OSError (EMSGSIZE, ENETUNREACH, EHOSTUNREACH, EBADF)."""
        if self.closed:
            raise os_error(errno.EBADF)
        if len(data) > MAX_PAYLOAD_BYTES:
            raise os_error(errno.EMSGSIZE)
        if self._shadows:
            shadow = self._shadows.pop((address, port), None)
            if shadow is not None:
                if not shadow.done():
                    shadow.set_result(data)
                return
        address, port = self.space.translate("udp", self.local[1], address, port)
        source, mtu_bytes = self.space.route(address)
        size_bytes = len(data) + headers_bytes(address)
        self.space.send(
            Packet(
                src=self.local[0] or source,
                dst=address,
                protocol="udp",
                src_port=self.local[1],
                dst_port=port,
                size_bytes=size_bytes,
                dont_fragment=size_bytes <= mtu_bytes,  # IP_PMTUDISC_WANT
                payload=data,
            )
        )

    async def recv_from(self) -> tuple[bytes, str, int]:
        """The next datagram with its source.

        Raises ConnectionRefusedError and other OSErrors that ICMP reported; EBADF once closed.
        """
        while not self._inbox:
            if self.closed:
                raise os_error(errno.EBADF)
            await self._readers.wait()
        item = self._inbox.popleft()
        if isinstance(item, OSError):
            raise item
        self._held -= len(item[0])
        return item

    def close(self) -> None:
        """Release the port; whoever waits in ``recv_from`` gets EBADF."""
        if not self.closed:
            self.closed = True
            self.space.forget_udp(self)
            for shadow in list(self._shadows.values()):
                if not shadow.done():
                    shadow.set_result(None)
            self._readers.wake_all()

    def arrived(self, data: bytes, address: str, port: int) -> None:
        """A datagram for this socket."""
        address, port = self.space.heard_from(self.local[1], address, port)
        if self._held + len(data) > RECEIVE_BUFFER_BYTES:
            self.dropped += 1
            return
        self._held += len(data)
        self._inbox.append((data, address, port))
        self._readers.wake_one()

    def arrived_on_fork(self, data: bytes, address: str, port: int) -> asyncio.Future[bytes | None]:
        """A datagram that reached this socket on a fork: the program reads it like any other, but
        what it sends back to that source is the future's result and leaves no live packet.

        None: the socket closed instead. Cancel the future to stop waiting.
        """
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        source = (address, port)
        self._shadows[source] = answer
        answer.add_done_callback(lambda _: self._shadows.pop(source, None))
        self.arrived(data, address, port)
        return answer

    def failed(self, error: OSError) -> None:
        """An ICMP error about something this socket sent."""
        if self.client:
            self._inbox.append(error)
            self._readers.wake_one()
