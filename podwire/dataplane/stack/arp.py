"""ARP (and what it shares with neighbour discovery): asking for MACs, answering, releasing what
waited.
"""

from __future__ import annotations

from podwire.dataplane.addr import BROADCAST_MAC, ip_int
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
        if run.notes is not None and entry.state == "REACHABLE":
            run.notes.until(entry.confirmed_ns + REACHABLE_NS)
        return entry
    run.stir()
    if entry is None or entry.state == "FAILED":
        if entry is None and not room(run, ns, link, ip, waiting):
            return None
        entry = Neighbour(dev=link.name, ip=ip, updated_ns=run.now_ns)
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


def room(run: Run, ns: Netns, link: Link, ip: str, waiting: Waiting | None) -> bool:
    """Whether the node may know one more neighbour (neigh_alloc). All its namespaces share one
    table per family; from gc_thresh2 on, what nobody heard of for five seconds makes room.
    """
    family = "ipv6" if ":" in ip else "ipv4"
    host = run.kernel.netns("").sysctls
    most = host.number(f"net.{family}.neigh.default.gc_thresh3")
    soft = host.number(f"net.{family}.neigh.default.gc_thresh2")
    held = run.kernel.neighbours_held(family, soft)
    if held >= soft and (held >= most or run.kernel.may_collect(family, run.now_ns)):
        held -= run.kernel.collect_neighbours(family, run.now_ns, held - soft)
    if held < most:
        return True
    if waiting is not None:
        table = "ndisc_cache" if family == "ipv6" else "arp_cache"
        run.drop(
            ns,
            Fate.NEIGHBOR_UNREACHABLE,
            waiting.skb.packet,
            f"neighbour: {table}: neighbor table overflow! (gc_thresh3 is {most})",
            stage="neigh",
            object=link.name,
            errno="ENOBUFS",
        )
    return False


def _ask(run: Run, ns: Netns, link: Link, entry: Neighbour) -> None:
    from podwire.dataplane.stack import l2, ndp  # noqa: PLC0415  # the layers call each other

    run.stir()
    entry.probes += 1
    entry.probe_due_ns = run.now_ns + RETRANS_NS
    if ":" in entry.ip:
        ndp.solicit(run, ns, link, entry)
        return
    message = Arp(
        op=1,
        sender_mac=link.mac,
        sender_ip=_announced(ns, link, entry),
        target_ip=entry.ip,
    )
    to = entry.mac if entry.usable() else BROADCAST_MAC
    l2.transmit(run, ns, link, Frame(src=link.mac, dst=to, arp=message))


def _announced(ns: Netns, link: Link, entry: Neighbour) -> str:
    """The address a request comes from (arp_solicit). arp_announce 0: the waiting packet's, if it
    is one's own; 1: if it lies in the target's subnet of this device; 2: never.
    """
    mode = ns.sysctls.device("arp_announce", link.name)
    wanted = entry.waiting[0].skb.packet.src if entry.waiting and mode < 2 else ""
    if wanted in ns.local and (not mode or _onlink(link, wanted, entry.ip)):
        return wanted
    return ns.primary_address(link.name, entry.ip)


def _onlink(link: Link, one: str, other: str) -> bool:
    """Whether two addresses lie in one subnet of a device (inet_addr_onlink)."""
    a, b = ip_int(one), ip_int(other)
    return any(x.prefix.holds(a) and x.prefix.holds(b) for x in link.addresses)


def _answers(ns: Netns, link: Link, message: Arp) -> bool:
    """Whether a request for an own address is answered (arp_ignore). 0: on any device; 1: only on
    the device that has it; 2: and to a sender of its subnet; 8: never.
    """
    target = message.target_ip
    if target not in ns.local:
        return False
    mode = ns.sysctls.device("arp_ignore", link.name)
    if mode == 0:
        return True
    if mode > 2 or all(a.ip != target for a in link.addresses):
        return False
    return mode == 1 or _onlink(link, target, message.sender_ip)


def receive(run: Run, ns: Netns, link: Link, message: Arp) -> None:
    """Learn from an ARP message; answer a request for an address of this namespace, and with
    proxy_arp for any that is routed out of another device.
    """
    mine = _answers(ns, link, message)
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
    own = ns.sysctls.own("forwarding", link.name)
    if target in ns.local or not own or not ns.sysctls.device("proxy_arp", link.name):
        return False
    route = ns.fib.lookup(target)
    return route is not None and route.type == "unicast" and route.dev != link.name


def learn(run: Run, ns: Netns, link: Link, ip: str, mac: str) -> None:
    """Take a neighbour's MAC as confirmed and send what waited for it."""
    entry = ns.neighbours.get(link.name, ip)
    if entry is None:
        if not room(run, ns, link, ip, None):
            return
        entry = Neighbour(dev=link.name, ip=ip)
        ns.neighbours.put(entry)
    if entry.state in {"PERMANENT", "NOARP"}:
        return
    if (entry.mac, entry.state, entry.probes) != (mac, "REACHABLE", 0):
        run.stir()
    entry.mac, entry.state, entry.confirmed_ns = mac, "REACHABLE", run.now_ns
    entry.updated_ns = run.now_ns
    entry.probes = entry.probe_due_ns = 0
    release(run, ns, link, entry)


def release(run: Run, ns: Netns, link: Link, entry: Neighbour) -> None:
    """Send the packets that waited for a neighbour."""
    from podwire.dataplane.stack import bridge, l2  # noqa: PLC0415

    waiting, entry.waiting = entry.waiting, ()
    if waiting:
        run.stir()
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
        run.stir()
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
