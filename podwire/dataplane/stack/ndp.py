"""Neighbour discovery: IPv6's ARP, made of packets that netfilter sees (RFC 4861).

Router discovery, redirects, proxies and duplicate address detection are not modelled.
"""

from __future__ import annotations

from podwire.dataplane.addr import is_multicast, multicast_mac, solicited_node
from podwire.dataplane.link import Link
from podwire.dataplane.neigh import Neighbour
from podwire.dataplane.netfilter import hooks
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import (
    ICMPV6_ADVERTISEMENT,
    ICMPV6_SOLICITATION,
    Discovery,
    Frame,
    Packet,
)
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb

HOP_LIMIT = 255
MESSAGE_BYTES = 72


def solicit(run: Run, ns: Netns, link: Link, entry: Neighbour) -> None:
    """Ask for an address' MAC: its group at first, the neighbour itself to confirm (ndisc_solicit).

    The source is that of the packet which waits, if it is this device's; else link-local.
    """
    own = [a.ip for a in link.addresses6]
    wanted = entry.waiting[0].skb.packet.src if entry.waiting else ""
    source = wanted if wanted in own else ns.primary_address(link.name, "fe80::")
    usable = entry.usable()
    message = Packet(
        src=source or "::",
        dst=entry.ip if usable else solicited_node(entry.ip),
        protocol="icmpv6",
        icmp_type=ICMPV6_SOLICITATION,
        ttl=HOP_LIMIT,
        size_bytes=MESSAGE_BYTES,
        payload=Discovery(target=entry.ip, mac=link.mac),
    )
    _send(run, ns, link, message, entry.mac if usable else multicast_mac(message.dst))


def _send(run: Run, ns: Netns, link: Link, message: Packet, mac: str) -> None:
    """Through OUTPUT and POSTROUTING; the steps of discovery are nobody's packet's."""
    from podwire.dataplane.stack import l2  # noqa: PLC0415  # the two layers call each other

    with run.aside():
        skb = Skb(message, out_dev=link.name)
        if hooks.run(run, ns, skb, "OUTPUT") and hooks.run(run, ns, skb, "POSTROUTING"):
            l2.transmit(run, ns, link, Frame(src=link.mac, dst=mac, packet=skb.packet), skb)


def listens(link: Link, group: str) -> bool:
    """Whether a device is in a multicast group: everybody's, or that of one of its addresses."""
    return group == "ff02::1" or any(solicited_node(a.ip) == group for a in link.addresses6)


def receive(run: Run, ns: Netns, link: Link, message: Packet) -> None:
    """A solicitation or advertisement passed INPUT (ndisc_rcv)."""
    said = message.payload
    if message.ttl != HOP_LIMIT or not isinstance(said, Discovery):
        return
    if message.icmp_type == ICMPV6_ADVERTISEMENT:
        _learn(run, ns, link, said.target, said.mac, only_known=True)
    elif any(a.ip == said.target for a in link.addresses6):
        # only for the very device's addresses, unlike ARP
        if message.src != "::":
            _learn(run, ns, link, message.src, said.mac, only_known=False)
        _advertise(run, ns, link, message, said)


def _advertise(run: Run, ns: Netns, link: Link, asked: Packet, said: Discovery) -> None:
    to_all = asked.src == "::"
    answer = Packet(
        src=said.target,
        dst="ff02::1" if to_all else asked.src,
        protocol="icmpv6",
        icmp_type=ICMPV6_ADVERTISEMENT,
        ttl=HOP_LIMIT,
        size_bytes=MESSAGE_BYTES,
        payload=Discovery(target=said.target, mac=link.mac, solicited=True),
    )
    _send(run, ns, link, answer, multicast_mac(answer.dst) if to_all else said.mac)


def _learn(run: Run, ns: Netns, link: Link, ip: str, mac: str, *, only_known: bool) -> None:
    from podwire.dataplane.stack import arp  # noqa: PLC0415

    if is_multicast(ip) or (only_known and ns.neighbours.get(link.name, ip) is None):
        return
    with run.restored():
        arp.learn(run, ns, link, ip, mac)
