"""SCTP sockets of a namespace: the state machine of ``sctp.py`` with timers and waiters."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from podwire.dataplane.packet import (
    ICMP_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    Packet,
    out_of_the_blue,
)
from podwire.fabric.icmp import again, error_of, os_error
from podwire.fabric.listening import BACKLOG, Listening
from podwire.fabric.sctp import OPENING, Association, Chunk, State, answer_to_init
from podwire.fabric.waiters import Waiters

if TYPE_CHECKING:
    from podwire.fabric.space import Space
    from podwire.runtime.ports import Rng, Timer

DATA_HEADER_BYTES = 16

Ends = tuple[str, int, str, int]


def headers_bytes(address: str) -> int:
    """The IP and SCTP headers of a packet to or from an address."""
    return 52 if ":" in address else 32


class SctpSocket:
    """One end of an association (``counters.Stream`` that keeps messages apart)."""

    def __init__(self, space: Space, ends: Ends, conn: Association, owner: str) -> None:
        self.space = space
        self.local, self.remote = ends[:2], ends[2:]
        self.conn = conn
        self.owner = owner
        self.opened: asyncio.Future[None] | None = None
        self.dont_fragment = True
        self._readers = Waiters()
        self._timer: Timer | None = None

    # ------------------------------------------------------------ calls of the program

    async def send(self, data: bytes) -> None:
        """Send one message. Raises BrokenPipeError, ConnectionResetError, TimeoutError."""
        if self.conn.error is not None:
            raise again(self.conn.error)
        self.conn.write(data, self.space.now_ns())
        self.settle()

    async def recv(self) -> bytes:
        """The next message, b"" when the peer shut down.

        Raises ConnectionResetError, TimeoutError.
        """
        while not self.conn.incoming:
            if self.conn.error is not None:
                raise again(self.conn.error)
            if self.conn.eof:
                return b""
            await self._readers.wait()
        return self.conn.incoming.popleft()

    async def close(self) -> None:
        """Shut down after what was sent, or abort when messages lie unread (sctp_close)."""
        self.close_soon()

    def close_soon(self) -> None:
        """``close`` for those who are no coroutine."""
        if self.conn.incoming:
            self.abort()
            return
        self.conn.finish(self.space.now_ns())
        self.settle()

    def abort(self) -> None:
        """Send ABORT; whoever waits here gets ConnectionAbortedError."""
        self.conn.abort(os_error(errno.ECONNABORTED))
        self.settle()

    # ------------------------------------------------------------ what the network brings

    def arrived(self, chunk: Chunk) -> None:
        """A chunk of this association."""
        self.conn.on_chunk(chunk, self.space.now_ns())
        self.settle()

    def failed(self, packet: Packet) -> None:
        """An ICMP error about something this socket sent (sctp_v4_err).

        What is too big is sent in fragments; only "protocol unreachable" ends an association that
        is being made: a port that is unreachable is what the timers find out.
        """
        if packet.icmp_mtu_bytes:
            self.dont_fragment = False
            self.conn.repeat()
        elif (packet.protocol, packet.icmp_type, packet.icmp_code) == (
            "icmp", ICMP_UNREACHABLE, PROTOCOL_UNREACHABLE,
        ) and self.conn.state in OPENING:  # fmt: skip
            self.conn.abort(error_of(packet))
        self.settle()

    def settle(self) -> None:
        """Carry out what the state machine decided: chunks, timer, waiters, end."""
        conn = self.conn
        while conn.out:
            out, conn.out = conn.out, []
            for chunk in out:
                self._transmit(chunk)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if conn.deadline_ns:
            delay_s = max(conn.deadline_ns - self.space.now_ns(), 0) / 1e9
            self._timer = self.space.layer.clock.call_later(delay_s, self._fire)
        if self.opened is not None and conn.state not in OPENING:
            opened, self.opened = self.opened, None
            if not opened.done() and conn.state is State.CLOSED:
                opened.set_exception(again(conn.error or os_error(errno.ECONNABORTED)))
            elif not opened.done():
                opened.set_result(None)
        if conn.incoming or conn.eof:
            self._readers.wake_all()
        if conn.state is State.CLOSED:
            self.space.sctp.forget(self)

    def _fire(self) -> None:
        self._timer = None
        self.conn.on_timer(self.space.now_ns())
        self.settle()

    def _transmit(self, chunk: Chunk) -> None:
        packet = packet_of(chunk, (*self.local, *self.remote), self.dont_fragment)
        with suppress(OSError):  # lost like any other: the timer sends it again
            self.space.send(packet)


def packet_of(chunk: Chunk, ends: Ends, dont_fragment: bool = True) -> Packet:
    """The packet of a chunk, from the first of two ends to the other."""
    src, src_port, dst, dst_port = ends
    return Packet(
        src=src,
        dst=dst,
        protocol="sctp",
        src_port=src_port,
        dst_port=dst_port,
        size_bytes=headers_bytes(dst) + chunk.size_bytes,
        dont_fragment=dont_fragment,
        payload=chunk,
        sctp_chunk=chunk.kind,
    )


class SctpListener(Listening[SctpSocket]):
    """A listening SCTP socket."""

    def _forget(self) -> None:
        self.space.sctp.forget_listener(self)

    def arrived(self, packet: Packet, chunk: Chunk) -> None:
        """A chunk that belongs to no association yet."""
        ends = (packet.dst, packet.dst_port, packet.src, packet.src_port)
        if chunk.kind == "init":
            answer = answer_to_init(chunk, self.space.sctp.first_tsn())
            self.space.send(packet_of(answer, ends))
        elif chunk.kind != "cookie_echo":
            self.space.sctp.refuse(packet)
        elif self.waiting >= BACKLOG:
            self.space.send(packet_of(Chunk("abort"), ends))  # sctp_sf_do_5_1D_ce
        else:
            socket = self.space.sctp.make(ends, self.owner)
            socket.conn.accept(chunk, self.space.now_ns())
            socket.settle()
            self._offer(socket)


class SctpSockets:
    """The SCTP sockets of one namespace."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.held: dict[Ends, SctpSocket] = {}
        self.listeners: dict[tuple[str, int], SctpListener] = {}

    @cached_property
    def _rng(self) -> Rng:
        space = self.space
        return space.layer.rng.child(f"{space.node}/{space.netns}/sctp")

    def first_tsn(self) -> int:
        """Where an association begins to count."""
        return self._rng.below(2**31)

    def listen(self, address: str, port: int, owner: str) -> SctpListener:
        """Listen. Raises OSError (EADDRINUSE)."""
        address = "" if address == "::" else address
        port = port or self.space.ephemeral("sctp")
        self.space.bind("sctp", address, port)
        listener = self.listeners[address, port] = SctpListener(self.space, address, port, owner)
        return listener

    def connect(self, address: str, port: int, owner: str) -> SctpSocket:
        """Send the INIT of a new association. Raises OSError."""
        address, port = self.space.translate("sctp", 0, address, port)
        source = self.space.route(address)[0]
        local_port = self.space.ephemeral("sctp", source, address, port)
        socket = self.make((source, local_port, address, port), owner)
        socket.conn.open(self.space.now_ns())
        return socket

    def make(self, ends: Ends, owner: str) -> SctpSocket:
        """Register one end of an association."""
        space = self.space
        mtu_bytes = space.route(ends[2])[1]
        part_bytes = (mtu_bytes - headers_bytes(ends[2]) - DATA_HEADER_BYTES) // 4 * 4
        conn = Association(self.first_tsn(), part_bytes)
        space.layer.hardware.open_socket(space.node, space.netns, "sctp", *ends)
        socket = self.held[ends] = SctpSocket(space, ends, conn, owner)
        return socket

    def forget(self, socket: SctpSocket) -> None:
        """An association is over."""
        space, ends = self.space, (*socket.local, *socket.remote)
        if self.held.get(ends) is socket:
            del self.held[ends]
            space.layer.hardware.close_socket(space.node, space.netns, "sctp", *ends)

    def forget_listener(self, listener: SctpListener) -> None:
        """A listener closed."""
        if self.listeners.pop(listener.local, None) is not None:
            self.space.unbind("sctp", *listener.local)

    def release(self, owner: str) -> None:
        """A process exited."""
        for listener in [x for x in self.listeners.values() if x.owner == owner]:
            listener.close()
        for socket in [x for x in self.held.values() if x.owner == owner]:
            socket.close_soon()

    def reset(self, owner: str | None) -> None:
        """Abort the sockets of an owner, or all."""
        for listener in [x for x in self.listeners.values() if owner in (None, x.owner)]:
            listener.close()
        for socket in [x for x in self.held.values() if owner in (None, x.owner)]:
            socket.abort()

    def deliver(self, packet: Packet) -> None:
        """A packet that the kernel found a socket for."""
        chunk = packet.payload
        if not isinstance(chunk, Chunk):  # a kernel's own
            chunk = Chunk(packet.sctp_chunk)
        socket = self.held.get((packet.dst, packet.dst_port, packet.src, packet.src_port))
        if socket is not None:
            socket.arrived(chunk)
            return
        everywhere = ["0.0.0.0", ""] if ":" not in packet.dst else [""]
        for address in (packet.dst, *everywhere):
            listener = self.listeners.get((address, packet.dst_port))
            if listener is not None:
                listener.arrived(packet, chunk)
                return
        self.refuse(packet)

    def refuse(self, packet: Packet) -> None:
        """Answer a packet that belongs to no association."""
        answer = out_of_the_blue(packet)
        if answer is not None:
            self.space.send(answer)

    def failed(self, packet: Packet, original: Packet) -> None:
        """An ICMP error about a packet of this namespace."""
        ends = (original.src, original.src_port, original.dst, original.dst_port)
        socket = self.held.get(ends)
        if socket is not None:
            socket.failed(packet)
