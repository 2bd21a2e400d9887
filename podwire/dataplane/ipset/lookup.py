"""Asking sets about packets: what ``-m set`` and ``-j SET`` do (xt_set, ip_set_kadt)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from podwire.dataplane.addr import ip_int
from podwire.dataplane.cost import Meter
from podwire.dataplane.ipset.address import BITS, family_of, masked
from podwire.dataplane.ipset.element import Element, Key
from podwire.dataplane.ipset.ports import WITH_PORTS
from podwire.dataplane.ipset.sets import SECOND_NS, IpSet, IpSets
from podwire.dataplane.netdb import OF_PACKETS
from podwire.dataplane.packet import Packet
from podwire.dataplane.skb import Skb

BITMAP_PROTOCOLS = ("tcp", "udp")
"""bitmap:port looks at nothing else: SCTP ports need a hash."""


class Counting(NamedTuple):
    """How a match treats counters: whether it counts, and what it compares with. ``meter`` counts
    the sets that are asked.
    """

    update: bool = True
    packets: tuple[str, int] | None = None
    bytes: tuple[str, int] | None = None
    meter: Meter | None = None


def key_of(made: IpSet, skb: Skb, sides: tuple[str, ...]) -> Key | None:
    """The plain values of a packet's sides; None when it cannot be in the set."""
    packet, family = skb.packet, made.options.family
    if len(sides) < len(made.kind.dimensions):
        return None
    parts: list[object] = []
    for dimension, side in zip(made.kind.dimensions, sides, strict=False):
        source = side == "src"
        if dimension in {"ip", "net"}:
            address = packet.src if source else packet.dst
            if family_of(address) != family:
                return None
            value = ip_int(address)
            if made.options.netmask:
                value = masked(value, made.options.netmask, BITS[family])
            parts.append(value)
        elif dimension == "port":
            port = _port(packet, source=source)
            if made.kind.name == "bitmap:port":
                if packet.protocol not in BITMAP_PROTOCOLS:
                    return None
                return (port[1],)
            parts.append(port)
        elif dimension == "mark":
            parts.append(packet.mark)
        else:
            parts.append((skb.in_dev if source else skb.out_dev, False))
    return tuple(parts)


def _port(packet: Packet, *, source: bool) -> tuple[str, int]:
    if packet.protocol in WITH_PORTS:
        return packet.protocol, packet.src_port if source else packet.dst_port
    if packet.protocol in {"icmp", "icmpv6"}:
        return packet.protocol, packet.icmp_type << 8 | packet.icmp_code
    return OF_PACKETS.get(packet.protocol, packet.protocol), 0


def find(made: IpSet, skb: Skb, sides: tuple[str, ...], now_ns: int) -> tuple[Key, Element] | None:
    """The element that holds a packet's sides, if one does."""
    key = key_of(made, skb, sides)
    if key is None:
        return None
    hit = made.find(key, now_ns)
    if hit is None and made.kind.dimensions[-1] == "iface":
        phys = skb.phys_in if sides[-1] == "src" else skb.phys_out
        hit = made.find((*key[:-1], (phys, True)), now_ns) if phys else None
    return hit


def matches(
    sets: IpSets,
    name: str,
    skb: Skb,
    sides: tuple[str, ...],
    now_ns: int,
    counting: Counting,
    *,
    return_nomatch: bool = False,
    subcounters: bool = True,
) -> bool:
    """Whether a packet is in a set."""
    made = sets.table[name]
    if made.kind.dimensions == ("set",):
        inner = counting._replace(update=counting.update and subcounters)
        for (member,), kept in list(made.living(now_ns)):
            if len(sets.table[member].kind.dimensions) > len(sides):
                continue
            if matches(sets, member, skb, sides, now_ns, inner, return_nomatch=return_nomatch):
                return _count(sets, made, (member,), kept, skb, counting)
        return False
    if counting.meter is not None:
        counting.meter.asked("ipset")
    hit = find(made, skb, sides, now_ns)
    if hit is None:
        return False
    key, kept = hit
    if kept.nomatch:
        return return_nomatch
    return _count(sets, made, key, kept, skb, counting)


def _count(
    sets: IpSets, made: IpSet, key: Key, kept: Element, skb: Skb, counting: Counting
) -> bool:
    """Count a hit (ip_set_match_extensions), and whether the counters are as asked."""
    if not made.options.counters:
        return True
    if counting.update:
        kept = msgspec.structs.replace(
            kept, packets=kept.packets + 1, bytes=kept.bytes + skb.packet.size_bytes
        )
        sets.own(made.name).elements[key] = kept
    return _compare(kept.packets, counting.packets) and _compare(kept.bytes, counting.bytes)


def _compare(value: int, wanted: tuple[str, int] | None) -> bool:
    if wanted is None:
        return True
    how, limit = wanted
    return {"eq": value == limit, "ne": value != limit, "lt": value < limit, "gt": value > limit}[
        how
    ]


def fill(
    sets: IpSets,
    name: str,
    skb: Skb,
    sides: tuple[str, ...],
    now_ns: int,
    *,
    exist: bool = False,
    timeout_s: int | None = None,
) -> None:
    """``-j SET --add-set``: add a packet's sides."""
    if sets.table[name].kind.dimensions == ("set",):
        for (member,), _ in list(sets.table[name].living(now_ns)):
            fill(sets, member, skb, sides, now_ns, exist=exist, timeout_s=timeout_s)
        return
    made = sets.own(name)
    key = key_of(made, skb, sides)
    if key is None:
        return
    key = exact(made, key)
    made.expire(now_ns)
    full = len(made.elements) >= made.options.maxelem
    if (key in made.elements and not exist) or (key not in made.elements and full):
        return
    low, high = made.options.range
    if made.kind.name == "bitmap:port" and not low <= key[0] <= high:
        return
    seconds = timeout_s if timeout_s is not None else made.options.timeout_s
    expires = now_ns + seconds * SECOND_NS if made.options.timeout_s is not None and seconds else 0
    made.put(key, Element(expires_ns=expires))


def remove(sets: IpSets, name: str, skb: Skb, sides: tuple[str, ...], now_ns: int) -> None:
    """``-j SET --del-set``: take a packet's sides out."""
    if sets.table[name].kind.dimensions == ("set",):
        for (member,), _ in list(sets.table[name].living(now_ns)):
            remove(sets, member, skb, sides, now_ns)
        return
    made = sets.own(name)
    key = key_of(made, skb, sides)
    if key is not None and exact(made, key) in made.elements:
        made.drop(exact(made, key))


def exact(made: IpSet, key: Key) -> Key:
    """The key that adding a packet's values makes: an address becomes a network of the widest
    length that the set already has (a single address in an empty one).
    """
    bits = BITS[made.options.family]
    parts = list(key)
    for position, counts in zip(made.kind.nets, made.lengths, strict=True):
        length = min(counts, default=bits)
        parts[position] = (masked(key[position], length, bits), length)
    return tuple(parts)
