"""NAT (nf_nat): a connection is given its translation once; every packet of it is then rewritten.

Which end is rewritten depends on the hook: PREROUTING and OUTPUT change destinations, INPUT and
POSTROUTING sources. For answers the same hooks undo the opposite translation.
"""

from __future__ import annotations

from podwire.dataplane.addr import ip_int, ip_text
from podwire.dataplane.conntrack import Entry, Tuple, invert
from podwire.dataplane.netfilter.targets import Nat
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import ICMP_PROTOCOLS, Packet, replace
from podwire.dataplane.skb import Skb
from podwire.runtime.ports import Rng

SOURCE_HOOKS = ("INPUT", "POSTROUTING")
EPHEMERAL = (1024, 65535)


def bound(entry: Entry, *, source: bool) -> bool:
    """Whether this end's translation (perhaps none) is already settled."""
    return entry.src_bound if source else entry.dst_bound


def bind(
    ns: Netns, entry: Entry, target: Nat | None, *, source: bool, rng: Rng, now_ns: int, to: str
) -> None:
    """Settle one end of a connection (nf_nat_setup_info). ``target`` None only avoids clashes.

    ``to`` is the new address; the port stays if it may.
    """
    current = invert(entry.reply)
    wanted = _unique(ns, entry, current, target, source=source, rng=rng, now_ns=now_ns, to=to)
    if wanted != current:
        entry.reply = invert(wanted)
        if source:
            entry.snat = True
        else:
            entry.dnat = True
    if source:
        entry.src_bound = True
    else:
        entry.dst_bound = True


def _unique(
    ns: Netns,
    entry: Entry,
    current: Tuple,
    target: Nat | None,
    *,
    source: bool,
    rng: Rng,
    now_ns: int,
    to: str,
) -> Tuple:
    """The translated tuple: the wanted address, and a port nobody else's answers use."""
    table = ns.conntrack
    shuffle = target is not None and (target.random or target.random_fully)
    ports = target.ports if target is not None else None
    wanted = _with(current, to, None, source=source)
    port = current[2] if source else current[4]
    fits = ports is None or ports[0] <= port <= ports[1]
    if not shuffle and fits and not table.used(invert(wanted), entry, now_ns):
        return wanted
    if current[0] in ICMP_PROTOCOLS:
        if not source:
            return wanted
        ports = ports or (0, 65535)
    elif ports is None:
        if not source:
            return wanted
        ports = _port_class(port)
    low, high = ports
    span = high - low + 1
    start = rng.below(span) if span > 1 else 0
    for offset in range(span):
        choice = _with(current, to, low + (start + offset) % span, source=source)
        if not table.used(invert(choice), entry, now_ns):
            return choice
    return _with(current, to, low + start, source=source)


def _port_class(port: int) -> tuple[int, int]:
    """Ports are traded for ports of their kind: privileged ones stay privileged."""
    if port < 512:
        return (1, 511)
    return (600, 1023) if port < 1024 else EPHEMERAL


def _with(key: Tuple, ip: str, port: int | None, *, source: bool) -> Tuple:
    protocol, src, sport, dst, dport = key
    if source:
        return (protocol, ip, sport if port is None else port, dst, dport)
    return (protocol, src, sport, ip, dport if port is None else port)


def pick_address(target: Nat, entry: Entry) -> str:
    """The address of a range for a connection: always the same for the same client."""
    if not target.last_ip:
        return target.ip
    low, high = ip_int(target.ip), ip_int(target.last_ip)
    key = ip_int(entry.orig[1]) * 2654435761 + (
        0 if target.persistent else ip_int(entry.orig[3]) * 40503
    )
    bits = 128 if ":" in target.ip else 32
    return ip_text(low + (key >> 7) % (high - low + 1), bits)


def translate(skb: Skb, *, source: bool) -> None:
    """Rewrite a packet as its connection's translation asks (nf_nat_packet)."""
    entry = skb.ct
    if entry is None or not _applies(entry, reply=skb.ct_reply, source=source):
        return
    packet = skb.packet
    if packet.is_icmp_error:
        skb.packet = _translate_error(packet, entry, reply=skb.ct_reply, source=source)
        return
    skb.packet = _rewrite(
        packet, invert(entry.orig if skb.ct_reply else entry.reply), source=source
    )


def _applies(entry: Entry, *, reply: bool, source: bool) -> bool:
    return entry.snat if source != reply else entry.dnat


def _rewrite(packet: Packet, key: Tuple, *, source: bool) -> Packet:
    _, src, sport, dst, dport = key
    if packet.protocol in ICMP_PROTOCOLS:
        if source:
            return replace(packet, src=src, icmp_id=sport)
        return replace(packet, dst=dst, icmp_id=sport)
    if source:
        return replace(packet, src=src, src_port=sport)
    return replace(packet, dst=dst, dst_port=dport)


def _translate_error(packet: Packet, entry: Entry, *, reply: bool, source: bool) -> Packet:
    """An ICMP error about a translated packet: its addresses, and those of what it quotes."""
    quoted = packet.original
    assert quoted is not None
    other = entry.orig if reply else entry.reply
    outer = invert(other)
    quoted = _rewrite(quoted, other, source=not source)
    if source:
        return replace(packet, src=outer[1], original=quoted)
    return replace(packet, dst=outer[3], original=quoted)
