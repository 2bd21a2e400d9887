"""The sockets of one network namespace: who has which port, and whom a packet is for."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from podwire.dataplane.packet import ACK, RST, SYN, Packet
from podwire.fabric.associations import SctpSockets
from podwire.fabric.icmp import error_of, os_error
from podwire.fabric.probes import Probes
from podwire.fabric.segment import Segment, State
from podwire.fabric.streams import TcpListener, TcpSocket, headers_bytes
from podwire.fabric.tcp import Connection
from podwire.fabric.udp import UdpSocket

if TYPE_CHECKING:
    from podwire.fabric.sockets import SocketLayer

EPHEMERAL_LOW, EPHEMERAL_HIGH = 32768, 60999
"""``net.ipv4.ip_local_port_range``."""
ANY = ("", "::")
"""What a program binds for both families (``::`` without IPV6_V6ONLY); ``0.0.0.0`` is IPv4's."""
ANY4 = "0.0.0.0"

Tuple4 = tuple[str, int, str, int]


class Space:
    """Socket tables of (node, netns). The kernel holds the same ports for its own decisions."""

    def __init__(self, layer: SocketLayer, node: str, netns: str) -> None:
        self.layer = layer
        self.node = node
        self.netns = netns
        self.tcp: dict[Tuple4, TcpSocket] = {}
        self.listeners: dict[tuple[str, int], TcpListener] = {}
        self.udp: dict[tuple[str, int], UdpSocket] = {}
        self.probes = Probes(self)
        self.sctp = SctpSockets(self)
        self._bound: dict[tuple[str, int], int] = {}
        """How many addresses each (protocol, port) is bound on."""
        rng = layer.rng.child(f"{node}/{netns}")
        self._rng = rng
        self._next_port = EPHEMERAL_LOW + rng.below(EPHEMERAL_HIGH - EPHEMERAL_LOW + 1)

    # ------------------------------------------------------------ what sockets ask for

    def now_ns(self) -> int:
        """Monotonic time."""
        return self.layer.clock.monotonic_ns()

    def route(self, address: str) -> tuple[str, int]:
        """Source address and MTU toward a destination. Raises OSError (ENETUNREACH ...)."""
        return self.layer.hardware.route(self.node, self.netns, address)

    def send(self, packet: Packet) -> None:
        """Hand a packet to the kernel. Raises OSError when it refuses to route it."""
        self.layer.hardware.send(self.node, self.netns, packet)

    def translate(self, protocol: str, local: int, address: str, port: int) -> tuple[str, int]:
        """The address to use for one that a program names. Raises OSError (EHOSTUNREACH)."""
        asked = Packet("", address, protocol, src_port=local, dst_port=port)
        return self.layer.hardware.translate(self.node, self.netns, asked)

    def heard_from(self, local: int, address: str, port: int) -> tuple[str, int]:
        """Whom a program with a datagram socket thinks it hears from."""
        hardware = self.layer.hardware
        return hardware.heard_from(self.node, self.netns, local, address, port)

    def refuse(self, packet: Packet) -> None:
        """Answer a TCP segment that belongs to no connection with RST."""
        segment = packet.payload
        seq = segment.ack if isinstance(segment, Segment) else 0
        ack = segment.seq + segment.length if isinstance(segment, Segment) else 0
        self.send(
            Packet(
                src=packet.dst,
                dst=packet.src,
                protocol="tcp",
                src_port=packet.dst_port,
                dst_port=packet.src_port,
                tcp_flags=RST | ACK,
                size_bytes=headers_bytes(packet.src),
                payload=Segment(RST | ACK, seq, ack, 0),
            )
        )

    # ------------------------------------------------------------ opening

    def listen(self, address: str, port: int, owner: str) -> TcpListener:
        """Listen. Raises OSError (EADDRINUSE)."""
        address = "" if address in ANY else address
        port = port or self.ephemeral("tcp")
        self.bind("tcp", address, port)
        listener = self.listeners[address, port] = TcpListener(self, address, port, owner)
        return listener

    def bind_udp(self, address: str, port: int, owner: str) -> UdpSocket:
        """Bind a datagram socket. Raises OSError (EADDRINUSE)."""
        address = "" if address in ANY else address
        client = port == 0
        port = port or self.ephemeral("udp")
        self.bind("udp", address, port)
        socket = self.udp[address, port] = UdpSocket(self, address, port, owner, client=client)
        return socket

    def connect(self, address: str, port: int, source_port: int, owner: str) -> TcpSocket:
        """Send the SYN of a new connection. Raises OSError."""
        address, port = self.translate("tcp", 0, address, port)
        source, mtu_bytes = self.route(address)
        local_port = source_port or self.ephemeral("tcp", source, address, port)
        key = (source, local_port, address, port)
        known = self.tcp.get(key)
        if known is not None and known.conn.state is not State.TIME_WAIT:
            raise os_error(errno.EADDRNOTAVAIL)
        socket = self.make_tcp(
            (source, local_port), (address, port), owner, mss=mtu_bytes - headers_bytes(address)
        )
        socket.conn.open(self.now_ns())
        return socket

    def make_tcp(
        self, local: tuple[str, int], remote: tuple[str, int], owner: str, mss: int = 0
    ) -> TcpSocket:
        """Register one end of a connection."""
        if not mss:
            mss = self.route(remote[0])[1] - headers_bytes(remote[0])
        conn = Connection(self._rng.below(2**31), mss)
        socket = TcpSocket(self, local, remote, conn, owner)
        key = (*local, *remote)
        if key in self.tcp:
            self.forget_tcp(self.tcp[key])
        self.layer.hardware.open_socket(self.node, self.netns, "tcp", *local, *remote)
        self.tcp[key] = socket
        return socket

    def ephemeral(self, protocol: str, source: str = "", address: str = "", port: int = 0) -> int:
        """The next free ephemeral port. Raises OSError (EADDRNOTAVAIL) when none is left."""
        span = EPHEMERAL_HIGH - EPHEMERAL_LOW + 1
        for _ in range(span):
            candidate = self._next_port
            self._next_port = candidate + 1 if candidate < EPHEMERAL_HIGH else EPHEMERAL_LOW
            if self._port_free(protocol, candidate, source, address, port):
                return candidate
        raise os_error(errno.EADDRNOTAVAIL if address else errno.EADDRINUSE)

    def is_bound(self, protocol: str, port: int) -> bool:
        """Whether a listening or datagram socket has a port, on any address."""
        return (protocol, port) in self._bound

    def _port_free(
        self, protocol: str, candidate: int, source: str, address: str, port: int
    ) -> bool:
        taken = self.sctp.held if protocol == "sctp" else self.tcp
        if (source, candidate, address, port) in taken:
            return False
        return not self.is_bound(protocol, candidate)

    def bind(self, protocol: str, address: str, port: int) -> None:
        """Take a port. Raises OSError (EADDRINUSE)."""
        self.layer.hardware.open_socket(self.node, self.netns, protocol, address, port)
        self._bound[protocol, port] = self._bound.get((protocol, port), 0) + 1

    # ------------------------------------------------------------ closing

    def forget_tcp(self, socket: TcpSocket) -> None:
        """A connection is over."""
        key = (*socket.local, *socket.remote)
        if self.tcp.get(key) is socket:
            del self.tcp[key]
            self._close("tcp", *key)

    def forget_listener(self, listener: TcpListener) -> None:
        """A listener closed."""
        if self.listeners.pop(listener.local, None) is not None:
            self.unbind("tcp", *listener.local)

    def forget_udp(self, socket: UdpSocket) -> None:
        """A datagram socket closed."""
        if self.udp.pop(socket.local, None) is not None:
            self.unbind("udp", *socket.local)

    def unbind(self, protocol: str, address: str, port: int) -> None:
        """Give it back."""
        self._close(protocol, address, port)
        left = self._bound.pop((protocol, port)) - 1
        if left:
            self._bound[protocol, port] = left

    def _close(
        self, protocol: str, address: str, port: int, remote: str = "", remote_port: int = 0
    ) -> None:
        self.layer.hardware.close_socket(
            self.node, self.netns, protocol, address, port, remote, remote_port
        )

    def release(self, owner: str) -> None:
        """A process exited."""
        for listener in [x for x in self.listeners.values() if x.owner == owner]:
            listener.close()
        for datagrams in [x for x in self.udp.values() if x.owner == owner]:
            datagrams.close()
        for stream in [x for x in self.tcp.values() if x.owner == owner and not x.orphan]:
            stream.exit()
        self.sctp.release(owner)

    def reset(self, owner: str | None = None) -> None:
        """Abort the sockets of an owner, or all: RST to every peer."""
        for listener in [x for x in self.listeners.values() if owner in (None, x.owner)]:
            listener.close()
        for datagrams in [x for x in self.udp.values() if owner in (None, x.owner)]:
            datagrams.close()
        for stream in [x for x in self.tcp.values() if owner in (None, x.owner)]:
            stream.abort()
        self.sctp.reset(owner)

    # ------------------------------------------------------------ packets that arrive

    def deliver(self, packet: Packet) -> None:
        """A packet that the kernel found a socket for (or an ICMP message for its owner)."""
        if packet.original is None and self.probes.replied(packet):
            if packet.tcp_flags & SYN:
                self.refuse(packet)  # nobody wanted more than the answer
        elif packet.protocol == "tcp":
            self._deliver_tcp(packet)
        elif packet.protocol == "sctp":
            self.sctp.deliver(packet)
        elif packet.protocol == "udp":
            socket = self.udp_for(packet.dst, packet.dst_port)
            if socket is not None and isinstance(packet.payload, bytes):
                socket.arrived(packet.payload, packet.src, packet.src_port)
        elif packet.original is not None and not self.probes.failed(packet, packet.original):
            self._deliver_error(packet, packet.original)

    def _deliver_tcp(self, packet: Packet) -> None:
        key = (packet.dst, packet.dst_port, packet.src, packet.src_port)
        socket = self.tcp.get(key)
        if socket is not None:
            again = packet.tcp_flags & (SYN | ACK) == SYN
            if not (again and socket.conn.state is State.TIME_WAIT):
                socket.arrived(packet)
                return
            self.forget_tcp(socket)  # a new incarnation may follow TIME_WAIT (RFC 6191)
        listener = self._listener_for(packet.dst, packet.dst_port)
        if listener is not None:
            listener.arrived(packet)
        elif not packet.tcp_flags & RST:
            self.refuse(packet)

    def _listener_for(self, address: str, port: int) -> TcpListener | None:
        listener = self.listeners.get((address, port))
        if listener is None and ":" not in address:
            listener = self.listeners.get((ANY4, port))
        return listener if listener is not None else self.listeners.get(("", port))

    def udp_for(self, address: str, port: int) -> UdpSocket | None:
        """Who receives datagrams for an address and port here."""
        socket = self.udp.get((address, port))
        if socket is None and ":" not in address:
            socket = self.udp.get((ANY4, port))
        return socket if socket is not None else self.udp.get(("", port))

    def _deliver_error(self, packet: Packet, original: Packet) -> None:
        error = error_of(packet)
        if original.protocol == "tcp":
            key = (original.src, original.src_port, original.dst, original.dst_port)
            stream = self.tcp.get(key)
            if stream is None:
                return
            if packet.icmp_mtu_bytes:
                mss = packet.icmp_mtu_bytes - headers_bytes(original.dst)
                stream.conn.on_packet_too_big(mss, self.now_ns())
            else:
                stream.conn.on_icmp_error(error)
            stream.settle()
        elif original.protocol == "udp":
            socket = self.udp_for(original.src, original.src_port)
            if socket is not None:
                socket.failed(error)
        elif original.protocol == "sctp":
            self.sctp.failed(packet, original)
