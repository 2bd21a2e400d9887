"""IPv4: receive, route, forward, deliver and send, in the order of the Linux kernel.

receive -> PREROUTING -> route -> INPUT -> socket
                               -> FORWARD -> POSTROUTING -> device
output  -> OUTPUT -> (route again if changed) -> POSTROUTING -> device
"""

from __future__ import annotations

from podwire.dataplane.addr import BROADCAST_MAC, ZERO_MAC, is_loopback, is_multicast
from podwire.dataplane.fib import Route
from podwire.dataplane.netfilter import hooks
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import (
    ACK,
    ADMIN_PROHIBITED,
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    ICMP_ECHO,
    ICMP_TIME_EXCEEDED,
    ICMP_UNREACHABLE,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    RST,
    Frame,
    Packet,
    Vxlan,
    replace,
)
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.stack import arp, icmp, vxlan
from podwire.dataplane.verdict import Fate

SMALLEST_PATH_MTU_BYTES = 552

# ---------------------------------------------------------------- receiving


def receive(run: Run, ns: Netns, skb: Skb, *, prerouted: bool = False) -> None:
    """A packet came up from a device (ip_rcv). ``prerouted``: the bridge ran PREROUTING on it."""
    if not prerouted and not hooks.run(run, ns, skb, "PREROUTING"):
        return
    packet = skb.packet
    reason = _martian(ns, skb)
    if reason:
        run.drop(ns, Fate.MARTIAN, packet, reason, object=skb.in_dev)
        return
    if packet.dst == "255.255.255.255" or is_multicast(packet.dst):
        deliver(run, ns, skb)
        return
    route = ns.fib.lookup(packet.dst, packet.src, packet.mark)
    if route is not None and route.type in {"local", "broadcast"}:
        deliver(run, ns, skb)
    elif not ns.sysctls.number("net.ipv4.ip_forward"):
        run.drop(
            ns,
            Fate.NO_ROUTE,
            packet,
            f"{packet.dst} is not local and net.ipv4.ip_forward is 0",
            object=skb.in_dev,
        )
    elif _routable(run, ns, skb, route):
        assert route is not None
        forward(run, ns, skb, route)


def _martian(ns: Netns, skb: Skb) -> str:
    """Why an arriving packet's addresses are impossible here; "" if they are fine."""
    packet, dev = skb.packet, skb.in_dev
    if dev == "lo":
        return ""
    localnet = (is_loopback(packet.dst) or is_loopback(packet.src)) and not ns.sysctls.device(
        "route_localnet", dev
    )
    if localnet:
        return f"loopback address on {dev} (route_localnet is 0)"
    if packet.src in ns.local and not ns.sysctls.device("accept_local", dev):
        return f"source {packet.src} is this host's own address"
    mode = ns.sysctls.device("rp_filter", dev)
    if mode:
        back = ns.fib.lookup(packet.src, packet.dst, packet.mark)
        if back is None or back.type != "unicast" or (mode == 1 and back.dev != dev):
            return f"rp_filter: {packet.src} is not routed back through {dev}"
    return ""


def _routable(run: Run, ns: Netns, skb: Skb, route: Route | None) -> bool:
    """Whether a route leads on; otherwise the packet ends here, with the error that fits."""
    packet = skb.packet
    if route is None:
        run.drop(ns, Fate.NO_ROUTE, packet, f"no route to {packet.dst}", object="main")
        if skb.in_dev:
            icmp.error(run, ns, skb, ICMP_UNREACHABLE, NET_UNREACHABLE)
        return False
    if route.type in {"blackhole", "unreachable", "prohibit"}:
        run.drop(ns, Fate.NULL_ROUTED, packet, f"{route.type} {route.dst}", object=route.table)
        if route.type == "unreachable" and skb.in_dev:
            icmp.error(run, ns, skb, ICMP_UNREACHABLE, HOST_UNREACHABLE)
        elif route.type == "prohibit" and skb.in_dev:
            icmp.error(run, ns, skb, ICMP_UNREACHABLE, ADMIN_PROHIBITED)
        return False
    return True


def forward(run: Run, ns: Netns, skb: Skb, route: Route) -> None:
    """Send a packet on through another device (ip_forward)."""
    packet = skb.packet
    if packet.ttl <= 1:
        run.drop(ns, Fate.TTL_EXCEEDED, packet, "ttl reached zero", object=skb.in_dev)
        icmp.error(run, ns, skb, ICMP_TIME_EXCEEDED, 0)
        return
    link = ns.links[route.dev]
    mtu = route.mtu_bytes or link.mtu_bytes
    if packet.largest_bytes > mtu and packet.dont_fragment:
        run.drop(
            ns,
            Fate.MTU_EXCEEDED,
            packet,
            f"{packet.largest_bytes} bytes, {route.dev} takes {mtu}, and DF is set",
            object=route.dev,
        )
        icmp.error(run, ns, skb, ICMP_UNREACHABLE, FRAGMENTATION_NEEDED, mtu)
        return
    skb.packet = replace(packet, ttl=packet.ttl - 1)
    _record_route(run, ns, route, "forward")
    skb.out_dev = route.dev
    if not hooks.run(run, ns, skb, "FORWARD"):
        return
    skb.in_dev = ""
    if hooks.run(run, ns, skb, "POSTROUTING"):
        finish(run, ns, skb, route)


def _record_route(run: Run, ns: Netns, route: Route, result: str) -> None:
    if run.recorder is not None:
        via = f" via {route.via}" if route.via else ""
        detail = f"{route.dst}{via} dev {route.dev}"
        run.recorder.step("route", route.table, result, detail, netns=ns.name)


# ---------------------------------------------------------------- delivering


def deliver(run: Run, ns: Netns, skb: Skb) -> None:
    """A packet for this namespace: INPUT, then the protocol (ip_local_deliver)."""
    if run.recorder is not None:
        run.recorder.step("route", "local", "local", f"dev {skb.in_dev}", netns=ns.name)
    if not hooks.run(run, ns, skb, "INPUT"):
        return
    packet = skb.packet
    if packet.protocol == "icmp":
        _deliver_icmp(run, ns, packet)
    elif isinstance(packet.payload, Vxlan) and vxlan.receive(run, ns, packet, packet.payload):
        return
    elif ns.sockets.wants(packet):
        run.deliver(ns, packet)
    elif packet.protocol == "tcp":
        _refuse_tcp(run, ns, packet)
    else:
        run.drop(
            ns,
            Fate.REFUSED,
            packet,
            f"no socket on {packet.dst}:{packet.dst_port}/{packet.protocol}",
            stage="socket",
            object="local",
        )
        icmp.error(run, ns, skb, ICMP_UNREACHABLE, PORT_UNREACHABLE)


def _deliver_icmp(run: Run, ns: Netns, packet: Packet) -> None:
    if packet.icmp_type == ICMP_ECHO:
        if run.recorder is not None:
            run.recorder.step("socket", "icmp", "deliver", str(packet), netns=ns.name)
        icmp.echo(run, ns, packet)
        return
    needs_fragmentation = (
        packet.icmp_type == ICMP_UNREACHABLE and packet.icmp_code == FRAGMENTATION_NEEDED
    )
    if needs_fragmentation and packet.original is not None:
        learned = max(packet.icmp_mtu_bytes, SMALLEST_PATH_MTU_BYTES)
        ns.path_mtu[packet.original.dst] = learned
    run.deliver(ns, packet)


def _refuse_tcp(run: Run, ns: Netns, packet: Packet) -> None:
    """No socket wants a segment: answer with RST, unless it is one (tcp_v4_send_reset)."""
    if packet.tcp_flags & RST:
        if run.recorder is not None:
            run.recorder.step("socket", "local", "ignore", "RST for no socket", netns=ns.name)
        return
    run.drop(
        ns,
        Fate.REFUSED,
        packet,
        f"nobody listens on {packet.dst}:{packet.dst_port}/tcp",
        stage="socket",
        object="local",
    )
    output(run, ns, reset_for(packet))


def reset_for(packet: Packet) -> Packet:
    """The RST that answers a segment."""
    return Packet(
        src=packet.dst,
        dst=packet.src,
        protocol="tcp",
        src_port=packet.dst_port,
        dst_port=packet.src_port,
        tcp_flags=RST if packet.tcp_flags & ACK else RST | ACK,
        size_bytes=40,
    )


# ---------------------------------------------------------------- sending


def source_for(ns: Netns, route: Route, dst: str) -> str:
    """The source address the kernel picks for a route."""
    if route.src:
        return route.src
    return ns.primary_address(route.dev, route.via or dst)


def output(run: Run, ns: Netns, packet: Packet, *, ipvs: bool = False) -> None:
    """Send a packet of this namespace's own (ip_local_out). ``ipvs``: IPVS had it already."""
    route = ns.fib.lookup(packet.dst, packet.src, packet.mark)
    skb = Skb(packet)
    skb.ipvs = ipvs
    if not _routable(run, ns, skb, route):
        return
    assert route is not None
    if not packet.src:
        skb.packet = packet = replace(packet, src=source_for(ns, route, packet.dst))
    skb.out_dev = "lo" if route.type == "local" else route.dev
    if run.recorder is not None:
        run.recorder.step("out", skb.out_dev, "send", str(packet), netns=ns.name)
    if not hooks.run(run, ns, skb, "OUTPUT"):
        return
    after = skb.packet
    if after.dst != packet.dst or after.mark != packet.mark or after.src != packet.src:
        route = ns.fib.lookup(after.dst, after.src, after.mark)
        if not _routable(run, ns, skb, route):
            return
        assert route is not None
        skb.out_dev = "lo" if route.type == "local" else route.dev
    _record_route(run, ns, route, "out")
    leaves = skb.out_dev != "lo" and is_loopback(after.src)
    if leaves and not ns.sysctls.device("route_localnet", skb.out_dev):
        run.drop(
            ns,
            Fate.MARTIAN,
            after,
            f"loopback source cannot leave by {skb.out_dev} (route_localnet is 0)",
            object=skb.out_dev,
        )
        return
    if hooks.run(run, ns, skb, "POSTROUTING"):
        finish(run, ns, skb, route)


def mtu_for(ns: Netns, route: Route, dst: str) -> int:
    """The largest packet this namespace may send toward an address, in bytes."""
    dev = "lo" if route.type == "local" else route.dev
    mtu = route.mtu_bytes or ns.links[dev].mtu_bytes
    return min(mtu, ns.path_mtu.get(dst, mtu))


def finish(run: Run, ns: Netns, skb: Skb, route: Route) -> None:
    """Find the next hop's MAC and hand the packet to its device (ip_finish_output)."""
    from podwire.dataplane.stack import l2  # noqa: PLC0415  # the layers call each other

    packet = skb.packet
    link = ns.links["lo" if route.type == "local" else route.dev]
    mtu = mtu_for(ns, route, packet.dst)
    if packet.largest_bytes > mtu and packet.dont_fragment:
        run.drop(
            ns,
            Fate.MTU_EXCEEDED,
            packet,
            f"Message too long: {packet.largest_bytes} bytes, mtu {mtu}",
            stage="out",
            object=link.name,
        )
        return
    if link.kind == "loopback":
        frame = Frame(src=ZERO_MAC, dst=ZERO_MAC, packet=packet)
        arrived = skb.copy()
        arrived.in_dev, arrived.out_dev = "lo", ""
        l2.transmit(run, ns, link, frame, arrived)
        return
    if route.type == "broadcast" or is_multicast(packet.dst) or not link.arp:
        l2.transmit(run, ns, link, Frame(src=link.mac, dst=BROADCAST_MAC, packet=packet), skb)
        return
    hop = route.via or packet.dst
    neighbour = arp.resolve(run, ns, link, hop, arp.queue_for(skb))
    if neighbour is None:
        return
    arp.record(run, ns, neighbour)
    l2.transmit(run, ns, link, Frame(src=link.mac, dst=neighbour.mac, packet=packet), skb)
