"""Which sockets a namespace has open: what delivery is decided by. Payload is not kept here."""

from __future__ import annotations

from podwire.dataplane.addr import family_of
from podwire.dataplane.packet import Packet

ANY = ""
"""Any address of both families: what ``::`` binds to unless told otherwise (bindv6only=0)."""
ANY4 = "0.0.0.0"
EVERYWHERE = {ANY: ("ipv4", "ipv6"), ANY4: ("ipv4",)}


def bound_to(address: str) -> str:
    """An address as sockets are kept by it: ``::`` is ANY."""
    return ANY if address == "::" else address


def _clash(a: str, b: str) -> bool:
    """Whether two addresses cannot both be bound on one port."""
    families = [EVERYWHERE.get(x) or (family_of(x),) for x in (a, b)]
    wide = a in EVERYWHERE or b in EVERYWHERE
    return a == b or (wide and any(family in families[1] for family in families[0]))


class SocketTable:
    """Open sockets: bound ones by (protocol, port), connected ones by their whole tuple."""

    __slots__ = ("bound", "connected", "unknown")

    def __init__(self) -> None:
        self.bound: dict[tuple[str, int], tuple[str, ...]] = {}
        self.connected: dict[tuple[str, str, int, str, int], None] = {}
        self.unknown = False
        """Whether nobody told which sockets there are (a dump): then whatever arrives is taken."""

    def clone(self) -> SocketTable:
        """An independent copy."""
        copy = SocketTable()
        copy.bound = dict(self.bound)
        copy.connected = dict(self.connected)
        copy.unknown = self.unknown
        return copy

    def bind(self, protocol: str, address: str, port: int) -> None:
        """Bind; raises ValueError when the address and port are taken (EADDRINUSE)."""
        address = bound_to(address)
        held = self.bound.get((protocol, port), ())
        if any(_clash(address, other) for other in held):
            raise ValueError("Address already in use")
        self.bound[protocol, port] = (*held, address)

    def unbind(self, protocol: str, address: str, port: int) -> None:
        """Undo ``bind``; harmless when not bound."""
        address = bound_to(address)
        kept = tuple(a for a in self.bound.get((protocol, port), ()) if a != address)
        if kept:
            self.bound[protocol, port] = kept
        else:
            self.bound.pop((protocol, port), None)

    def wants(self, packet: Packet) -> bool:
        """Whether a socket of this namespace takes a packet that arrived for it."""
        if self.unknown:
            return True
        key = (packet.protocol, packet.dst, packet.dst_port, packet.src, packet.src_port)
        if key in self.connected:
            return True
        held = self.bound.get((packet.protocol, packet.dst_port))
        if held is None:
            return False
        return ANY in held or packet.dst in held or (ANY4 in held and ":" not in packet.dst)
