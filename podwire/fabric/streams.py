"""TCP sockets of the modelled namespaces: the state machine of ``tcp.py`` with timers and waiters.

No task belongs to a connection: segments, timers and the program's calls drive it.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.dataplane.packet import ACK, RST, SYN, Packet
from podwire.fabric.icmp import again, os_error
from podwire.fabric.listening import BACKLOG, Listening
from podwire.fabric.segment import HANDSHAKE, Segment, State
from podwire.fabric.tcp import Connection
from podwire.fabric.waiters import Waiters

if TYPE_CHECKING:
    from podwire.fabric.space import Space
    from podwire.runtime.ports import Timer

SYN_OPTIONS_BYTES = 20
SEND_BUFFER_BYTES = 256 * 1024


def headers_bytes(address: str) -> int:
    """The IP and TCP headers of a segment to or from an address."""
    return 60 if ":" in address else 40


def as_clamped(segment: Segment, packet: Packet) -> Segment:
    """A SYN with the segment size that its packet arrived with: TCPMSS may have lowered it."""
    if not packet.mss_bytes or packet.mss_bytes == segment.mss:
        return segment
    return replace(segment, mss=packet.mss_bytes)


class TcpSocket:
    """One end of a connection (``counters.Stream``)."""

    __slots__ = (
        "_readers",
        "_timer",
        "_timer_at",
        "_writers",
        "conn",
        "listener",
        "local",
        "opened",
        "orphan",
        "owner",
        "remote",
        "space",
    )

    def __init__(
        self,
        space: Space,
        local: tuple[str, int],
        remote: tuple[str, int],
        conn: Connection,
        owner: str,
    ) -> None:
        self.space = space
        self.local = local
        self.remote = remote
        self.conn = conn
        self.owner = owner
        self.listener: TcpListener | None = None
        self.opened: asyncio.Future[None] | None = None
        self.orphan = False
        self._readers = Waiters()
        self._writers = Waiters()
        self._timer: Timer | None = None
        self._timer_at = 0

    # ------------------------------------------------------------ calls of the program

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when the send buffer holds them.

        Raises BrokenPipeError, ConnectionResetError, TimeoutError.
        """
        if self.conn.error is not None:
            raise again(self.conn.error)
        self.conn.write(data, self.space.now_ns())
        self.settle()
        while self.conn.queued > SEND_BUFFER_BYTES:
            await self._writers.wait()
        if self.conn.error is not None:
            raise again(self.conn.error)

    async def recv(self) -> bytes:
        """The next bytes, b"" at end of stream. Raises ConnectionResetError, TimeoutError."""
        while True:
            data = self.conn.read()
            if data:
                if self.conn.out:
                    self.settle()
                return data
            if self.conn.error is not None:
                raise again(self.conn.error)
            if self.conn.eof:
                return b""
            if self.conn.orphan:
                self.conn.adopted()
            await self._readers.wait()

    async def close(self) -> None:
        """Send FIN after what was sent; what the peer still sends can be read."""
        self.close_soon()

    def close_soon(self) -> None:
        """``close`` for those who are no coroutine."""
        now_ns = self.space.now_ns()
        self.conn.finish(now_ns)
        if not self._readers:
            self.conn.orphaned(now_ns)
        self.settle()

    def abort(self) -> None:
        """Send RST; whoever waits here gets ConnectionAbortedError."""
        self.conn.abort(os_error(errno.ECONNABORTED))
        self.settle()

    def exit(self) -> None:
        """The process is gone: FIN, or RST when data lies unread (tcp_close)."""
        self.orphan = True
        if self.conn.incoming or self.conn.state in HANDSHAKE:
            self.abort()
        else:
            self.close_soon()

    # ------------------------------------------------------------ what the network brings

    def arrived(self, packet: Packet) -> None:
        """A segment of this connection."""
        conn = self.conn
        segment = packet.payload
        if not isinstance(segment, Segment):  # a kernel's own RST, or that of a REJECT rule
            segment = Segment(packet.tcp_flags, conn.rcv_nxt, conn.snd_nxt)
        segment = as_clamped(segment, packet)
        conn.on_segment(segment, self.space.now_ns())
        if self.orphan and conn.incoming:
            conn.abort()
        self.settle()

    def settle(self) -> None:
        """Carry out what the state machine decided: segments, timer, waiters, end."""
        conn = self.conn
        while conn.out:
            out, conn.out = conn.out, []
            for segment in out:
                self._transmit(segment)
        if conn.deadline_ns:
            self._arm(conn.deadline_ns)
        if self.opened is not None and conn.state is not State.SYN_SENT:
            self._report_opened(self.opened)
        if self.listener is not None and conn.state is not State.SYN_RECV:
            listener, self.listener = self.listener, None
            listener.settled(self)
        if self._readers and (conn.incoming or conn.eof):
            self._readers.wake_all()
        if self._writers and conn.queued <= SEND_BUFFER_BYTES:
            self._writers.wake_all()
        if conn.state is State.CLOSED:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.space.forget_tcp(self)

    def _report_opened(self, opened: asyncio.Future[None]) -> None:
        self.opened = None
        if opened.done():
            return
        if self.conn.error is not None:
            opened.set_exception(again(self.conn.error))
        elif self.conn.state is State.CLOSED:
            opened.set_exception(os_error(errno.ECONNABORTED))
        else:
            opened.set_result(None)

    def _transmit(self, segment: Segment) -> None:
        data_bytes = len(segment.data)
        mss, headers = segment.mss, headers_bytes(self.remote[0])
        if data_bytes > mss > 0:
            slices = -(-data_bytes // mss)
            size_bytes, gso_bytes = data_bytes + slices * headers, mss + headers
        else:
            size_bytes, gso_bytes = data_bytes + headers, 0
            if segment.flags & SYN:
                size_bytes = headers + SYN_OPTIONS_BYTES
        packet = Packet(
            src=self.local[0],
            dst=self.remote[0],
            protocol="tcp",
            src_port=self.local[1],
            dst_port=self.remote[1],
            tcp_flags=segment.flags,
            size_bytes=size_bytes,
            gso_bytes=gso_bytes,
            payload=segment,
            mss_bytes=mss if segment.flags & SYN else 0,
        )
        try:
            self.space.send(packet)
        except OSError as error:
            self.conn.on_icmp_error(error)

    def _arm(self, deadline_ns: int) -> None:
        if self._timer is not None:
            if self._timer_at <= deadline_ns:
                return  # it fires early, finds nothing due and is set again
            self._timer.cancel()
        self._timer_at = deadline_ns
        delay_s = max(deadline_ns - self.space.now_ns(), 0) / 1e9
        self._timer = self.space.layer.clock.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.conn.on_timer(self.space.now_ns())
        self.settle()


class TcpListener(Listening[TcpSocket]):
    """A listening TCP socket."""

    def __init__(self, space: Space, address: str, port: int, owner: str) -> None:
        super().__init__(space, address, port, owner)
        self.backlog = BACKLOG
        self._half_open = 0

    def _forget(self) -> None:
        self.space.forget_listener(self)

    def arrived(self, packet: Packet) -> None:
        """A segment that belongs to no connection yet."""
        segment = packet.payload
        if not isinstance(segment, Segment) or segment.flags & RST:
            return
        if not segment.flags & SYN or segment.flags & ACK:
            self.space.refuse(packet)
            return
        if self._half_open + self.waiting >= self.backlog:
            return  # the client will repeat its SYN
        self._half_open += 1
        local, remote = (packet.dst, packet.dst_port), (packet.src, packet.src_port)
        socket = self.space.make_tcp(local, remote, self.owner)
        socket.listener = self
        socket.conn.accept_syn(as_clamped(segment, packet), self.space.now_ns())
        socket.settle()

    def settled(self, socket: TcpSocket) -> None:
        """A handshake ended, one way or the other."""
        self._half_open -= 1
        if socket.conn.state is State.CLOSED:
            return
        if self.closed:
            socket.abort()
            return
        self._offer(socket)
