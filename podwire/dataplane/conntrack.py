"""Connection tracking (nf_conntrack): which packets belong together, and how far they have come.

TCP follows the kernel's state table; sequence numbers are not looked at (the network model has
none), so a packet is never INVALID for its window. A tuple is (protocol, source, source port,
destination, destination port); for ICMP echo the ports are identifier and type. Both families
share one table.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwire.dataplane.packet import (
    ACK,
    FIN,
    ICMP_ECHO,
    ICMP_ECHO_REPLY,
    ICMPV6_ECHO,
    ICMPV6_ECHO_REPLY,
    RST,
    SYN,
    Packet,
)
from podwire.dataplane.sysctl import Sysctls

Tuple = tuple[str, str, int, str, int]
SECOND_NS = 1_000_000_000
PURGE_EVERY = 1024
UDP_STREAM_AFTER_NS = 2 * SECOND_NS

ECHOES = {
    "icmp": {ICMP_ECHO: ICMP_ECHO_REPLY, ICMP_ECHO_REPLY: ICMP_ECHO},
    "icmpv6": {ICMPV6_ECHO: ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REPLY: ICMPV6_ECHO},
}
UNTRACKED_ICMPV6 = range(130, 138)
"""Multicast listener and neighbour discovery (nf_conntrack_proto_icmpv6.c: noct_valid_new)."""

# fmt: off
# nf_conntrack_proto_tcp.c, tcp_conntracks: new state by direction, kind of segment, old state.
# "" is invalid, "-" leaves the state alone.
NO, SS, SR, ES, FW, CW, LA, TW, CL, S2 = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
    "TIME_WAIT", "CLOSE", "SYN_SENT2",
)
_IV, _IG = "", "-"
_OLD = (NO, SS, SR, ES, FW, CW, LA, TW, CL, S2)
_ORIGINAL = {
    "syn":    (SS,  SS,  _IG, _IG, _IG, _IG, _IG, SS,  SS,  S2),
    "synack": (_IV, _IV, SR,  _IV, _IV, _IV, _IV, _IV, _IV, SR),
    "fin":    (_IV, _IV, FW,  FW,  LA,  LA,  LA,  TW,  CL,  _IV),
    "ack":    (ES,  _IV, ES,  ES,  CW,  CW,  TW,  TW,  CL,  _IV),
    "rst":    (_IV, CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL),
    "none":   (_IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV),
}
_REPLY = {
    "syn":    (_IV, S2,  _IV, _IV, _IV, _IV, _IV, SS,  _IV, S2),
    "synack": (_IV, SR,  _IG, _IG, _IG, _IG, _IG, _IG, _IG, SR),
    "fin":    (_IV, _IV, FW,  FW,  LA,  LA,  LA,  TW,  CL,  _IV),
    "ack":    (_IV, _IG, SR,  ES,  CW,  CW,  TW,  TW,  CL,  _IG),
    "rst":    (_IV, CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL),
    "none":   (_IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV, _IV),
}
# fmt: on
TRANSITIONS: dict[tuple[bool, str, str], str] = {
    (reply, kind, old): new
    for reply, rows in ((False, _ORIGINAL), (True, _REPLY))
    for kind, row in rows.items()
    for old, new in zip(_OLD, row, strict=True)
}


class Entry(msgspec.Struct):
    """One tracked connection. ``reply`` is what answers look like before NAT undoes itself."""

    id: int
    orig: Tuple
    reply: Tuple
    created_ns: int = 0
    expires_ns: int = 0
    tcp_state: str = ""
    mark: int = 0
    confirmed: bool = False
    visible_ns: int = 0
    seen_reply: bool = False
    assured: bool = False
    snat: bool = False
    dnat: bool = False
    src_bound: bool = False
    dst_bound: bool = False


def invert(key: Tuple) -> Tuple:
    """The tuple of answers."""
    protocol, src, sport, dst, dport = key
    if protocol in ECHOES:
        return (protocol, dst, sport, src, ECHOES[protocol][dport])
    return (protocol, dst, dport, src, sport)


def tuple_of(packet: Packet) -> Tuple | None:
    """The tuple of a packet; None for ICMP that is not echo."""
    protocol = packet.protocol
    if protocol in ECHOES:
        if packet.icmp_type not in ECHOES[protocol]:
            return None
        return (protocol, packet.src, packet.icmp_id, packet.dst, packet.icmp_type)
    return (packet.protocol, packet.src, packet.src_port, packet.dst, packet.dst_port)


def segment_kind(flags: int) -> str:
    """A TCP segment's row in the table."""
    if flags & RST:
        return "rst"
    if flags & SYN:
        return "synack" if flags & ACK else "syn"
    if flags & FIN:
        return "fin"
    return "ack" if flags & ACK else "none"


class Found(msgspec.Struct, frozen=True):
    """What tracking says of a packet. ``state`` INVALID comes without an entry."""

    state: str
    entry: Entry | None = None
    reply: bool = False
    full: bool = False


class Conntrack:
    """The table of a namespace: each confirmed entry under both its tuples.

    ``confirm_delay_ns`` (0: none) is how long a confirmed entry stays unseen by other packets. A
    second packet of the flow in that window makes an entry of its own, whose insertion fails: the
    race of two packets on two CPUs, such as the A and AAAA queries of one resolver socket.
    """

    __slots__ = (
        "_inserted",
        "by_tuple",
        "confirm_delay_ns",
        "dropped",
        "early_dropped",
        "found",
        "insert_failed",
        "invalid",
        "last_id",
    )

    def __init__(self) -> None:
        self.by_tuple: dict[Tuple, tuple[Entry, bool]] = {}
        self.last_id = 0
        self.confirm_delay_ns = 0
        self.found = self.invalid = self.dropped = self.early_dropped = self.insert_failed = 0
        self._inserted = 0

    def clone(self) -> tuple[Conntrack, dict[int, Entry]]:
        """An independent copy, and its entries by the identity of the originals."""
        copy = Conntrack()
        twins: dict[int, Entry] = {}
        for key, (entry, reply) in self.by_tuple.items():
            twin = twins.get(id(entry))
            if twin is None:
                twin = twins[id(entry)] = msgspec.structs.replace(entry)
            copy.by_tuple[key] = (twin, reply)
        copy.confirm_delay_ns = self.confirm_delay_ns
        copy.last_id, copy.found, copy.dropped = self.last_id, self.found, self.dropped
        return copy, twins

    def __len__(self) -> int:
        return len(self.by_tuple) // 2

    def entries(self, now_ns: int) -> Iterator[Entry]:
        """Living entries, oldest first."""
        return (
            entry
            for entry, reply in list(self.by_tuple.values())
            if not reply and entry.expires_ns > now_ns
        )

    def find(self, key: Tuple, now_ns: int) -> tuple[Entry, bool] | None:
        """The living entry of a tuple and whether the tuple is its answer side."""
        hit = self.by_tuple.get(key)
        if hit is not None and hit[0].expires_ns <= now_ns:
            self.remove(hit[0])
            return None
        return hit if hit is None or hit[0].visible_ns <= now_ns else None

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        for key in (entry.orig, entry.reply):
            hit = self.by_tuple.get(key)
            if hit is not None and hit[0] is entry:
                del self.by_tuple[key]

    def confirm(self, entry: Entry, now_ns: int) -> bool:
        """Make an entry visible to other packets; False when another took its place meanwhile."""
        if entry.confirmed:
            return True
        for key in (entry.orig, entry.reply):
            if self.find(key, now_ns) or key in self.by_tuple:
                self.insert_failed += 1
                return False
        entry.confirmed = True
        entry.visible_ns = now_ns + self.confirm_delay_ns
        self.by_tuple[entry.orig] = (entry, False)
        self.by_tuple[entry.reply] = (entry, True)
        self._inserted += 1
        if self._inserted % PURGE_EVERY == 0:
            self.purge(now_ns)
        return True

    def purge(self, now_ns: int) -> None:
        """Forget what expired (otherwise done when an entry is met)."""
        for entry, reply in list(self.by_tuple.values()):
            if not reply and entry.expires_ns <= now_ns:
                self.remove(entry)

    def used(self, reply: Tuple, entry: Entry, now_ns: int) -> bool:
        """Whether another connection already has these answers (nf_nat_used_tuple)."""
        hit = self.find(reply, now_ns)
        return hit is not None and hit[0] is not entry

    # ------------------------------------------------------------ packets

    def track(self, packet: Packet, sysctls: Sysctls, now_ns: int) -> Found:
        """Which connection a packet belongs to (nf_conntrack_in). A new one is not yet visible."""
        found = self._track(packet, sysctls, now_ns)
        if found.state == "INVALID":
            self.invalid += 1
        return found

    def _track(self, packet: Packet, sysctls: Sysctls, now_ns: int) -> Found:
        if packet.is_icmp_error:
            return self._related(packet, now_ns)
        key = tuple_of(packet)
        if key is None:
            untracked = packet.protocol == "icmpv6" and packet.icmp_type in UNTRACKED_ICMPV6
            return Found("UNTRACKED" if untracked else "INVALID")
        hit = self.find(key, now_ns)
        if hit is None:
            return self._new(key, packet, sysctls, now_ns)
        entry, reply = hit
        if packet.protocol == "tcp":
            return self._tcp(entry, reply, packet, sysctls, now_ns)
        if packet.protocol == "udp":
            _refresh_udp(entry, sysctls, now_ns, reply=reply)
        else:
            name = packet.protocol if packet.protocol in ECHOES else "generic"
            entry.expires_ns = now_ns + timeout_ns(sysctls, name)
        return self._seen(entry, reply=reply)

    def _seen(self, entry: Entry, *, reply: bool) -> Found:
        self.found += 1
        if reply:
            entry.seen_reply = True
        return Found("ESTABLISHED" if entry.seen_reply else "NEW", entry, reply)

    def _related(self, packet: Packet, now_ns: int) -> Found:
        inner = tuple_of(packet.original) if packet.original is not None else None
        hit = self.find(invert(inner), now_ns) if inner is not None else None
        return Found("INVALID") if hit is None else Found("RELATED", hit[0], hit[1])

    def _new(self, key: Tuple, packet: Packet, sysctls: Sysctls, now_ns: int) -> Found:
        state = ""
        if packet.protocol == "tcp":
            state = TRANSITIONS[False, segment_kind(packet.tcp_flags), NO]
            loose = sysctls.number("net.netfilter.nf_conntrack_tcp_loose")
            if not state or (state == ES and not loose):
                return Found("INVALID")
        elif packet.protocol in ECHOES and packet.icmp_type not in {ICMP_ECHO, ICMPV6_ECHO}:
            return Found("INVALID")
        if len(self) >= sysctls.number("net.netfilter.nf_conntrack_max") and not self._evict(
            now_ns
        ):
            self.dropped += 1
            return Found("NEW", full=True)
        self.last_id += 1
        entry = Entry(
            id=self.last_id, orig=key, reply=invert(key), created_ns=now_ns, tcp_state=state
        )
        name = f"tcp_{state.lower()}" if state else packet.protocol
        entry.expires_ns = now_ns + timeout_ns(sysctls, name)
        return Found("NEW", entry)

    def _evict(self, now_ns: int) -> bool:
        """Make room: what expired, else the oldest entry that is not ASSURED (early_drop)."""
        before = len(self)
        self.purge(now_ns)
        if len(self) < before:
            return True
        for entry in self.entries(now_ns):
            if not entry.assured:
                self.remove(entry)
                self.early_dropped += 1
                return True
        return False

    def _tcp(
        self, entry: Entry, reply: bool, packet: Packet, sysctls: Sysctls, now_ns: int
    ) -> Found:
        kind = segment_kind(packet.tcp_flags)
        old = entry.tcp_state
        new = TRANSITIONS[reply, kind, old]
        if new == _IV:
            return Found("INVALID")
        if new == SS and old in {TW, CL}:
            self.remove(entry)
            fresh = tuple_of(packet)
            assert fresh is not None
            return self._new(fresh, packet, sysctls, now_ns)
        if new == _IG:
            return self._seen(entry, reply=reply)
        entry.tcp_state = new
        if kind == "rst" and not entry.seen_reply:
            self.remove(entry)
            return self._seen(entry, reply=reply)
        if entry.seen_reply and not entry.assured and old in {SR, ES} and new == ES:
            entry.assured = True
        entry.expires_ns = now_ns + timeout_ns(sysctls, f"tcp_{new.lower()}")
        return self._seen(entry, reply=reply)

    def delete(self, protocol: str, now_ns: int, **wanted: object) -> int:
        """``conntrack -D``: forget entries whose given fields agree; how many there were.

        ``orig_dst``, ``orig_dport``, ``orig_src``, ``orig_sport``, ``reply_src``, ``reply_dst``.
        """
        gone = 0
        for entry in list(self.entries(now_ns)):
            have = {
                "orig_src": entry.orig[1],
                "orig_sport": entry.orig[2],
                "orig_dst": entry.orig[3],
                "orig_dport": entry.orig[4],
                "reply_src": entry.reply[1],
                "reply_dst": entry.reply[3],
            }
            fits = all(not value or have[field] == value for field, value in wanted.items())
            if fits and protocol in {"", entry.orig[0]}:
                self.remove(entry)
                gone += 1
        return gone

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        return [
            self.last_id,
            [msgspec.structs.astuple(e) for e, reply in self.by_tuple.values() if not reply],
        ]


_TIMEOUTS = {
    "tcp_syn_sent2": "net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
    "udp": "net.netfilter.nf_conntrack_udp_timeout",
    "udp_stream": "net.netfilter.nf_conntrack_udp_timeout_stream",
    "icmp": "net.netfilter.nf_conntrack_icmp_timeout",
    "icmpv6": "net.netfilter.nf_conntrack_icmpv6_timeout",
}
for _state in _OLD[1:-1]:
    _TIMEOUTS[f"tcp_{_state.lower()}"] = f"net.netfilter.nf_conntrack_tcp_timeout_{_state.lower()}"


def timeout_ns(sysctls: Sysctls, name: str) -> int:
    """How long an entry in a condition lives after its last packet."""
    key = _TIMEOUTS.get(name, "net.netfilter.nf_conntrack_generic_timeout")
    return sysctls.number(key) * SECOND_NS


def _refresh_udp(entry: Entry, sysctls: Sysctls, now_ns: int, *, reply: bool) -> None:
    """Two-way traffic that lasts over two seconds is a stream: longer timeout, ASSURED."""
    stream = (entry.seen_reply or reply) and now_ns > entry.created_ns + UDP_STREAM_AFTER_NS
    if stream and entry.seen_reply:
        entry.assured = True
    entry.expires_ns = now_ns + timeout_ns(sysctls, "udp_stream" if stream else "udp")
