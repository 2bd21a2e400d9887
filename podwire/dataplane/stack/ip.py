"""IP of both families: receive, route, forward, deliver and send, in the order of the Linux kernel.

receive -> PREROUTING -> route -> INPUT -> socket
                               -> FORWARD -> POSTROUTING -> device
output  -> OUTPUT -> (route again if changed) -> POSTROUTING -> device
"""

from __future__ import annotations

from podwire.dataplane import family as families
from podwire.dataplane.addr import (
    BROADCAST_MAC,
    ZERO_MAC,
    is_loopback,
    is_multicast,
    multicast_mac,
)
from podwire.dataplane.family import Trouble
from podwire.dataplane.fib import Route
from podwire.dataplane.neigh import Waiting
from podwire.dataplane.netfilter import hooks
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import (
    ACK,
    FRAGMENTATION_NEEDED,
    ICMP_PROTOCOLS,
    ICMP_UNREACHABLE,
    ICMPV6_TOO_BIG,
    RST,
    Encapsulated,
    Frame,
    Packet,
    Vxlan,
    out_of_the_blue,
    replace,
)
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.stack import arp, icmp, ndp, tunnel, vxlan
from podwire.dataplane.verdict import Fate

SOCKET_PROTOCOLS = ("tcp", "udp", "sctp")

# ---------------------------------------------------------------- receiving


def receive(run: Run, ns: Netns, skb: Skb, *, prerouted: bool = False) -> None:
    """A packet came up from a device (ip_rcv). ``prerouted``: the bridge ran PREROUTING on it."""
    if not prerouted and not hooks.run(run, ns, skb, "PREROUTING"):
        return
    packet = skb.packet
    reason = _martian6(skb) if ":" in packet.dst else _martian(ns, skb)
    if reason:
        run.drop(ns, Fate.MARTIAN, packet, reason, object=skb.in_dev)
        return
    if packet.dst == "255.255.255.255" or is_multicast(packet.dst):
        if _listens(ns, skb):
            deliver(run, ns, skb)
        return
    route = ns.fib_of(packet.dst).route(packet, skb.in_dev)
    if route is not None and route.type in {"local", "broadcast", "anycast"}:
        deliver(run, ns, skb)
    elif not _forwards(ns, skb):
        run.drop(
            ns,
            Fate.NO_ROUTE,
            packet,
            f"{packet.dst} is not local and {_closed_switch(ns, skb)} is 0",
            object=skb.in_dev,
        )
    elif _routable(run, ns, skb, route):
        assert route is not None
        forward(run, ns, skb, route)


def _listens(ns: Netns, skb: Skb) -> bool:
    """Whether a multicast packet is for this host. IPv4's groups are not modelled: everyone is."""
    link = ns.links.get(skb.in_dev)
    return link is None or ":" not in skb.packet.dst or ndp.listens(link, skb.packet.dst)


def _forwards(ns: Netns, skb: Skb) -> bool:
    """Whether packets that came in by this device are passed on: IPv4 asks the device (which
    ``ip_forward`` sets for all), IPv6 the host.
    """
    if ":" in skb.packet.dst:
        return ns.sysctls.number("net.ipv6.conf.all.forwarding") != 0
    return ns.sysctls.own("forwarding", skb.in_dev) != 0


def _closed_switch(ns: Netns, skb: Skb) -> str:
    """The sysctl that keeps this host from passing a packet on."""
    switch = families.of(skb.packet.dst).forwarding
    return switch if not ns.sysctls.number(switch) else f"net.ipv4.conf.{skb.in_dev}.forwarding"


def _martian(ns: Netns, skb: Skb) -> str:
    """Why an arriving packet's addresses are impossible here; "" if they are fine
    (ip_route_input_slow, fib_validate_source).
    """
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
        mark = packet.mark if ns.sysctls.device("src_valid_mark", dev) else 0
        back = ns.fib.lookup(packet.src, packet.dst, mark, iif=dev)
        accepted = ("unicast", "local") if packet.src in ns.local else ("unicast",)
        if back is None or back.type not in accepted:
            return f"rp_filter: there is no route back to {packet.src}"
        if mode == 1 and not _leads_back(ns, back, dev):
            return f"rp_filter: {packet.src} is not routed back through {dev}"
    return ""


def _leads_back(ns: Netns, back: Route, dev: str) -> bool:
    """Strict mode: one of the ways to the source leaves by the device it came in by."""
    if back.dev == dev or back.type == "local":
        return True
    return any(route.uses(dev) for route in ns.fib.tables[back.table].at(back.prefix))


def _martian6(skb: Skb) -> str:
    """IPv6 has no reverse path filter; ::1 never arrives from outside (ip6_rcv_core)."""
    packet = skb.packet
    if skb.in_dev != "lo" and (is_loopback(packet.src) or is_loopback(packet.dst)):
        return f"loopback address on {skb.in_dev}"
    return "multicast source" if is_multicast(packet.src) else ""


ERRNOS = {"blackhole": "EINVAL", "unreachable": "EHOSTUNREACH", "prohibit": "EACCES"}
"""What a local sender's system call says of such a route (fib_props)."""


def refusal(route: Route) -> str:
    """The errno of a route or rule that leads nowhere; a rule says "network unreachable"
    (fib4_rule_action, fib6_rule_action).
    """
    of_rule = route.type == "unreachable" and route.table.startswith("rule ")
    return "ENETUNREACH" if of_rule else ERRNOS[route.type]


_ANSWERS = {"unreachable": Trouble.HOST_UNREACHABLE, "prohibit": Trouble.PROHIBITED}


def _routable(run: Run, ns: Netns, skb: Skb, route: Route | None) -> bool:
    """Whether a route leads on; otherwise the packet ends here, with the error that fits.

    IPv6 says "no route" for an unreachable one too (ip6_pkt_discard).
    """
    packet = skb.packet
    if route is not None and route.unknown:
        why = f"not modelled: {route.unknown}"
        run.drop(ns, Fate.UNKNOWN, packet, why, object=route.table)
        return False
    if route is None:
        why, errno = f"no route to {packet.dst}", "ENETUNREACH"
        run.drop(ns, Fate.NO_ROUTE, packet, why, object="main", errno=errno)
        if skb.in_dev:
            icmp.tell(run, ns, skb, Trouble.NO_ROUTE)
        return False
    if route.type in ERRNOS:
        run.drop(
            ns,
            Fate.NULL_ROUTED,
            packet,
            f"{route.type} {route.dst}",
            object=route.table,
            errno=refusal(route),
        )
        trouble = _ANSWERS.get(route.type)
        network = ":" in packet.dst or refusal(route) == "ENETUNREACH"
        if trouble is Trouble.HOST_UNREACHABLE and network:
            trouble = Trouble.NO_ROUTE
        if trouble is not None and skb.in_dev:
            icmp.tell(run, ns, skb, trouble)
        return False
    return True


def forward(run: Run, ns: Netns, skb: Skb, route: Route) -> None:
    """Send a packet on through another device (ip_forward)."""
    packet = skb.packet
    if packet.ttl <= 1:
        run.drop(ns, Fate.TTL_EXCEEDED, packet, "ttl reached zero", object=skb.in_dev)
        icmp.tell(run, ns, skb, Trouble.TIME_EXCEEDED)
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
        icmp.tell(run, ns, skb, Trouble.TOO_BIG, mtu)
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
    if packet.protocol in ICMP_PROTOCOLS:
        _deliver_icmp(run, ns, skb)
    elif packet.payload is not None and _unwrapped(run, ns, packet):
        return
    elif ns.sockets.wants(packet):
        run.deliver(ns, packet)
    elif packet.protocol == "tcp":
        _refuse_tcp(run, ns, packet)
    elif packet.protocol == "sctp":
        _refuse_sctp(run, ns, packet)
    elif packet.protocol not in SOCKET_PROTOCOLS:
        why = f"nothing here speaks protocol {packet.protocol}"
        run.drop(ns, Fate.REFUSED, packet, why, stage="socket", object="local")
        icmp.tell(run, ns, skb, Trouble.NO_PROTOCOL)
    else:
        run.drop(
            ns,
            Fate.REFUSED,
            packet,
            f"no socket on {packet.dst}:{packet.dst_port}/{packet.protocol}",
            stage="socket",
            object="local",
        )
        icmp.tell(run, ns, skb, Trouble.PORT_UNREACHABLE)


def _unwrapped(run: Run, ns: Netns, packet: Packet) -> bool:
    """Whether it is a tunnel's packet, which goes on inside out."""
    payload = packet.payload
    if isinstance(payload, Vxlan):
        return vxlan.receive(run, ns, packet, payload)
    return isinstance(payload, Encapsulated) and tunnel.receive(run, ns, packet, payload)


def _deliver_icmp(run: Run, ns: Netns, skb: Skb) -> None:
    packet = skb.packet
    family = families.BY_ICMP[packet.protocol]
    if packet.icmp_type == family.echo:
        if run.recorder is not None:
            run.recorder.step("socket", "icmp", "deliver", str(packet), netns=ns.name)
        icmp.echo(run, ns, skb)
        return
    if packet.is_discovery:
        ndp.receive(run, ns, ns.links[skb.in_dev], packet)
        return
    if packet.original is not None and is_too_big(packet):
        learned = max(packet.icmp_mtu_bytes, family.smallest_mtu_bytes)
        run.stir()
        ns.path_mtu[packet.original.dst] = learned
    run.deliver(ns, packet)


def is_too_big(packet: Packet) -> bool:
    """Whether it is "fragmentation needed" or "packet too big"."""
    if packet.protocol == "icmpv6":
        return packet.icmp_type == ICMPV6_TOO_BIG
    return packet.icmp_type == ICMP_UNREACHABLE and packet.icmp_code == FRAGMENTATION_NEEDED


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


def _refuse_sctp(run: Run, ns: Netns, packet: Packet) -> None:
    """No socket wants a packet: answer with ABORT, as a kernel with the module sctp does."""
    answer = out_of_the_blue(packet)
    if answer is None:
        if run.recorder is not None:
            what = f"{packet.sctp_chunk.upper()} for no socket"
            run.recorder.step("socket", "local", "ignore", what, netns=ns.name)
        return
    run.drop(
        ns,
        Fate.REFUSED,
        packet,
        f"nobody listens on {packet.dst}:{packet.dst_port}/sctp",
        stage="socket",
        object="local",
    )
    output(run, ns, answer)


def reset_for(packet: Packet) -> Packet:
    """The RST that answers a segment."""
    return Packet(
        src=packet.dst,
        dst=packet.src,
        protocol="tcp",
        src_port=packet.dst_port,
        dst_port=packet.src_port,
        tcp_flags=RST if packet.tcp_flags & ACK else RST | ACK,
        size_bytes=20 + families.of(packet.dst).header_bytes,
    )


# ---------------------------------------------------------------- sending


def source_for(ns: Netns, route: Route, dst: str) -> str:
    """The source address the kernel picks for a route."""
    if route.src:
        return route.src
    if route.prefix.bits == 128:
        local = route.type == "local"
        return dst if local else ns.primary_address(route.dev, dst)
    return ns.primary_address(route.dev, route.via or dst)


def output(run: Run, ns: Netns, packet: Packet, oif: str = "", *, ipvs: bool = False) -> None:
    """Send a packet of this namespace's own (ip_local_out), by a given device if any. ``ipvs``:
    IPVS had it already.
    """
    route = ns.fib_of(packet.dst).route(packet, "lo", oif)
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
    # A datagram is measured by its socket, before any rule (__ip_append_data); TCP's never are.
    if packet.protocol != "tcp" and _too_long(run, ns, packet, route):
        return
    if not hooks.run(run, ns, skb, "OUTPUT"):
        return
    after = skb.packet
    if after.dst != packet.dst or after.mark != packet.mark or after.src != packet.src:
        # ip_route_me_harder: the source stays what it was
        route = ns.fib_of(after.dst).route(after)
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
    return mtu if route.mtu_lock else min(mtu, ns.path_mtu.get(dst, mtu))


def _too_long(run: Run, ns: Netns, packet: Packet, route: Route) -> bool:
    """Whether a packet of this namespace's own does not fit its route, and is told so."""
    mtu = mtu_for(ns, route, packet.dst)
    if packet.largest_bytes <= mtu or not packet.dont_fragment:
        return False
    run.drop(
        ns,
        Fate.MTU_EXCEEDED,
        packet,
        f"Message too long: {packet.largest_bytes} bytes, mtu {mtu}",
        stage="out",
        object="lo" if route.type == "local" else route.dev,
        errno="EMSGSIZE",
    )
    return True


def finish(run: Run, ns: Netns, skb: Skb, route: Route) -> None:
    """Find the next hop's MAC and hand the packet to its device (ip_finish_output)."""
    from podwire.dataplane.stack import l2  # noqa: PLC0415  # the layers call each other

    packet = skb.packet
    link = ns.links["lo" if route.type == "local" else route.dev]
    if _too_long(run, ns, packet, route):
        return
    if link.kind == "loopback":
        frame = Frame(src=ZERO_MAC, dst=ZERO_MAC, packet=packet)
        arrived = skb.copy()
        arrived.in_dev, arrived.out_dev = "lo", ""
        l2.transmit(run, ns, link, frame, arrived)
        return
    if route.type == "broadcast" or is_multicast(packet.dst) or not link.arp:
        mac = BROADCAST_MAC
        skb.hop = route.via or packet.dst
        if link.arp and ":" in packet.dst:
            mac = multicast_mac(packet.dst)
        l2.transmit(run, ns, link, Frame(src=link.mac, dst=mac, packet=packet), skb)
        return
    hop = route.via or packet.dst
    neighbour = arp.resolve(run, ns, link, hop, Waiting(skb))
    if neighbour is None:
        return
    arp.record(run, ns, neighbour)
    l2.transmit(run, ns, link, Frame(src=link.mac, dst=neighbour.mac, packet=packet), skb)
