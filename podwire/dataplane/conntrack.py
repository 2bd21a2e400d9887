"""Connection tracking (nf_conntrack): which packets belong together, and how far they have come.

TCP and SCTP follow the kernel's state tables; sequence numbers and verification tags are not looked
at (the network model has none), so a packet is never INVALID for its window. A tuple is (protocol,
source, source port, destination, destination port); for ICMP echo the ports are identifier and
type. Both families share one table. The collector that thins a table which is 95 % full is not
modelled: a full one drops early what is not ASSURED.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwire.dataplane import conntrack_tables as tables
from podwire.dataplane.packet import (
    ICMP_ECHO,
    ICMP_ECHO_REPLY,
    ICMPV6_ECHO,
    ICMPV6_ECHO_REPLY,
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
CLASHES_ALLOWED = ("udp", "icmp", "icmpv6")
UNTRACKED_ICMPV6 = range(130, 138)
"""Multicast listener and neighbour discovery (nf_conntrack_proto_icmpv6.c: noct_valid_new)."""


class Entry(msgspec.Struct, gc=False):  # holds nothing that could hold it
    """One tracked connection. ``reply`` is what answers look like before NAT undoes itself.

    ``tcp_state`` is SCTP's state too. ``clash``: found by its answers only (IPS_NAT_CLASH).
    """

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
    zone: int = 0
    clash: bool = False

    @property
    def ends(self) -> dict[str, str | int]:
        """Its addresses and ports by the names that ``conntrack`` filters by."""
        return {
            "orig_src": self.orig[1],
            "orig_sport": self.orig[2],
            "orig_dst": self.orig[3],
            "orig_dport": self.orig[4],
            "reply_src": self.reply[1],
            "reply_sport": self.reply[2],
            "reply_dst": self.reply[3],
        }


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


class Found(msgspec.Struct, frozen=True):
    """What tracking says of a packet. ``state`` INVALID comes without an entry."""

    state: str
    entry: Entry | None = None
    reply: bool = False
    full: bool = False


Table = dict[Tuple, tuple[Entry, bool]]


class Conntrack:
    """The table of a namespace: each confirmed entry under both its tuples, zone by zone.

    ``confirm_delay_ns`` (0: none) is how long a confirmed entry stays unseen by other packets. A
    second packet of the flow in that window makes an entry of its own, whose insertion clashes: the
    race of two packets on two CPUs, such as the A and AAAA queries of one resolver socket. Of UDP
    the kernel resolves most clashes (nf_ct_resolve_clash) since 5.7; ``resolves_clashes`` False is
    an older one, which drops.
    """

    __slots__ = (
        "_purge_at",
        "by_tuple",
        "clash_resolved",
        "confirm_delay_ns",
        "dropped",
        "early_dropped",
        "found",
        "insert_failed",
        "inserted",
        "invalid",
        "last_id",
        "resolves_clashes",
        "zones",
    )

    def __init__(self) -> None:
        self.by_tuple: Table = {}
        """Zone 0, where everything is unless a CT rule says otherwise."""
        self.zones: dict[int, Table] = {}
        self.last_id = 0
        self.confirm_delay_ns = 0
        self.resolves_clashes = True
        self.found = self.invalid = self.dropped = self.early_dropped = self.insert_failed = 0
        self.clash_resolved = self.inserted = 0
        self._purge_at = PURGE_EVERY

    def clone(self) -> tuple[Conntrack, dict[int, Entry]]:
        """An independent copy, and its entries by the identity of the originals."""
        copy = Conntrack()
        twins: dict[int, Entry] = {}
        for zone, table in ((0, self.by_tuple), *self.zones.items()):
            target = copy.table(zone)
            for key, (entry, reply) in table.items():
                twin = twins.get(id(entry))
                if twin is None:
                    twin = twins[id(entry)] = msgspec.structs.replace(entry)
                target[key] = (twin, reply)
        copy.confirm_delay_ns, copy.resolves_clashes = self.confirm_delay_ns, self.resolves_clashes
        copy.last_id, copy.inserted = self.last_id, self.inserted
        copy._purge_at = self._purge_at
        copy.found, copy.invalid = self.found, self.invalid
        copy.dropped, copy.early_dropped = self.dropped, self.early_dropped
        copy.insert_failed, copy.clash_resolved = self.insert_failed, self.clash_resolved
        return copy, twins

    def table(self, zone: int) -> Table:
        """The entries of a zone, made when first asked for."""
        if not zone:
            return self.by_tuple
        found = self.zones.get(zone)
        if found is None:
            found = self.zones[zone] = {}
        return found

    def __len__(self) -> int:
        size = len(self.by_tuple)
        if self.zones:
            size += sum(len(table) for table in self.zones.values())
        return size // 2

    def clear(self) -> None:
        """``conntrack -F``."""
        self.by_tuple.clear()
        self.zones.clear()

    def entries(self, now_ns: int) -> Iterator[Entry]:
        """Living entries, oldest first, zone by zone."""
        hits = [hit for t in (self.by_tuple, *self.zones.values()) for hit in t.values()]
        return (
            entry
            for entry, reply in hits
            if (not reply or entry.clash) and entry.expires_ns > now_ns
        )

    def find(self, key: Tuple, now_ns: int, zone: int = 0) -> tuple[Entry, bool] | None:
        """The living entry of a tuple and whether the tuple is its answer side."""
        hit = (self.table(zone) if zone else self.by_tuple).get(key)
        if hit is not None and hit[0].expires_ns <= now_ns:
            self.remove(hit[0])
            return None
        return hit if hit is None or hit[0].visible_ns <= now_ns else None

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        table = self.table(entry.zone)
        for key in (entry.orig, entry.reply):
            hit = table.get(key)
            if hit is not None and hit[0] is entry:
                del table[key]

    def confirm(self, entry: Entry, now_ns: int) -> Entry | None:
        """Make an entry visible to other packets; the entry that the packet belongs to then, or
        None when another took its place meanwhile and the packet is lost.
        """
        if entry.confirmed:
            return entry
        table = self.table(entry.zone)
        for key in (entry.orig, entry.reply):
            if self.find(key, now_ns, entry.zone) or key in table:
                return self._clashed(entry, table[key][0], now_ns)
        self._insert(entry, now_ns)
        table[entry.orig] = (entry, False)
        table[entry.reply] = (entry, True)
        self.inserted_one(now_ns)
        return entry

    def _insert(self, entry: Entry, now_ns: int) -> None:
        entry.confirmed = True
        entry.visible_ns = now_ns + self.confirm_delay_ns

    def inserted_one(self, now_ns: int) -> None:
        """Count an insertion, and purge after as many of them as half the table has entries."""
        self.inserted += 1
        if self.inserted >= self._purge_at:
            self.purge(now_ns)
            self._purge_at = self.inserted + max(PURGE_EVERY, len(self) // 2)

    def _clashed(self, entry: Entry, winner: Entry, now_ns: int) -> Entry | None:
        """Another packet of the flow was faster (nf_ct_resolve_clash): with the same translation,
        or none, this packet joins it; with another one its entry lives a second, for its answers.
        """
        if self.resolves_clashes and entry.orig[0] in CLASHES_ALLOWED:
            translated = entry.snat or entry.dnat
            if winner.orig == entry.orig and (not translated or winner.reply == entry.reply):
                self.clash_resolved += 1
                return winner
            table = self.table(entry.zone)
            if entry.reply not in table:
                self.clash_resolved += 1
                self._insert(entry, now_ns)
                self.inserted += 1
                entry.clash, entry.expires_ns = True, now_ns + SECOND_NS
                table[entry.reply] = (entry, True)
                return entry
        self.insert_failed += 1
        self.dropped += 1
        return None

    def purge(self, now_ns: int) -> None:
        """Forget what expired (otherwise done when an entry is met)."""
        for table in (self.by_tuple, *self.zones.values()):
            for entry, _ in list(table.values()):
                if entry.expires_ns <= now_ns:
                    self.remove(entry)

    def used(self, reply: Tuple, entry: Entry, now_ns: int) -> bool:
        """Whether another connection already has these answers (nf_nat_used_tuple)."""
        hit = self.find(reply, now_ns, entry.zone)
        return hit is not None and hit[0] is not entry

    # ------------------------------------------------------------ packets

    def track(self, packet: Packet, sysctls: Sysctls, now_ns: int, zone: int = 0) -> Found:
        """Which connection a packet belongs to (nf_conntrack_in). A new one is not yet visible."""
        found = self._track(packet, sysctls, now_ns, zone)
        if found.state == "INVALID":
            self.invalid += 1
        return found

    def _track(self, packet: Packet, sysctls: Sysctls, now_ns: int, zone: int) -> Found:
        if packet.is_icmp_error:
            return self._related(packet, now_ns, zone)
        key = tuple_of(packet)
        if key is None:
            untracked = packet.protocol == "icmpv6" and packet.icmp_type in UNTRACKED_ICMPV6
            return Found("UNTRACKED" if untracked else "INVALID")
        hit = self.find(key, now_ns, zone)
        if hit is None:
            return self._new(key, packet, sysctls, now_ns, zone)
        entry, reply = hit
        if packet.protocol == "tcp":
            return self._tcp(entry, reply, packet, sysctls, now_ns)
        if packet.protocol == "sctp":
            return self._sctp(entry, reply, packet, sysctls, now_ns)
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

    def _related(self, packet: Packet, now_ns: int, zone: int) -> Found:
        inner = tuple_of(packet.original) if packet.original is not None else None
        hit = self.find(invert(inner), now_ns, zone) if inner is not None else None
        return Found("INVALID") if hit is None else Found("RELATED", hit[0], hit[1])

    def _new(
        self, key: Tuple, packet: Packet, sysctls: Sysctls, now_ns: int, zone: int = 0
    ) -> Found:
        state = ""
        if packet.protocol == "tcp":
            state = tables.TCP[False, tables.segment_kind(packet.tcp_flags), tables.NO]
            loose = sysctls.number("net.netfilter.nf_conntrack_tcp_loose")
            if not state or (state == tables.ES and not loose):
                return Found("INVALID")
        elif packet.protocol == "sctp":
            state = tables.SCTP.get((False, packet.sctp_chunk, tables.NO), "")
            if not state or packet.sctp_chunk in tables.SCTP_OUT_OF_BLUE:
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
            id=self.last_id,
            orig=key,
            reply=invert(key),
            created_ns=now_ns,
            tcp_state=state,
            zone=zone,
        )
        name = f"{packet.protocol}_{state.lower()}" if state else packet.protocol
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
        kind = tables.segment_kind(packet.tcp_flags)
        old = entry.tcp_state
        new = tables.TCP[reply, kind, old]
        if new == tables.IV:
            return Found("INVALID")
        if new == tables.SS and old in {tables.TW, tables.CL}:
            self.remove(entry)
            fresh = tuple_of(packet)
            assert fresh is not None
            return self._new(fresh, packet, sysctls, now_ns, entry.zone)
        if new == tables.IG:
            return self._seen(entry, reply=reply)
        entry.tcp_state = new
        if kind == "rst" and not entry.seen_reply:
            self.remove(entry)
            return self._seen(entry, reply=reply)
        grown = old in {tables.SR, tables.ES} and new == tables.ES
        if entry.seen_reply and not entry.assured and grown:
            entry.assured = True
        entry.expires_ns = now_ns + timeout_ns(sysctls, f"tcp_{new.lower()}")
        return self._seen(entry, reply=reply)

    def _sctp(
        self, entry: Entry, reply: bool, packet: Packet, sysctls: Sysctls, now_ns: int
    ) -> Found:
        """Chunks that are not in the table (DATA, SACK) change no state."""
        old = entry.tcp_state
        new = tables.SCTP.get((reply, packet.sctp_chunk, old), old)
        if new == tables.IV:
            return Found("INVALID")
        entry.tcp_state = new
        if new == tables.ES and old != new:
            entry.assured = True
        repeated = packet.sctp_chunk == "init" and old == new == tables.CD
        if not repeated:
            entry.expires_ns = now_ns + timeout_ns(sysctls, f"sctp_{new.lower()}")
        return self._seen(entry, reply=reply)

    def delete(self, protocol: str, now_ns: int, **wanted: object) -> int:
        """``conntrack -D``: forget entries whose given fields agree; how many there were.

        ``orig_dst``, ``orig_dport``, ``orig_src``, ``orig_sport``, ``reply_src``, ``reply_sport``,
        ``reply_dst``.
        """
        gone = 0
        for entry in list(self.entries(now_ns)):
            have = entry.ends
            fits = all(not value or have[field] == value for field, value in wanted.items())
            if fits and protocol in {"", entry.orig[0]}:
                self.remove(entry)
                gone += 1
        return gone

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        return [
            self.last_id,
            [
                msgspec.structs.astuple(entry)
                for table in (self.by_tuple, *self.zones.values())
                for entry, reply in table.values()
                if not reply or entry.clash
            ],
        ]


def timeout_ns(sysctls: Sysctls, name: str) -> int:
    """How long an entry in a condition lives after its last packet."""
    return sysctls.number(tables.TIMEOUTS.get(name, tables.GENERIC)) * SECOND_NS


def _refresh_udp(entry: Entry, sysctls: Sysctls, now_ns: int, *, reply: bool) -> None:
    """Two-way traffic that lasts over two seconds is a stream: longer timeout, ASSURED."""
    stream = (entry.seen_reply or reply) and now_ns > entry.created_ns + UDP_STREAM_AFTER_NS
    if stream and entry.seen_reply:
        entry.assured = True
    entry.expires_ns = now_ns + timeout_ns(sysctls, "udp_stream" if stream else "udp")
