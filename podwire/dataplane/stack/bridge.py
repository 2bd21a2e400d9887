"""The Linux bridge with br_netfilter: learning, flooding, hairpin, and iptables on bridged frames.

With ``net.bridge.bridge-nf-call-iptables`` and ``-ip6tables`` (on, as kube-proxy wants them) an IP
packet between two ports passes PREROUTING, FORWARD and POSTROUTING with the bridge as its device,
so same-node Service traffic is translated and un-translated although nothing routes it.
"""

from __future__ import annotations

from podwire.dataplane.addr import BROADCAST_MAC, is_broadcast_mac
from podwire.dataplane.link import FdbEntry, Link
from podwire.dataplane.neigh import SECOND_NS, Waiting
from podwire.dataplane.netfilter import hooks
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import Frame, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate

REFRESH_NS = SECOND_NS


def receive(run: Run, ns: Netns, port: Link, frame: Frame) -> None:
    """A frame arrived at a port (br_handle_frame)."""
    bridge = ns.links.get(port.master)
    if bridge is None or not bridge.up:
        if frame.packet is not None:
            run.drop(
                ns,
                Fate.LINK_DOWN,
                frame.packet,
                f"bridge {port.master} is down",
                stage="bridge",
                object=port.master,
            )
        return
    _learn(run, ns, bridge, port, frame.src)
    skb = None
    if frame.packet is not None:
        skb = Skb(frame.packet, in_dev=bridge.name)
        skb.phys_in = port.name
        if hooks.bridged(ns, skb.packet.dst):
            if not hooks.run(run, ns, skb, "PREROUTING"):
                return
            if skb.packet.dst != frame.packet.dst:
                _dnated(run, ns, bridge, port, frame, skb)
                return
            if skb.packet is not frame.packet:
                frame = replace(frame, packet=skb.packet)
    forward(run, ns, bridge, port, frame, skb)


def _learn(run: Run, ns: Netns, bridge: Link, port: Link, mac: str) -> None:
    table = ns.fdb.setdefault(bridge.name, {})
    known = table.get(mac)
    if known is not None:
        if known.permanent:
            return
        if known.port == port.name and run.now_ns - known.seen_ns < REFRESH_NS:
            if run.notes is not None:
                run.notes.until(known.seen_ns + REFRESH_NS)
            return
    if known is None or known.port != port.name:
        run.stir()
    run.unfit()
    table[mac] = FdbEntry(port=port.name, seen_ns=run.now_ns)


def _dnated(run: Run, ns: Netns, bridge: Link, port: Link, frame: Frame, skb: Skb) -> None:
    """Where a bridged frame goes whose destination NAT changed (br_nf_pre_routing_finish).

    Out of the same bridge: on at once, to the new neighbour's MAC. Anywhere else: up, to be routed.
    """
    from podwire.dataplane.stack import arp  # noqa: PLC0415  # the layers call each other

    route = ns.fib_of(skb.packet.dst).route(skb.packet, bridge.name)
    if route is None or route.type != "unicast" or route.dev != bridge.name:
        up = replace(frame, dst=bridge.mac, packet=skb.packet)
        forward(run, ns, bridge, port, up, skb)
        return
    waiting = Waiting(skb=skb, bridged_from=port.name, frame_src=frame.src)
    neighbour = arp.resolve(run, ns, bridge, route.via or skb.packet.dst, waiting)
    if neighbour is not None:
        bridged = Frame(src=frame.src, dst=neighbour.mac, packet=skb.packet)
        forward(run, ns, bridge, port, bridged, skb)


def forward(run: Run, ns: Netns, bridge: Link, port: Link, frame: Frame, skb: Skb | None) -> None:
    """Decide where a frame from a port goes (br_handle_frame_finish): up, one port, or all."""
    if is_broadcast_mac(frame.dst):
        _up(run, ns, bridge, frame, skb)
        _flood(run, ns, bridge, port, frame, skb)
        return
    ports = ns.ports(bridge.name)
    if frame.dst == bridge.mac or any(p.mac == frame.dst for p in ports):
        _up(run, ns, bridge, replace(frame, dst=bridge.mac), skb)
        return
    known = lookup(run, ns, bridge, frame.dst)
    if known is not None:
        target = ns.links.get(known.port)
        if target is port and not port.hairpin and frame.packet is not None:
            run.drop(
                ns,
                Fate.LOST,
                frame.packet,
                f"hairpin mode is off: {port.name} does not send back what it received",
                stage="bridge",
                object=bridge.name,
            )
        elif target is not None:
            _to_port(run, ns, bridge, port, target, frame, skb)
        return
    _flood(run, ns, bridge, port, frame, skb)


def _flood(run: Run, ns: Netns, bridge: Link, source: Link, frame: Frame, skb: Skb | None) -> None:
    """To every port that has a carrier (one without is disabled), as an own copy each."""
    for port in ns.ports(bridge.name):
        if run.kernel.carrier(port):
            _to_port(run, ns, bridge, source, port, frame, skb)


def lookup(run: Run, ns: Netns, bridge: Link, mac: str) -> FdbEntry | None:
    """The port a MAC was last seen at, unless that is too long ago."""
    entry = ns.fdb.get(bridge.name, {}).get(mac)
    if entry is None or entry.permanent:
        return entry
    stale_ns = entry.seen_ns + bridge.ageing_s * SECOND_NS
    if run.now_ns >= stale_ns:
        run.unfit()
        return None
    if run.notes is not None:
        run.notes.until(stale_ns)
    return entry


def _up(run: Run, ns: Netns, bridge: Link, frame: Frame, skb: Skb | None) -> None:
    from podwire.dataplane.stack import arp, ip  # noqa: PLC0415

    run.came(bridge, frame.size_bytes)
    if is_broadcast_mac(frame.dst) and frame.dst != BROADCAST_MAC:
        run.unfit()
        bridge.stats.multicast += 1
    if frame.arp is not None:
        arp.receive(run, ns, bridge, frame.arp)
    elif skb is not None:
        arrived = skb.copy()
        arrived.in_dev = bridge.name
        ip.receive(run, ns, arrived, prerouted=hooks.bridged(ns, skb.packet.dst))


def _to_port(
    run: Run, ns: Netns, bridge: Link, source: Link, target: Link, frame: Frame, skb: Skb | None
) -> None:
    from podwire.dataplane.stack import l2  # noqa: PLC0415

    if not target.up or (target is source and not source.hairpin):
        return
    if skb is not None:
        if run.recorder is not None:
            run.recorder.step("bridge", bridge.name, "forward", target.name, netns=ns.name)
        if hooks.bridged(ns, skb.packet.dst):
            skb = skb.copy()
            skb.in_dev = skb.out_dev = bridge.name
            skb.phys_out = target.name
            if not hooks.run(run, ns, skb, "FORWARD"):
                return
            skb.in_dev = ""
            if not hooks.run(run, ns, skb, "POSTROUTING"):
                return
            frame = replace(frame, packet=skb.packet)
    l2.transmit(run, ns, target, frame)


def transmit(run: Run, ns: Netns, bridge: Link, frame: Frame) -> None:
    """A frame from this namespace's own stack leaves through the bridge (br_dev_xmit).

    The IP layer already ran POSTROUTING on it, so no hook sees it again.
    """
    from podwire.dataplane.stack import l2  # noqa: PLC0415

    known = None if is_broadcast_mac(frame.dst) else lookup(run, ns, bridge, frame.dst)
    if known is not None and known.port in ns.links:
        if run.recorder is not None and frame.packet is not None:
            run.recorder.step("bridge", bridge.name, "forward", known.port, netns=ns.name)
        l2.transmit(run, ns, ns.links[known.port], frame)
        return
    ports = [port for port in ns.ports(bridge.name) if port.up and run.kernel.carrier(port)]
    if run.recorder is not None and frame.packet is not None:
        run.recorder.step("bridge", bridge.name, "flood", f"{len(ports)} ports", netns=ns.name)
    for port in ports:
        l2.transmit(run, ns, port, frame)
