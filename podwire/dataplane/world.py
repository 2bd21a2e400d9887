"""All kernels and the wires between them.

The underlay is one Ethernet segment: a switch that knows which port has which MAC. A wire is cut
between two hosts (``set_link``) or at one port (``set_port``). The world moves no frame by itself:
the fabric does, with delays, by asking ``targets``; ``walk`` does, at once, on a fork.

The outside of the cluster is a physical device of the gateway that is not attached
(``add_physical("wan0", mac, arp=False)`` and ``default dev wan0``): what leaves through it ends as
EXITS_CLUSTER. What the gateway has no route for, or an ``unreachable`` one (10.0.0.0/8, as routers
at the edge have), comes back as an ICMP error, as in life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane.addr import is_broadcast_mac
from podwire.dataplane.kernel import HOST, Kernel
from podwire.dataplane.netns import digest
from podwire.dataplane.packet import Frame
from podwire.dataplane.verdict import WalkAnswer, WalkRequest
from podwire.runtime.ports import Rng

if TYPE_CHECKING:
    from podwire.dataplane.outside import Outside

Port = tuple[str, str]
"""A node and one of its physical devices."""


class Target(NamedTuple):
    """A port a frame is for, and whether the wires to it are whole."""

    node: str
    device: str
    up: bool


class World:
    """Kernels by host name, the ports on the underlay, and which wires are cut."""

    __slots__ = ("_cut_links", "_cut_ports", "_ports", "kernels", "outside")

    def __init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}
        self._ports: dict[Port, None] = {}
        self._cut_links: dict[tuple[str, str], None] = {}
        self._cut_ports: dict[Port, None] = {}
        self.outside: Outside | None = None
        """What lies around kernels that were loaded from dumps; None: nothing does."""

    def add(self, kernel: Kernel) -> Kernel:
        """Put a host into the world (its ports are attached one by one)."""
        self.kernels[kernel.node] = kernel
        return kernel

    def attach(self, node: str, device: str) -> None:
        """Plug a physical device into the underlay. A device left unplugged leads outside:
        what a gateway sends through it has left the cluster.
        """
        self._ports[node, device] = None

    def attached(self, node: str, device: str) -> bool:
        """Whether a device is plugged into the underlay."""
        return (node, device) in self._ports

    def fork(self) -> World:
        """A copy on write of everything; shares nothing mutable."""
        twin = World()
        twin.kernels = {name: kernel.fork() for name, kernel in self.kernels.items()}
        twin._ports = dict(self._ports)
        twin._cut_links = dict(self._cut_links)
        twin._cut_ports = dict(self._cut_ports)
        twin.outside = self.outside
        return twin

    def state_hash(self) -> str:
        """A digest of all kernels and wires."""
        hashes = [kernel.state_hash() for _, kernel in sorted(self.kernels.items())]
        return digest([hashes, sorted(self._cut_links), sorted(self._cut_ports)])

    # ------------------------------------------------------------ wires

    def set_link(self, a: str, b: str, *, up: bool, both: bool = True) -> None:
        """Cut or mend the path from ``a`` to ``b``; ``both`` does the way back too."""
        for pair in ((a, b), (b, a)) if both else ((a, b),):
            if up:
                self._cut_links.pop(pair, None)
            else:
                self._cut_links[pair] = None

    def set_port(self, node: str, device: str, *, up: bool) -> None:
        """Pull out or plug in one host's cable."""
        if up:
            self._cut_ports.pop((node, device), None)
        else:
            self._cut_ports[node, device] = None

    def link_up(self, a: Port, b: Port) -> bool:
        """Whether frames pass from one port to the other."""
        if a in self._cut_ports or b in self._cut_ports:
            return False
        return (a[0], b[0]) not in self._cut_links

    def targets(self, node: str, device: str, frame: Frame) -> list[Target]:
        """The ports that a frame sent by ``node`` through ``device`` arrives at.

        The owner of the destination MAC; every other port for a broadcast or an unknown MAC.
        Wires that are cut are listed with ``up`` False: the frame is lost there. Empty when the
        device is not plugged in: the frame leaves the cluster.
        """
        source = (node, device)
        if source not in self._ports:
            return []
        others = [port for port in self._ports if port != source]
        if not is_broadcast_mac(frame.dst):
            others = [port for port in others if self._mac(port) == frame.dst] or others
        return [Target(n, d, self.link_up(source, (n, d))) for n, d in others]

    def has_mac(self, mac: str) -> bool:
        """Whether a device that is plugged in has this MAC."""
        return any(self._mac(port) == mac for port in self._ports)

    def _mac(self, port: Port) -> str:
        host = self.kernels[port[0]].peek(HOST)
        link = host.links.get(port[1]) if host is not None else None
        return link.mac if link is not None else ""

    def walk(self, request: WalkRequest, rng: Rng, now_ns: int) -> WalkAnswer:
        """Walk a packet on forks (see ``walk.walk``); this world stays as it was."""
        from podwire.dataplane.walk import walk  # noqa: PLC0415  # walks know the world

        return walk(self, request, rng, now_ns)
