"""Commands about devices: making, changing and removing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane.addr import family_of
from podwire.dataplane.commands import CommandError
from podwire.dataplane.execute_common import address, device
from podwire.dataplane.link import Link
from podwire.dataplane.netns import Netns

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

LINK_KINDS = ("veth", "bridge", "vxlan", "dummy")
VXLAN_OVERHEAD_BYTES = {"ipv4": 50, "ipv6": 70}


def remove_peer(kernel: Kernel, link: Link) -> None:
    """Remove the other end of a veth that goes."""
    peer_ns = kernel.find_netns(link.peer_netns)
    if peer_ns is not None and link.peer_name in peer_ns.links:
        peer_ns.remove_link(link.peer_name)


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
    if command.kind == "vxlan":
        link.vni, link.dev = command.vni, command.dev
        link.local = address(command.local) if command.local else ""
        link.dst_port, link.learning = command.dst_port, command.learning
        if command.dev:
            lower = device(ns, command.dev)
            overhead = VXLAN_OVERHEAD_BYTES[family_of(link.local)]
            link.mtu_bytes = min(link.mtu_bytes, lower.mtu_bytes - overhead)
    ns.add_link(link)


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
    peer_ns = kernel.find_netns(link.peer_netns) if link.kind == "veth" else None
    peer = peer_ns.links.get(link.peer_name) if peer_ns is not None else None
    if not link.up or (link.kind == "veth" and (peer is None or not peer.up)):
        return
    if link.kind == "bridge" and not any(port.up for port in ns.ports(link.name)):
        return
    for home, one in ((ns, link), (peer_ns, peer)):
        if home is None or one is None:
            continue
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
    if link.kind == "veth":
        remove_peer(kernel, link)
    for tunnel in [t for t in ns.links.values() if t.kind == "vxlan" and t.dev == link.name]:
        ns.remove_link(tunnel.name)
    if command.name in ns.links:
        ns.remove_link(command.name)
