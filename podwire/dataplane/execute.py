"""Commands to a kernel: one function per command, and the words tools say when one fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.dataplane import commands as c
from podwire.dataplane.addr import Prefix, ip_int, parse_prefix
from podwire.dataplane.commands import CommandError
from podwire.dataplane.fib import Route
from podwire.dataplane.ipset import change as ipset
from podwire.dataplane.ipset.types import IpsetError
from podwire.dataplane.ipvs import change as ipvs
from podwire.dataplane.ipvs.change import IpvsError
from podwire.dataplane.link import Address, FdbEntry, Link
from podwire.dataplane.neigh import Neighbour
from podwire.dataplane.netfilter.restore import restore
from podwire.dataplane.netns import Netns

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

LINK_KINDS = ("veth", "bridge", "vxlan", "dummy")
VXLAN_OVERHEAD_BYTES = 50


def run(kernel: Kernel, command: c.Command, now_ns: int) -> None:
    """Run one command on a kernel. Raises CommandError."""
    _VERBS[type(command)](kernel, command, now_ns)


def _device(ns: Netns, name: str) -> Link:
    link = ns.links.get(name)
    if link is None:
        raise CommandError(f'Cannot find device "{name}"')
    return link


def _prefix(text: str) -> Prefix:
    try:
        return parse_prefix(text)
    except ValueError:
        raise CommandError(f'Error: inet prefix is expected rather than "{text}".') from None


def _address(text: str) -> str:
    try:
        ip_int(text)
    except ValueError:
        raise CommandError(f'Error: inet address is expected rather than "{text}".') from None
    return text


# ---------------------------------------------------------------- namespaces and links


def _netns_add(kernel: Kernel, command: c.NetnsAdd, _now_ns: int) -> None:
    if kernel.find_netns(command.name) is not None:
        raise CommandError(
            f'Cannot create namespace file "/var/run/netns/{command.name}": File exists'
        )
    kernel.add_netns(command.name)


def _netns_del(kernel: Kernel, command: c.NetnsDel, _now_ns: int) -> None:
    ns = kernel.find_netns(command.name)
    if ns is None or not command.name:
        raise CommandError(
            f'Cannot remove namespace file "/var/run/netns/{command.name}": '
            "No such file or directory"
        )
    for link in list(ns.links.values()):
        if link.kind == "veth":
            _remove_peer(kernel, link)
    kernel.remove_netns(command.name)


def _remove_peer(kernel: Kernel, link: Link) -> None:
    peer_ns = kernel.find_netns(link.peer_netns)
    if peer_ns is not None and link.peer_name in peer_ns.links:
        peer_ns.remove_link(link.peer_name)


def _mac(kernel: Kernel, netns: str, name: str) -> str:
    """A locally administered address, from the kernel's chance but independent of order."""
    raw = bytearray(kernel.rng.child(f"mac/{netns}/{name}").bytes(6))
    raw[0] = raw[0] & 0xFE | 0x02
    return ":".join(f"{b:02x}" for b in raw)


def _link_add(kernel: Kernel, command: c.LinkAdd, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    if command.kind not in LINK_KINDS:
        raise CommandError("Error: Unknown device type.")
    if command.name in ns.links:
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
        link.vni, link.local, link.dev = command.vni, command.local, command.dev
        link.dst_port, link.learning = command.dst_port, command.learning
        if command.dev:
            lower = _device(ns, command.dev)
            link.mtu_bytes = min(link.mtu_bytes, lower.mtu_bytes - VXLAN_OVERHEAD_BYTES)
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


def _link_set(kernel: Kernel, command: c.LinkSet, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.name)
    if command.master:
        bridge = _device(ns, command.master)
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
            for address in link.addresses:
                ns.connected_routes(link, address)
        else:
            ns.fib.remove_device(link.name, keep_local=True)
            ns.neighbours.remove_device(link.name)


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


def _link_del(kernel: Kernel, command: c.LinkDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.name)
    if link.kind in {"loopback", "phys"}:
        raise CommandError("RTNETLINK answers: Operation not supported")
    if link.kind == "veth":
        _remove_peer(kernel, link)
    for tunnel in [t for t in ns.links.values() if t.kind == "vxlan" and t.dev == link.name]:
        ns.remove_link(tunnel.name)
    if command.name in ns.links:
        ns.remove_link(command.name)


# ---------------------------------------------------------------- addresses and routes


def _addr_add(kernel: Kernel, command: c.AddrAdd, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.dev)
    prefix = _prefix(command.cidr)
    ip = command.cidr.partition("/")[0]
    known = ip in ns.local  # a service device holds thousands: do not look through them all
    if known and any(a.ip == ip and a.prefix.length == prefix.length for a in link.addresses):
        raise CommandError("Error: ipv4: Address already assigned.")
    ns.add_address(link, Address(ip, prefix, command.scope))


def _addr_del(kernel: Kernel, command: c.AddrDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.dev)
    prefix = _prefix(command.cidr)
    ip = command.cidr.partition("/")[0]
    for address in link.addresses:
        if address.ip == ip and address.prefix.length == prefix.length:
            ns.remove_address(link, address)
            return
    raise CommandError("Error: ipv4: Address not found.")


def _route_replace(kernel: Kernel, command: c.RouteReplace, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    prefix = _prefix(command.dst)
    if command.type != "unicast":
        if command.type not in {"blackhole", "unreachable", "prohibit"}:
            raise CommandError(f"not modelled: route type {command.type}")
        ns.fib.put(Route(prefix, type=command.type, table=command.table, proto=command.proto))
        return
    dev = command.dev
    if command.via:
        dev = _gateway_device(ns, command)
    if not dev:
        raise CommandError("RTNETLINK answers: No such device")
    if not _device(ns, dev).up:
        raise CommandError("Error: Device for nexthop is not up.")
    if command.src and _address(command.src) not in ns.local:
        raise CommandError("Error: Invalid prefsrc address.")
    ns.fib.put(
        Route(
            prefix,
            dev=dev,
            via=command.via,
            src=command.src,
            scope=command.scope or ("" if command.via else "link"),
            proto=command.proto,
            onlink=command.onlink,
            table=command.table,
            mtu_bytes=command.mtu_bytes,
        )
    )


def _gateway_device(ns: Netns, command: c.RouteReplace) -> str:
    """The device a gateway is reached through; it must be on a connected network or onlink."""
    _address(command.via)
    if command.onlink:
        if not command.dev:
            raise CommandError("Error: Nexthop device required for onlink.")
        return command.dev
    toward = _toward_gateway(ns, command.via, command.dev)
    if toward is None or toward.type != "unicast":
        raise CommandError("Error: Nexthop has invalid gateway.")
    return toward.dev


def _toward_gateway(ns: Netns, via: str, dev: str) -> Route | None:
    found = ns.fib.lookup(via)
    if not dev or (found is not None and found.dev == dev and not found.via):
        return found if found is not None and not found.via else None
    target = ip_int(via)
    for route in ns.fib.routes("main"):
        if route.dev == dev and not route.via and route.prefix.holds(target):
            return route
    return None


def _route_del(kernel: Kernel, command: c.RouteDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    prefix = _prefix(command.dst)
    table = ns.fib.tables.get(command.table)
    for route in table.at(prefix) if table is not None else ():
        if command.dev in {"", route.dev} and command.via in {"", route.via}:
            ns.fib.remove(route)
            return
    raise CommandError("RTNETLINK answers: No such process")


# ---------------------------------------------------------------- neighbours and FDB


def _neigh_replace(kernel: Kernel, command: c.NeighReplace, now_ns: int) -> None:
    """Packets that wait for this neighbour leave at the next tick."""
    ns = kernel.netns(command.netns)
    _device(ns, command.dev)
    _address(command.dst)
    state = command.state.upper()
    if state not in {"PERMANENT", "NOARP", "REACHABLE", "STALE"}:
        raise CommandError(f'Error: argument "{command.state}" is wrong: nud state is bad')
    known = ns.neighbours.get(command.dev, command.dst)
    entry = Neighbour(
        dev=command.dev,
        ip=command.dst,
        mac=command.mac.lower(),
        state="REACHABLE" if state == "STALE" else state,
        confirmed_ns=now_ns if state == "REACHABLE" else 0,
        waiting=known.waiting if known is not None else (),
    )
    ns.neighbours.put(entry)


def _neigh_del(kernel: Kernel, command: c.NeighDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    _device(ns, command.dev)
    if ns.neighbours.entries.pop((command.dev, command.dst), None) is None:
        raise CommandError("RTNETLINK answers: No such file or directory")


def _fdb_replace(kernel: Kernel, command: c.FdbReplace, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.dev)
    mac = command.mac.lower()
    if link.kind == "vxlan":
        table, entry = link.name, FdbEntry(port=link.name, dst=command.dst, permanent=True)
    elif link.master:
        table, entry = link.master, FdbEntry(port=link.name, permanent=True)
    else:
        raise CommandError("RTNETLINK answers: Operation not supported")
    ns.fdb.setdefault(table, {})[mac] = entry


def _fdb_del(kernel: Kernel, command: c.FdbDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = _device(ns, command.dev)
    table = ns.fdb.get(link.name if link.kind == "vxlan" else link.master, {})
    if table.pop(command.mac.lower(), None) is None:
        raise CommandError("RTNETLINK answers: No such file or directory")


# ---------------------------------------------------------------- netfilter and sysctl


def _sysctl_set(kernel: Kernel, command: c.SysctlSet, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    if not ns.sysctls.known(command.key):
        path = command.key.replace(".", "/")
        raise CommandError(f"sysctl: cannot stat /proc/sys/{path}: No such file or directory")
    if not all(part.lstrip("-").isdigit() for part in command.value.split()):
        raise CommandError(f'sysctl: setting key "{command.key}": Invalid argument')
    ns.sysctls.set(command.key, command.value)


def _rules_restore(kernel: Kernel, command: c.RulesRestore, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    if command.family != "ipv4":
        if command.family != "ipv6":
            raise CommandError(f"not modelled: rules of family {command.family}")
        return  # no IPv6 packet exists here, so its rules never decide anything
    restore(ns.netfilter, command.text, noflush=command.noflush)


def _ipset_restore(kernel: Kernel, command: c.IpsetRestore, now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    try:
        ipset.restore(
            ns.ipsets,
            command.text,
            exist=command.exist,
            used=ns.set_references,
            initval=ipset.seeds(kernel.rng, command.netns),
            now_ns=now_ns,
        )
    except IpsetError as error:
        raise CommandError(f"{ipset.VERSION}: {error}") from None


def _ipvs_restore(kernel: Kernel, command: c.IpvsRestore, now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    ns.expire_ipvs(now_ns)
    try:
        ns.change_ipvs(lambda draft: ipvs.restore(draft, command.text))
    except IpvsError as error:
        raise CommandError(f"ipvsadm: {error}") from None


def _conntrack_delete(kernel: Kernel, command: c.ConntrackDelete, now_ns: int) -> None:
    kernel.netns(command.netns).conntrack.delete(
        command.proto,
        now_ns,
        orig_dst=command.orig_dst,
        orig_dport=command.orig_dport,
        reply_src=command.reply_src,
    )


_VERBS: dict[type[c.Command], Callable[[Kernel, Any, int], None]] = {
    c.NetnsAdd: _netns_add,
    c.NetnsDel: _netns_del,
    c.LinkAdd: _link_add,
    c.LinkSet: _link_set,
    c.LinkDel: _link_del,
    c.AddrAdd: _addr_add,
    c.AddrDel: _addr_del,
    c.RouteReplace: _route_replace,
    c.RouteDel: _route_del,
    c.NeighReplace: _neigh_replace,
    c.NeighDel: _neigh_del,
    c.FdbReplace: _fdb_replace,
    c.FdbDel: _fdb_del,
    c.RulesRestore: _rules_restore,
    c.IpsetRestore: _ipset_restore,
    c.IpvsRestore: _ipvs_restore,
    c.SysctlSet: _sysctl_set,
    c.ConntrackDelete: _conntrack_delete,
}
