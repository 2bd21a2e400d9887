"""Commands about devices: making, changing and removing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from podwire.dataplane import commands as c
from podwire.dataplane.addr import ZERO_MAC, family_of
from podwire.dataplane.commands import CommandError
from podwire.dataplane.execute_common import address, device, prefix
from podwire.dataplane.link import FdbEntry, Link, Peer
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import VXLAN_BYTES
from podwire.dataplane.qdisc import Netem

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

LINK_KINDS = ("veth", "bridge", "vxlan", "geneve", "ipip", "wireguard", "dummy")
OVERHEAD_BYTES = {
    "vxlan": VXLAN_BYTES,
    "geneve": VXLAN_BYTES,
    "ipip": {"ipv4": 20, "ipv6": 20},
    "wireguard": {"ipv4": 80, "ipv6": 80},
}
"""By the family of the outer packet. WireGuard's device allows for IPv6 whatever it uses."""
DEFAULT_PORTS = {"vxlan": 8472, "geneve": 6081, "wireguard": 51820}
NO_MAC = ("ipip", "wireguard")


def remove_peer(kernel: Kernel, link: Link) -> None:
    """Remove the other end of a veth that goes, if it is one."""
    found = kernel.peer_of(link)
    if found is not None:
        ns, peer = found
        _remove(kernel, ns, peer.name)


def _remove(kernel: Kernel, ns: Netns, name: str) -> None:
    """Remove a device with what its netem holds."""
    ns.remove_link(name)
    kernel.flush_queue(ns.name, name)


def _mac(kernel: Kernel, netns: str, name: str) -> str:
    """A locally administered address, from the kernel's chance but independent of order."""
    raw = bytearray(kernel.rng.child(f"mac/{netns}/{name}").bytes(6))
    raw[0] = raw[0] & 0xFE | 0x02
    return ":".join(f"{b:02x}" for b in raw)


def add(kernel: Kernel, command: c.LinkAdd, _now_ns: int) -> None:
    """``ip link add``."""
    ns = kernel.netns(command.netns)
    if command.kind not in LINK_KINDS:
        raise CommandError("Error: Unknown device type.")
    if command.name in ns.links:
        if command.exist and ns.links[command.name].kind == command.kind:
            return
        raise CommandError("RTNETLINK answers: File exists")
    if not command.name or len(command.name) > 15:
        raise CommandError(f'Error: argument "{command.name}" is wrong: "name" not a valid ifname')
    link = Link(
        name=command.name,
        index=0,
        kind=command.kind,
        mac=command.mac or _mac(kernel, command.netns, command.name),
        mtu_bytes=command.mtu_bytes,
        mtu_fixed=command.mtu_bytes != 1500,
    )
    if command.kind == "veth":
        _add_veth(kernel, ns, link, command)
        return
    if command.kind in OVERHEAD_BYTES:
        _tunnel(ns, link, command)
    ns.add_link(link)
    if link.kind == "vxlan" and link.remote:
        entry = FdbEntry(port=link.name, dst=link.remote, permanent=True)
        ns.fdb[link.name] = {ZERO_MAC: entry}


def _tunnel(ns: Netns, link: Link, command: c.LinkAdd) -> None:
    """A tunnel's own properties; its MTU leaves room for what it wraps packets in."""
    link.vni, link.dev, link.key = command.vni, command.dev, command.key
    link.local = address(command.local) if command.local else ""
    link.remote = address(command.remote) if command.remote else ""
    link.fwmark, link.learning = command.fwmark, command.learning
    link.dst_port = command.dst_port
    if command.kind != "vxlan" and command.dst_port in {0, DEFAULT_PORTS["vxlan"]}:
        link.dst_port = DEFAULT_PORTS.get(command.kind, 0)
    if command.kind == "geneve" and not link.remote:
        raise CommandError("Error: argument remote is required for this device.")
    if command.kind in NO_MAC:
        link.mac, link.arp = ZERO_MAC, False
    lower = device(ns, command.dev) if command.dev else None
    overhead = OVERHEAD_BYTES[command.kind][family_of(link.local or link.remote)]
    if lower is not None or command.kind in NO_MAC:
        room = (lower.mtu_bytes if lower is not None else 1500) - overhead
        link.mtu_bytes = min(link.mtu_bytes, room)


def wireguard_peer(kernel: Kernel, command: c.WireguardPeer, _now_ns: int) -> None:
    """``wg set DEV peer``."""
    ns = kernel.netns(command.netns)
    link = ns.links.get(command.dev)
    if link is None or link.kind != "wireguard":
        word = "No such device" if link is None else "Operation not supported"
        raise CommandError(f"Unable to modify interface: {word}")
    others = tuple(peer for peer in link.peers if peer.key != command.key)
    if command.remove:
        link.peers = others
        return
    allowed = tuple(prefix(text) for text in command.allowed)
    # an address belongs to one peer: whoever is given it last
    kept = tuple(
        msgspec.structs.replace(p, allowed=tuple(a for a in p.allowed if a not in allowed))
        for p in others
    )
    endpoint = address(command.endpoint) if command.endpoint else ""
    link.peers = (*kept, Peer(command.key, endpoint, command.port, allowed))


def qdisc_replace(kernel: Kernel, command: c.QdiscReplace, _now_ns: int) -> None:
    """``tc qdisc add|change|replace``: a new discipline has a new handle."""
    link = device(kernel.netns(command.netns), command.dev)
    old = link.qdisc
    if command.verb == "add" and old is not None:
        raise CommandError("Error: Exclusivity flag on, cannot modify.")
    if command.verb == "change" and old is None:
        raise CommandError("Error: Qdisc not found. To create specify NLM_F_CREATE flag.")
    shares = (command.loss, command.duplicate, command.reorder, command.corrupt)
    if any(not 0 <= share <= 1 for share in shares) or command.limit < 1:
        raise CommandError("RTNETLINK answers: Invalid argument")
    link.qdisc = Netem(
        handle=old.handle if old is not None else kernel.next_handle(),
        limit=command.limit,
        delay_ns=command.delay_ns,
        jitter_ns=command.jitter_ns,
        loss=command.loss,
        duplicate=command.duplicate,
        reorder=command.reorder,
        gap=command.gap,
        corrupt=command.corrupt,
        rate_bits=command.rate_bits,
    )


def qdisc_del(kernel: Kernel, command: c.QdiscDel, _now_ns: int) -> None:
    """``tc qdisc del``: what it holds is lost with it (netem_reset)."""
    link = device(kernel.netns(command.netns), command.dev)
    if link.qdisc is None:
        raise CommandError("Error: Cannot delete qdisc with handle of zero.")
    link.qdisc = None
    kernel.flush_queue(command.netns, command.dev)


def fdb_ageing(kernel: Kernel, command: c.FdbAgeing, _now_ns: int) -> None:
    """``ip link set BRIDGE type bridge ageing_time``."""
    bridge = device(kernel.netns(command.netns), command.bridge)
    if bridge.kind != "bridge":
        raise CommandError("RTNETLINK answers: Operation not supported")
    bridge.ageing_s = command.seconds


def _add_veth(kernel: Kernel, ns: Netns, link: Link, command: c.LinkAdd) -> None:
    if not command.peer_name:
        raise CommandError("not modelled: a veth without a peer name")
    peer_ns = kernel.netns(command.peer_netns)
    if command.peer_name in peer_ns.links or (peer_ns is ns and command.peer_name == command.name):
        raise CommandError("RTNETLINK answers: File exists")
    link.peer_netns, link.peer_name = command.peer_netns, command.peer_name
    ns.add_link(link)
    peer_ns.add_link(
        Link(
            name=command.peer_name,
            index=0,
            kind="veth",
            mac=command.peer_mac or _mac(kernel, command.peer_netns, command.peer_name),
            mtu_bytes=command.mtu_bytes,
            peer_netns=command.netns,
            peer_name=command.name,
        )
    )


def change(kernel: Kernel, command: c.LinkSet, _now_ns: int) -> None:
    """``ip link set``, ``bridge link set``."""
    ns = kernel.netns(command.netns)
    link = device(ns, command.name)
    if command.master:
        bridge = device(ns, command.master)
        if bridge.kind != "bridge":
            raise CommandError("Error: Device does not allow enslaving to it.")
    if command.hairpin is not None and not (command.master or link.master):
        raise CommandError("RTNETLINK answers: Operation not supported")
    if command.master is not None:
        _set_master(ns, link, command.master)
    if command.mac is not None:
        link.mac = command.mac.lower()
    if command.mtu_bytes is not None:
        link.mtu_bytes, link.mtu_fixed = command.mtu_bytes, True
        _adjust_bridge_mtu(ns, link.master)
    if command.hairpin is not None:
        link.hairpin = command.hairpin
    if command.up is not None and command.up != link.up:
        link.up = command.up
        if link.up:
            for fib in (ns.fib, ns.fib6):
                fib.revive_device(link.name)
            for own in link.addresses:
                ns.connected_routes(link, own)
            for own in link.addresses6:
                ns.bring_up6(link, own)
        else:
            ns.fib.remove_device(link.name, keep_local=True)
            ns.sleep6(link)
            ns.neighbours.remove_device(link.name)
    if link.up:
        wake(kernel, ns, link)


def wake(kernel: Kernel, ns: Netns, link: Link) -> None:
    """Let IPv6 begin on a device that is up and on those that have a carrier by it: a veth's other
    end, the bridge of either.
    """
    if not link.up or not kernel.carrier(link):
        return
    if link.kind == "bridge" and not any(port.up for port in ns.ports(link.name)):
        return
    peer = kernel.peer_of(link)
    for home, one in ((ns, link), *((peer,) if peer is not None else ())):
        home.wake6(one)
        bridge = home.links.get(one.master)
        if bridge is not None and bridge.up:
            home.wake6(bridge)


def _set_master(ns: Netns, link: Link, master: str) -> None:
    if link.master and link.master != master:
        table = ns.fdb.get(link.master, {})
        for mac in [m for m, e in table.items() if e.port == link.name]:
            del table[mac]
    link.master = master
    if not master:
        link.hairpin = False
    _adjust_bridge_mtu(ns, master)


def _adjust_bridge_mtu(ns: Netns, name: str) -> None:
    """A bridge takes the smallest MTU of its ports until someone sets one (br_mtu_auto_adjust)."""
    bridge = ns.links.get(name)
    if bridge is not None and not bridge.mtu_fixed:
        bridge.mtu_bytes = min((p.mtu_bytes for p in ns.ports(name)), default=bridge.mtu_bytes)


def delete(kernel: Kernel, command: c.LinkDel, _now_ns: int) -> None:
    """``ip link del``."""
    ns = kernel.netns(command.netns)
    link = device(ns, command.name)
    if link.kind in {"loopback", "phys"}:
        raise CommandError("RTNETLINK answers: Operation not supported")
    remove_peer(kernel, link)
    for tunnel in [t for t in ns.links.values() if t.kind in OVERHEAD_BYTES and t.dev == link.name]:
        _remove(kernel, ns, tunnel.name)
    if command.name in ns.links:
        _remove(kernel, ns, command.name)
