"""Network devices of a namespace and their addresses."""

from __future__ import annotations

import msgspec

from podwire.dataplane.addr import Prefix
from podwire.dataplane.qdisc import Netem


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address of a device, of either family. ``scope``: global | link | host.

    What only a dump of a real machine tells, and only ``ip addr`` shows: ``told`` are the words
    between address and scope (``brd 10.0.0.255``), ``flags`` those after it (``dynamic``,
    ``secondary``). ``peer``: the address is that of one end, ``prefix`` that of the other.
    """

    ip: str
    prefix: Prefix
    scope: str = "global"
    peer: bool = False
    told: str = ""
    flags: str = ""

    @property
    def cidr(self) -> str:
        """``10.244.1.1/24``; with a peer ``10.8.0.1 peer 10.8.0.2/32``."""
        return f"{self.ip} peer {self.prefix}" if self.peer else f"{self.ip}/{self.prefix.length}"

    @property
    def broadcast(self) -> int | None:
        """The subnet's broadcast address as an integer; None for /31, /32 and IPv6."""
        return None if self.prefix.length > 30 or self.prefix.bits == 128 else self.prefix.last


class Peer(msgspec.Struct, frozen=True):
    """A WireGuard peer: its public key, where it listens, and which addresses are its."""

    key: str
    endpoint: str = ""
    port: int = 51820
    allowed: tuple[Prefix, ...] = ()


class Beyond(msgspec.Struct, frozen=True):
    """What a device leads to that is not in the model, for one that a dump tells of.

    ``words`` say what there is. Packets leave by it and are gone; unless nobody can say what
    becomes of what is sent (``sends`` False) or of what comes in (``takes`` False): then their fate
    is UNKNOWN. ``carrier``: whether there was one. The others are what ``ip link`` shows of a far
    side: ``eth0@other``, its namespace (a name, or a number), flags, and the kind of its addresses.
    """

    words: str
    sends: bool = True
    takes: bool = True
    carrier: bool = True
    other: str = ""
    netns: str = ""
    flags: str = ""
    medium: str = "ether"


class Stats(msgspec.Struct, gc=False):
    """What a device has counted (rtnl_link_stats64), as far as there is a cause in the model.

    Bytes as its driver counts them: with the Ethernet header at a card and a veth, and at a bridge
    that sends; without it at a bridge that receives, a loopback and a tunnel. A veth drops what its
    peer does not take, a VXLAN device what its FDB names no end for; what rules, routes and
    queues drop no device counts. No error is modelled: those counters are 0.
    """

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0
    multicast: int = 0


class Link(msgspec.Struct, gc=False):
    """A device. ``kind``: loopback | phys | veth | bridge | dummy, or a tunnel: vxlan | geneve |
    ipip | wireguard. One with a ``beyond`` may be of any kind that Linux has.

    ``master`` is the bridge it is a port of. ``peer_*`` name a veth's other end; ``dev``,
    ``local``, ``vni``, ``dst_port`` and ``learning`` belong to a VXLAN device, ``remote`` to other
    tunnels too, ``key``, ``peers`` and ``fwmark`` to WireGuard. ``addresses`` are
    IPv4's, ``addresses6`` IPv6's (in the kernel's order: the widest scope first, newest first).
    """

    name: str
    index: int
    kind: str
    mac: str
    mtu_bytes: int = 1500
    mtu_fixed: bool = False
    up: bool = False
    master: str = ""
    hairpin: bool = False
    peer_netns: str = ""
    peer_name: str = ""
    vni: int = 0
    local: str = ""
    dev: str = ""
    dst_port: int = 8472
    learning: bool = True
    arp: bool = True
    addresses: tuple[Address, ...] = ()
    addresses6: tuple[Address, ...] = ()
    remote: str = ""
    key: str = ""
    fwmark: int = 0
    peers: tuple[Peer, ...] = ()
    ageing_s: int = 300
    qdisc: Netem | None = None
    beyond: Beyond | None = None
    stats: Stats = msgspec.field(default_factory=Stats)


class FdbEntry(msgspec.Struct, frozen=True, gc=False):
    """Where a MAC lives: a bridge port, or (``dst``) the far end of a tunnel."""

    port: str
    dst: str = ""
    permanent: bool = False
    seen_ns: int = 0
