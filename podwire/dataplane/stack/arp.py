"""ARP (and what it shares with neighbour discovery): asking for MACs, answering, releasing what
waited.
"""

from __future__ import annotations

from podwire.dataplane.addr import BROADCAST_MAC
from podwire.dataplane.family import Trouble
from podwire.dataplane.link import Link
from podwire.dataplane.neigh import (
    MAX_PROBES,
    QUEUE_LENGTH,
    REACHABLE_NS,
    RETRANS_NS,
    Neighbour,
    Waiting,
)
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import Arp, Frame
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate


def resolve(run: Run, ns: Netns, link: Link, ip: str, waiting: Waiting) -> Neighbour | None:
    """The neighbour to send to now, or None: then the packet waits for an answer (or was lost).

    Someone who was not heard of for a while is used and asked (directly) at the same time.
    """
    entry = ns.neighbours.get(link.name, ip)
    if entry is not None and entry.usable():
        if (
            entry.state == "REACHABLE"
            and not entry.probes
            and run.now_ns - entry.confirmed_ns >= REACHABLE_NS
        ):
            _ask(run, ns, link, entry)
        return entry
    if entry is None or entry.state == "FAILED":
        entry = Neighbour(dev=link.name, ip=ip)
        ns.neighbours.put(entry)
    if len(entry.waiting) >= QUEUE_LENGTH:
        run.drop(
            ns,
            Fate.LOST,
            entry.waiting[0].skb.packet,
            f"too many packets wait for the MAC of {ip}",
            stage="neigh",
            object=link.name,
        )
        entry.waiting = entry.waiting[1:]
    entry.waiting = (*entry.waiting, waiting)
    if not entry.probes:
        _ask(run, ns, link, entry)
    # The answer may already have come, from inside this node: then release() sent the packet.
    return None


def _ask(run: Run, ns: Netns, link: Link, entry: Neighbour) -> None:
    from podwire.dataplane.stack import l2, ndp  # noqa: PLC0415  # the layers call each other

    entry.probes += 1
    entry.probe_due_ns = run.now_ns + RETRANS_NS
    if ":" in entry.ip:
        ndp.solicit(run, ns, link, entry)
        return
    message = Arp(
        op=1,
        sender_mac=link.mac,
        sender_ip=ns.primary_address(link.name, entry.ip),
        target_ip=entry.ip,
    )
    to = entry.mac if entry.usable() else BROADCAST_MAC
    l2.transmit(run, ns, link, Frame(src=link.mac, dst=to, arp=message))


def receive(run: Run, ns: Netns, link: Link, message: Arp) -> None:
    """Learn from an ARP message; answer a request for an address of this namespace.

    Any local address is answered on any device (arp_ignore=0), and with proxy_arp any that is
    routed out of another device.
    """
    mine = message.target_ip in ns.local
    known = ns.neighbours.get(link.name, message.sender_ip)
    if message.sender_ip != "0.0.0.0" and (known is not None or (mine and message.op == 1)):
        learn(run, ns, link, message.sender_ip, message.sender_mac)
    if message.op == 1 and (mine or _proxies(ns, link, message.target_ip)):
        from podwire.dataplane.stack import l2  # noqa: PLC0415

        answer = Arp(
            op=2,
            sender_mac=link.mac,
            sender_ip=message.target_ip,
            target_ip=message.sender_ip,
            target_mac=message.sender_mac,
        )
        l2.transmit(run, ns, link, Frame(src=link.mac, dst=message.sender_mac, arp=answer))


def _proxies(ns: Netns, link: Link, target: str) -> bool:
    if not ns.sysctls.device("proxy_arp", link.name):
        return False
    route = ns.fib.lookup(target)
    return route is not None and route.type == "unicast" and route.dev != link.name


def learn(run: Run, ns: Netns, link: Link, ip: str, mac: str) -> None:
    """Take a neighbour's MAC as confirmed and send what waited for it."""
    entry = ns.neighbours.get(link.name, ip)
    if entry is None:
        entry = Neighbour(dev=link.name, ip=ip)
        ns.neighbours.put(entry)
    if entry.state in {"PERMANENT", "NOARP"}:
        return
    entry.mac, entry.state, entry.confirmed_ns = mac, "REACHABLE", run.now_ns
    entry.probes = entry.probe_due_ns = 0
    release(run, ns, link, entry)


def release(run: Run, ns: Netns, link: Link, entry: Neighbour) -> None:
    """Send the packets that waited for a neighbour."""
    from podwire.dataplane.stack import bridge, l2  # noqa: PLC0415

    waiting, entry.waiting = entry.waiting, ()
    if waiting:
        record(run, ns, entry)
    for item in waiting:
        packet = item.skb.packet
        if item.bridged_from:
            frame = Frame(src=item.frame_src, dst=entry.mac, packet=packet)
            port = ns.links.get(item.bridged_from)
            if port is not None:
                bridge.forward(run, ns, link, port, frame, item.skb)
        else:
            frame = Frame(src=link.mac, dst=entry.mac, packet=packet)
            l2.transmit(run, ns, link, frame, item.skb)


def tick(run: Run, ns: Netns) -> None:
    """Repeat requests whose second is over; give up after three. Send what may go by now."""
    from podwire.dataplane.stack import icmp  # noqa: PLC0415

    for entry in ns.neighbours.pending():
        if entry.probe_due_ns > run.now_ns:
            continue
        link = ns.links.get(entry.dev)
        if link is not None and entry.usable() and not entry.probes:
            release(run, ns, link, entry)
            continue
        if link is not None and entry.probes < MAX_PROBES:
            _ask(run, ns, link, entry)
            continue
        entry.state, entry.mac = "FAILED", ""
        entry.probes = entry.probe_due_ns = 0
        waiting, entry.waiting = entry.waiting, ()
        for item in waiting:
            run.drop(
                ns,
                Fate.NEIGHBOR_UNREACHABLE,
                item.skb.packet,
                f"nobody on {entry.dev} answers for {entry.ip}",
                stage="neigh",
                object=entry.dev,
            )
            icmp.tell(run, ns, item.skb, Trouble.HOST_UNREACHABLE)


def record(run: Run, ns: Netns, entry: Neighbour) -> None:
    """Note which MAC a packet is sent to."""
    if run.recorder is not None:
        state = entry.shown_state(run.now_ns).lower()
        detail = f"{entry.ip} lladdr {entry.mac}"
        run.recorder.step("neigh", entry.dev, state, detail, netns=ns.name)


def queue_for(skb: Skb) -> Waiting:
    """A routed packet as it waits for a MAC."""
    return Waiting(skb=skb)
