"""Network devices of a namespace and their addresses."""

from __future__ import annotations

import msgspec

from podwire.dataplane.addr import Prefix
from podwire.dataplane.qdisc import Netem


class Address(msgspec.Struct, frozen=True):
    """An address of a device, of either family. ``scope``: global | link | host."""

    ip: str
    prefix: Prefix
    scope: str = "global"

    @property
    def cidr(self) -> str:
        """``10.244.1.1/24``."""
        return f"{self.ip}/{self.prefix.length}"

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


class Link(msgspec.Struct):
    """A device. ``kind``: loopback | phys | veth | bridge | dummy, or a tunnel: vxlan | geneve |
    ipip | wireguard.

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


class FdbEntry(msgspec.Struct, frozen=True):
    """Where a MAC lives: a bridge port, or (``dst``) the far end of a tunnel."""

    port: str
    dst: str = ""
    permanent: bool = False
    seen_ns: int = 0
