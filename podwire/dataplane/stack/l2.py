"""Frames entering and leaving devices: the one switch over device kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.addr import is_broadcast_mac
from podwire.dataplane.ebpf import netdev
from podwire.dataplane.link import Beyond, Link
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import ETHERNET_BYTES, NO_PACKET, Frame, replace
from podwire.dataplane.qdisc import Netem
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.stack import arp, bridge, ip, tunnel, vxlan
from podwire.dataplane.verdict import Fate

if TYPE_CHECKING:
    from collections.abc import Callable


def transmit(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None = None) -> None:
    """Hand a frame to a device (dev_queue_xmit). A device that is down drops it."""
    if not link.up:
        _down(run, ns, link, frame)
        return
    if link.beyond is not None:
        _leave(run, ns, link, link.beyond, frame)
        return
    if link.qdisc is not None:
        _queue(run, ns, link, link.qdisc, frame, skb)
        return
    _depart(run, ns, link, frame, skb)


def _depart(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None) -> None:
    """A frame leaves a device; captures see it here, behind the queue (dev_queue_xmit_nit)."""
    if run.kernel.taps:
        for tap in run.kernel.taps.get(ns.name, ()):
            tap(link.name, "Out", frame)
    _TRANSMIT[link.kind](run, ns, link, frame, skb)


def _queue(run: Run, ns: Netns, link: Link, netem: Netem, frame: Frame, skb: Skb | None) -> None:
    """Netem decides when a frame leaves, how often, or never. On a fork only certain loss counts:
    a walk asks what rules do, not what luck does.
    """
    run.unfit()
    ideal = run.kernel.ideal
    if run.recorder is not None and frame.packet is not None:
        run.recorder.step("qdisc", link.name, "netem", describe(netem), netns=ns.name)
    if ideal and netem.loss < 1:
        _depart(run, ns, link, frame, skb)
        return
    queue = run.kernel.queue(ns.name, link.name)
    due, why = queue.schedule(netem, frame.size_bytes, run.now_ns)
    if why:
        run.drop(ns, Fate.LOST, frame.packet or NO_PACKET, why, stage="qdisc", object=link.name)
    for at_ns in due:
        if at_ns <= run.now_ns:
            queue.held -= 1
            queue.sent += 1
            _depart(run, ns, link, frame, skb)
        else:
            run.kernel.hold(at_ns, ns.name, link.name, frame, skb)


def describe(netem: Netem) -> str:
    """What a device does to frames, for people."""
    words = [f"delay {netem.delay_ns / 1e6:g}ms"] if netem.delay_ns else []
    for name in ("loss", "duplicate", "reorder", "corrupt"):
        share = getattr(netem, name)
        words += [f"{name} {100 * share:g}%"] if share else []
    return " ".join(words) or "nothing"


def dequeue(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None) -> None:
    """A frame that netem held leaves."""
    if link.up:
        _depart(run, ns, link, frame, skb)
    else:
        _down(run, ns, link, frame)


def _down(run: Run, ns: Netns, link: Link, frame: Frame) -> None:
    run.drop(
        ns,
        Fate.LINK_DOWN,
        frame.packet or NO_PACKET,
        f"device {link.name} is down",
        stage="link",
        object=link.name,
    )


def _leave(run: Run, ns: Netns, link: Link, beyond: Beyond, frame: Frame) -> None:
    """To what a dump does not tell of. Questions for MACs are asked whatever is there."""
    run.unfit()
    if (beyond.sends or not frame.carries) and beyond.carrier:
        _phys(run, ns, link, frame, None)
        return
    fate, why = Fate.UNKNOWN, f"{link.name}: {beyond.words}"
    if not beyond.carrier:
        fate, why = Fate.LINK_DOWN, f"device {link.name} has no carrier"
    run.drop(ns, fate, frame.packet or NO_PACKET, why, stage="link", object=link.name)


def _veth(run: Run, ns: Netns, link: Link, frame: Frame, _skb: Skb | None) -> None:
    found = run.kernel.peer_of(link)
    if found is None or not found[1].up:
        link.stats.tx_dropped += 1
        run.drop(
            ns,
            Fate.LINK_DOWN,
            frame.packet or NO_PACKET,
            f"the peer of {link.name} is down",
            stage="link",
            object=link.name,
        )
        return
    peer_ns, peer = found
    run.sent(link, frame.size_bytes + ETHERNET_BYTES)
    if run.recorder is not None and frame.packet is not None:
        run.recorder.step("link", link.name, peer.name, "veth", netns=ns.name)
    if peer_ns is not ns and frame.packet is not None and frame.packet.mark:
        frame = replace(frame, packet=replace(frame.packet, mark=0))
    run.enqueue(link.peer_netns, link.peer_name, frame)


def _phys(run: Run, ns: Netns, link: Link, frame: Frame, _skb: Skb | None) -> None:
    run.sent(link, frame.size_bytes + ETHERNET_BYTES)
    if frame.packet is not None and frame.packet.mark:
        frame = replace(frame, packet=replace(frame.packet, mark=0))
    if ns.ebpf.attached:
        frame = netdev.egress(run, ns, link, frame)
    run.to_wire(ns, link.name, frame)


def _loopback(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None) -> None:
    run.sent(link, frame.size_bytes)
    run.enqueue(ns.name, link.name, frame, skb)


def _bridge(run: Run, ns: Netns, link: Link, frame: Frame, _skb: Skb | None) -> None:
    run.sent(link, frame.size_bytes + ETHERNET_BYTES)
    bridge.transmit(run, ns, link, frame)


def _vxlan(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None) -> None:
    vxlan.transmit(run, ns, link, frame, skb)


def _dummy(run: Run, ns: Netns, link: Link, frame: Frame, _skb: Skb | None) -> None:
    run.sent(link, frame.size_bytes + ETHERNET_BYTES)
    run.drop(
        ns,
        Fate.LOST,
        frame.packet or NO_PACKET,
        f"dummy device {link.name} discards what is sent to it",
        stage="link",
        object=link.name,
    )


def _ipip(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None) -> None:
    if frame.packet is not None:
        tunnel.ipip(run, ns, link, frame.packet, skb.hop if skb is not None else "")


def _wireguard(run: Run, ns: Netns, link: Link, frame: Frame, _skb: Skb | None) -> None:
    if frame.packet is not None:
        tunnel.wireguard(run, ns, link, frame.packet)


_TRANSMIT: dict[str, Callable[[Run, Netns, Link, Frame, Skb | None], None]] = {
    "veth": _veth,
    "phys": _phys,
    "loopback": _loopback,
    "bridge": _bridge,
    "vxlan": _vxlan,
    "geneve": _vxlan,
    "ipip": _ipip,
    "wireguard": _wireguard,
    "dummy": _dummy,
}


_HEADER_BYTES = {"phys": ETHERNET_BYTES, "veth": ETHERNET_BYTES}
"""What a device that receives a frame counts beside what is in it."""


def receive(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None = None) -> None:
    """A frame arrived at a device: to its bridge, or up the stack."""
    if not link.up:
        _down(run, ns, link, frame)
        return
    if link.kind != "wireguard":  # which counts what it unwraps (tunnel)
        run.came(link, frame.size_bytes + _HEADER_BYTES.get(link.kind, 0))
    if run.kernel.taps:
        for tap in run.kernel.taps.get(ns.name, ()):
            tap(link.name, "In", frame)
    if link.beyond is not None and not link.beyond.takes and frame.carries:
        why = f"{link.name}: {link.beyond.words}"
        packet = frame.packet or NO_PACKET
        run.drop(ns, Fate.UNKNOWN, packet, why, stage="link", object=link.name)
        return
    if ns.ebpf.attached and skb is None:
        left = netdev.ingress(run, ns, link, frame)
        if left is None:
            return
        frame = left
    if link.master:
        bridge.receive(run, ns, link, frame)
    else:
        up(run, ns, link, frame, skb)


def up(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None = None) -> None:
    """A frame for this namespace's own stack. One to another MAC is ignored (PACKET_OTHERHOST)."""
    if frame.dst != link.mac and not is_broadcast_mac(frame.dst):
        if run.recorder is not None and frame.packet is not None:
            run.recorder.step("link", link.name, "ignore", f"not to {link.mac}", netns=ns.name)
        return
    if frame.arp is not None:
        arp.receive(run, ns, link, frame.arp)
    elif frame.packet is not None:
        if skb is None:
            skb = Skb(frame.packet, in_dev=link.name)
        ip.receive(run, ns, skb)
