"""What mattered on a packet's way through a kernel: written down while it goes the plain road."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from podwire.dataplane import conntrack_tables as states
from podwire.dataplane.conntrack import UDP_STREAM_AFTER_NS, Entry, Found, Tuple, tuple_of
from podwire.dataplane.link import Stats
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.targets import Nat, Plain, SetMark

if TYPE_CHECKING:
    from podwire.dataplane.netfilter.env import Chance
    from podwire.dataplane.netfilter.rule import Rule
    from podwire.dataplane.netfilter.tables import Chain, Netfilter
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.skb import Skb

FOREVER_NS = 1 << 62
Hit = tuple["Netfilter", str, str, int, int]
"""Whose counter rose: tables, table, chain, index of the rule (-1: the policy), bytes."""


Counted = tuple[Stats, bool, int]
"""A device's counters, whether it sent the frame (else: received), bytes."""


class Track:
    """One lookup in a table of connections: what it found, or what was made."""

    __slots__ = ("before", "entry", "found", "key", "ns", "refresh_ns", "reply", "steady")

    def __init__(self, ns: Netns, key: Tuple, found: tuple[Entry, bool] | None) -> None:
        self.ns = ns
        self.key = key
        self.found = found
        self.before = standing(found[0]) if found is not None else None
        self.entry: Entry | None = None
        self.reply = False
        self.steady = False
        """Whether the packet left the connection's state as it was."""
        self.refresh_ns: int | None = None
        """How long the connection lives from now on; None: as before."""


class Draw:
    """A decision of a random rule."""

    __slots__ = ("chain", "choices", "probability", "taken")

    def __init__(self, chain: str, choices: int, probability: float, *, taken: bool) -> None:
        self.chain, self.choices, self.probability, self.taken = chain, choices, probability, taken


def standing(entry: Entry) -> tuple[object, ...]:
    """What of a connection decides about its packets, besides its tuples."""
    return (entry.tcp_state, entry.seen_reply, entry.assured, entry.mark, entry.snat, entry.dnat)


class Notes:
    """The notes of one run. ``fit``: they can vouch for the next packet."""

    __slots__ = (
        "_bases", "confirmed", "events", "fit", "frames", "hits", "now_ns",
        "owed", "until_ns", "watched",
    )  # fmt: skip

    def __init__(self, now_ns: int, owed: list[Traffic]) -> None:
        self.now_ns = now_ns
        self.owed = owed
        """Where paths leave what devices have not counted yet."""
        self.fit = True
        self.until_ns = FOREVER_NS
        self.events: list[Track | Draw] = []
        self.hits: list[Hit] = []
        self.frames: list[Counted] = []
        self.confirmed: list[Entry] = []
        self.watched: dict[int, Netfilter] = {}
        self._bases: list[tuple[Netfilter, str, str]] = []

    @property
    def tracks(self) -> list[Track]:
        """The lookups, in order."""
        return [event for event in self.events if isinstance(event, Track)]

    # ------------------------------------------------------------ told by the plain road

    def until(self, time_ns: int) -> None:
        """What was found holds only before a time."""
        self.until_ns = min(self.until_ns, time_ns)

    def hook(self, ns: Netns) -> None:
        """A packet passes a hook: only iptables and conntrack may be there."""
        if ns.nft.ruleset.bases or ns.netfilter.ipvs or ns.netfilter6.ipvs or ns.ebpf.attached:
            self.fit = False
        if ns.fib.varied or ns.fib6.varied or ns.conntrack.zones:
            self.fit = False

    def table(self, nf: Netfilter, table: str, base: str) -> None:
        """A packet enters a table; what it hits is told to ``hits``."""
        nf.notes = self.hits
        self.watched[id(nf)] = nf
        self._bases.append((nf, table, base))

    def tracking(self, ns: Netns, skb: Skb) -> None:
        """A packet's connection is about to be looked up."""
        key = tuple_of(skb.packet)
        if key is None or skb.zone or key[0] not in {"tcp", "udp"}:
            self.fit = False
            return
        found = ns.conntrack.by_tuple.get(key)
        if found is not None and not found[0].visible_ns <= self.now_ns < found[0].expires_ns:
            self.fit = False
        if any(track.ns is ns and track.key == key for track in self.tracks):
            self.fit = False
        self.events.append(Track(ns, key, found))

    def tracked(self, skb: Skb, found: Found) -> None:
        """What the lookup gave."""
        if not self.fit:
            return
        track = self.tracks[-1]
        entry = track.entry = found.entry
        track.reply = found.reply
        if entry is None or found.full or found.state not in {"NEW", "ESTABLISHED"}:
            self.fit = False
            return
        if any(entry is other.entry for other in self.tracks[:-1]):
            self.fit = False
        if track.found is None:
            return
        if track.found[0] is not entry:
            self.fit = False
            return
        track.steady = track.before == standing(entry)
        if entry.orig[0] == "udp":
            stream_ns = entry.created_ns + UDP_STREAM_AFTER_NS
            if self.now_ns <= stream_ns:
                self.until(stream_ns)
            track.refresh_ns = entry.expires_ns - self.now_ns
        elif track.before is not None:
            kind = states.segment_kind(skb.packet.tcp_flags)
            if states.TCP[found.reply, kind, str(track.before[0])] != states.IG:
                track.refresh_ns = entry.expires_ns - self.now_ns

    def confirm(self, entry: Entry, kept: Entry | None) -> None:
        """A new connection was put into its table."""
        if kept is not entry or entry.clash:
            self.fit = False
        self.confirmed.append(entry)

    # ------------------------------------------------------------ judged afterwards

    def close(self) -> None:
        """The run is over: listen no more, and see whether the rules met may be trusted."""
        for nf in self.watched.values():
            nf.notes = None
        self.fit = self.fit and self._rules_fit()

    def _rules_fit(self) -> bool:
        met: dict[int, Chain] = {}
        for nf, table, base in self._bases:
            chain = nf.tables[table][base]
            met[id(chain)] = chain
        for nf, table, name, index, _ in self.hits:
            if index < 0:
                continue
            rule = nf.tables[table][name].rules[index]
            if not _target_fits(rule):
                return False
            if rule.jump:
                chain = nf.tables[table][rule.jump]
                met[id(chain)] = chain
        return all(_chain_fits(chain) for chain in met.values())


def _target_fits(rule: Rule) -> bool:
    target = rule.target
    if target is None or isinstance(target, Plain | SetMark):
        return True
    if not isinstance(target, Nat) or target.name != "DNAT" or target.random or target.random_fully:
        return False
    return not target.last_ip and (target.ports is None or target.ports[0] == target.ports[1])


def _chain_fits(chain: Chain) -> bool:
    """Whether none of its rules looks at a source port, counts, remembers or is not modelled."""
    code = chain.code
    if code.steady is None:
        # of rules nobody read yet, only those with a memory do not fit
        read = chain.rules.about(" recent ")
        code.steady = all(_match_fits(match) for rule in read for match in rule.matches)
    return code.steady


_TRUSTED = (m.Comment, m.CtState, m.AddrType, m.Physdev, m.Icmp)


def _match_fits(match: Any) -> bool:
    if isinstance(match, m.Ports):
        return match.sport is None
    if isinstance(match, m.Multiport):
        return match.side == "dports"
    if isinstance(match, m.Mark):
        return match.name == "mark"
    if isinstance(match, m.Statistic):
        return match.mode == "random"
    return isinstance(match, _TRUSTED)


class Noting:
    """Chance that is listened to."""

    __slots__ = ("_chance", "_notes")

    def __init__(self, chance: Chance, notes: Notes) -> None:
        self._chance, self._notes = chance, notes

    def statistic(self, chain: str, choices: int, probability: float) -> bool:
        """The real answer, noted."""
        taken = self._chance.statistic(chain, choices, probability)
        self._notes.events.append(Draw(chain, choices, probability, taken=taken))
        return taken

    def choose(self, chain: str, choices: int) -> int:
        """The real answer; such packets are not kept."""
        self._notes.fit = False
        return self._chance.choose(chain, choices)

    def pick(self, chain: str, weights: Sequence[int], wanted: int) -> int:
        """The real answer; such packets are not kept."""
        self._notes.fit = False
        return self._chance.pick(chain, weights, wanted)


class Drawn:
    """Chance that first repeats what was drawn for this packet before it had to turn back."""

    __slots__ = ("_chance", "_left")

    def __init__(self, chance: Chance, drawn: list[bool]) -> None:
        self._chance, self._left = chance, drawn[::-1]

    def statistic(self, chain: str, choices: int, probability: float) -> bool:
        """What was drawn; then anew."""
        if self._left:
            return self._left.pop()
        return self._chance.statistic(chain, choices, probability)

    def choose(self, chain: str, choices: int) -> int:
        """Anew: no kept path draws this."""
        return self._chance.choose(chain, choices)

    def pick(self, chain: str, weights: Sequence[int], wanted: int) -> int:
        """Anew: no kept path draws this."""
        return self._chance.pick(chain, weights, wanted)


class Tally:
    """How much a path adds to one namespace's counters; added up when somebody looks."""

    __slots__ = ("_adds", "_nf", "times")

    def __init__(self, nf: Netfilter, hits: list[Hit]) -> None:
        self._nf = nf
        self.times = 0
        found: dict[tuple[str, str, int], list[int]] = {}
        for _, table, chain, index, size_bytes in hits:
            pair = found.setdefault((table, chain, index), [0, 0])
            pair[0] += 1
            pair[1] += size_bytes
        self._adds = [(*key, pair[0], pair[1]) for key, pair in found.items()]

    def add(self) -> None:
        """Once more."""
        if not self.times:
            self._nf.owed.append(self)
        self.times += 1

    def settle(self) -> None:
        """Write the sums down (``Netfilter.settle`` calls this)."""
        times, self.times = self.times, 0
        for table, chain, index, packets, size_bytes in self._adds:
            self._nf.add(table, chain, index, packets * times, size_bytes * times)


class Traffic:
    """How much a path adds to the counters of devices; added up when somebody looks."""

    __slots__ = ("_frames", "_owed", "times")

    def __init__(self, notes: Notes) -> None:
        self._frames = notes.frames
        self._owed = notes.owed
        self.times = 0

    def add(self) -> None:
        """Once more."""
        if not self.times:
            self._owed.append(self)
        self.times += 1

    def settle(self) -> None:
        """Write the sums down (``PathCache.settle`` calls this)."""
        times, self.times = self.times, 0
        for stats, sent, size_bytes in self._frames:
            if sent:
                stats.tx_packets += times
                stats.tx_bytes += size_bytes * times
            else:
                stats.rx_packets += times
                stats.rx_bytes += size_bytes * times


def tallies(notes: Notes) -> list[Tally | Traffic]:
    """What a path adds to counters: of rules, per namespace and family, and of devices."""
    by_nf: dict[int, list[Hit]] = {}
    for hit in notes.hits:
        by_nf.setdefault(id(hit[0]), []).append(hit)
    rules = [Tally(found[0][0], found) for found in by_nf.values()]
    return [*rules, Traffic(notes)] if notes.frames else [*rules]
