"""Which sockets a namespace has open: what delivery is decided by. Payload is not kept here."""

from __future__ import annotations

from podwire.dataplane.packet import Packet

ANY = ""


class SocketTable:
    """Open sockets: bound ones by (protocol, port), connected ones by their whole tuple."""

    __slots__ = ("bound", "connected")

    def __init__(self) -> None:
        self.bound: dict[tuple[str, int], tuple[str, ...]] = {}
        self.connected: dict[tuple[str, str, int, str, int], None] = {}

    def clone(self) -> SocketTable:
        """An independent copy."""
        copy = SocketTable()
        copy.bound = dict(self.bound)
        copy.connected = dict(self.connected)
        return copy

    def bind(self, protocol: str, address: str, port: int) -> None:
        """Bind; raises ValueError when the address and port are taken (EADDRINUSE)."""
        address = ANY if address == "0.0.0.0" else address
        held = self.bound.get((protocol, port), ())
        if address in held or (held and (address == ANY or ANY in held)):
            raise ValueError("Address already in use")
        self.bound[protocol, port] = (*held, address)

    def unbind(self, protocol: str, address: str, port: int) -> None:
        """Undo ``bind``; harmless when not bound."""
        address = ANY if address == "0.0.0.0" else address
        kept = tuple(a for a in self.bound.get((protocol, port), ()) if a != address)
        if kept:
            self.bound[protocol, port] = kept
        else:
            self.bound.pop((protocol, port), None)

    def wants(self, packet: Packet) -> bool:
        """Whether a socket of this namespace takes a packet that arrived for it."""
        key = (packet.protocol, packet.dst, packet.dst_port, packet.src, packet.src_port)
        if key in self.connected:
            return True
        held = self.bound.get((packet.protocol, packet.dst_port))
        return held is not None and (ANY in held or packet.dst in held)

    def port_free(self, protocol: str, address: str, port: int) -> bool:
        """Whether a port could be taken as an ephemeral one."""
        if (protocol, port) in self.bound:
            return False
        return all(
            not (p == protocol and lport == port and laddr == address)
            for p, laddr, lport, _, _ in self.connected
        )
