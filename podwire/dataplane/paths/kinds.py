"""First packets of connections: a tree of lookups and draws per kind, with what was made as leaves.

All packets of a kind have the same headers but for the source port, and (wrapped in VXLAN) the
outer source port: the two holes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane.conntrack import Entry, Tuple
from podwire.dataplane.emit import Deliver, Emit, Recorder, ToWire
from podwire.dataplane.packet import Vxlan
from podwire.dataplane.paths import fill
from podwire.dataplane.paths.notes import Draw, Notes, Track, tallies
from podwire.dataplane.stack import vxlan

if TYPE_CHECKING:
    from podwire.dataplane.netfilter.env import Chance
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.verdict import Step

Holes = tuple[int, int]
MAX = "net.netfilter.nf_conntrack_max"
NEW, SAME = "new", "same"
"""What a lookup gave: nothing, or a one-way UDP flow (a tunnel's) that goes on."""


class Lookup:
    """A branching by what a table of connections holds."""

    __slots__ = ("crc", "dst", "dst_port", "hole", "next", "ns", "protocol", "src", "table")

    def __init__(self, track: Track, hole: int, crc: tuple[str, str] | None) -> None:
        self.ns = track.ns
        self.table = track.ns.conntrack.by_tuple
        self.protocol, self.src, _, self.dst, self.dst_port = track.key
        self.hole = hole
        self.crc = crc
        """What the outer port is a hash of, around the source port; None: it is given."""
        self.next: dict[str, Node] = {}

    def same(self, other: Lookup) -> bool:
        """Whether both look up the same."""
        mine = (self.ns, self.protocol, self.src, self.dst, self.dst_port, self.hole, self.crc)
        return mine == (
            other.ns, other.protocol, other.src, other.dst, other.dst_port, other.hole, other.crc,
        )  # fmt: skip


class Decision:
    """A branching by chance."""

    __slots__ = ("asked", "next")

    def __init__(self, draw: Draw) -> None:
        self.asked = (draw.chain, draw.choices, draw.probability)
        self.next: dict[bool, Node] = {}


class Fresh(NamedTuple):
    """A connection that was made: its answers' tuple but for the hole, and itself."""

    protocol: str
    src: str
    src_port: int
    dst: str
    hole: int
    state: str
    timeout_ns: int
    dnat: bool
    src_bound: bool
    dst_bound: bool
    most: int
    """How many tuples the table holds at most."""


class Going(NamedTuple):
    """A one-way flow that goes on, and for how long."""

    timeout_ns: int


Made = Fresh | Going


class Leaf:
    """What became of a packet. ``proved``: two packets with different ports have told the same."""

    __slots__ = (
        "_blanks", "_first", "_made", "_steps", "_tallies", "_until_ns", "counted", "proved",
    )  # fmt: skip

    def __init__(
        self,
        notes: Notes,
        made: list[Made],
        blanks: list[fill.Blank],
        steps: list[Step | fill.BlankStep],
        holes: Holes,
    ) -> None:
        self._until_ns = notes.until_ns
        self._made = made
        self._blanks = blanks
        self._steps = steps
        self._tallies = tallies(notes)
        self.counted = (
            sorted((id(hit[0]), *hit[1:]) for hit in notes.hits),
            [(id(stats), sent, size_bytes) for stats, sent, size_bytes in notes.frames],
        )
        self._first = holes
        self.proved = False

    def prove(self, other: Leaf) -> bool:
        """Hold a second packet's leaf against this one; False when they do not tell the same."""
        self._until_ns = min(self._until_ns, other._until_ns)
        if self._first[0] != other._first[0]:
            self.proved = True
        return (self._made, self._blanks, self._steps, self.counted) == (
            other._made, other._blanks, other._steps, other.counted,
        )  # fmt: skip

    @property
    def until_ns(self) -> int:
        """When it has to be learnt anew."""
        return self._until_ns

    def again(
        self,
        found: list[tuple[Lookup, Tuple, Entry | None]],
        holes: Holes,
        now_ns: int,
        recorder: Recorder | None,
        payload: object,
        namespaces: dict[str, Netns],
    ) -> list[Emit] | None:
        """The same for the next packet; None, and nothing done, when there is no room for it."""
        replies: list[Tuple] = []
        for (lookup, _, _), made in zip(found, self._made, strict=True):
            if isinstance(made, Going):
                continue
            reply = (made.protocol, made.src, made.src_port, made.dst, holes[made.hole])
            table, ns = lookup.table, lookup.ns
            if reply in table or ns.conntrack.zones:
                return None
            if len(table) + 8 >= made.most:
                return None
            replies.append(reply)
        emits = [blank.filled(holes, payload) for blank in self._blanks]
        for emit in emits:
            if type(emit) is Deliver and not namespaces[emit.netns].sockets.wants(emit.packet):
                return None
        numbers = self._connect(found, replies, now_ns)
        for tally in self._tallies:
            tally.add()
        if recorder is not None:
            recorder.defer(_told, self._steps, holes, numbers)
        return emits

    def _connect(
        self, found: list[tuple[Lookup, Tuple, Entry | None]], replies: list[Tuple], now_ns: int
    ) -> list[int]:
        """Make and refresh the connections; their numbers."""
        numbers, at = [], 0
        for (lookup, key, entry), made in zip(found, self._made, strict=True):
            conntrack = lookup.ns.conntrack
            if isinstance(made, Going):
                assert entry is not None
                conntrack.found += 1
                entry.expires_ns = now_ns + made.timeout_ns
                numbers.append(entry.id)
                continue
            reply = replies[at]
            at += 1
            conntrack.last_id = number = conntrack.last_id + 1
            _, _, _, _, _, state, timeout_ns, dnat, src_bound, dst_bound, _ = made
            expires_ns, visible_ns = now_ns + timeout_ns, now_ns + conntrack.confirm_delay_ns
            fresh = Entry(
                number, key, reply, now_ns, expires_ns, state, 0, True, visible_ns,
                False, False, False, dnat, src_bound, dst_bound,
            )  # fmt: skip
            lookup.table[key] = (fresh, False)
            lookup.table[reply] = (fresh, True)
            conntrack.inserted_one(now_ns)
            numbers.append(number)
        return numbers


def _told(steps: list[Step | fill.BlankStep], holes: Holes, numbers: list[int]) -> list[Step]:
    return [
        step.filled(holes, numbers) if isinstance(step, fill.BlankStep) else step for step in steps
    ]


Node = Lookup | Decision | Leaf


class Walk:
    """The way down one kind's tree: what was found and drawn."""

    __slots__ = ("drawn", "found", "holes", "leaf")

    def __init__(self, node: Node | None, holes: Holes, chance: Chance, now_ns: int) -> None:
        found: list[tuple[Lookup, Tuple, Entry | None]] = []
        self.found = found
        self.drawn: list[bool] = []
        self.leaf: Leaf | None = None
        while node is not None:
            if type(node) is Lookup:
                crc = node.crc
                if crc is not None:
                    text = f"{crc[0]}{holes[0]}{crc[1]}"
                    holes = (holes[0], vxlan.FIRST_PORT + zlib.crc32(text.encode()) % vxlan.PORTS)
                key = (node.protocol, node.src, holes[node.hole], node.dst, node.dst_port)
                hit = node.table.get(key)
                if hit is None:
                    found.append((node, key, None))
                    node = node.next.get(NEW)
                elif goes_on(hit, now_ns):
                    found.append((node, key, hit[0]))
                    node = node.next.get(SAME)
                else:
                    return
            elif type(node) is Leaf:
                self.leaf = node
                self.holes = holes
                return
            else:
                assert isinstance(node, Decision)
                taken = chance.statistic(*node.asked)
                self.drawn.append(taken)
                node = node.next.get(taken)


def goes_on(hit: tuple[Entry, bool], now_ns: int) -> bool:
    """Whether a connection is a one-way UDP flow that nothing was done to, such as a tunnel's."""
    entry, reply = hit
    return (
        not reply
        and entry.orig[0] == "udp"
        and not (entry.seen_reply or entry.assured or entry.snat or entry.dnat or entry.mark)
        and entry.visible_ns <= now_ns < entry.expires_ns
    )


def leaf_of(
    notes: Notes, emits: list[Emit], steps: list[Step], holes: Holes, payload: object
) -> tuple[Leaf, Holes, tuple[str, str] | None] | None:
    """A leaf of what was noted, its holes, and what the outer port is a hash of; None: unfit."""
    crc = None
    if not holes[1]:  # sent, not received: the outer port, if any, is made here
        outer = [e.frame.packet for e in emits if isinstance(e, ToWire)]
        wrapped = [p for p in outer if p is not None and isinstance(p.payload, Vxlan)]
        if len(wrapped) > 1:
            return None
        if wrapped:
            inner = wrapped[0].payload.frame.packet
            if inner is None or vxlan.source_port(wrapped[0].payload.frame) != wrapped[0].src_port:
                return None
            holes = (holes[0], wrapped[0].src_port)
            crc = (f"{inner.src} ", f" {inner.dst} {inner.dst_port} {inner.protocol}")
    if holes[0] == holes[1] or not holes[0]:
        return None
    if [t.entry for t in notes.tracks if t.found is None] != notes.confirmed:
        return None
    made: list[Made] = []
    for track in notes.tracks:
        one = _made(track, holes, notes.now_ns)
        if one is None:
            return None
        made.append(one)
    blanks = []
    for emit in emits:
        packet = fill.innermost(emit)
        blank = fill.blank_emit(emit, holes)
        if packet is None or blank is None or packet.payload is not payload:
            return None
        blanks.append(blank)
    told = [fill.blank_step(step, holes, notes.tracks) for step in steps]
    return Leaf(notes, made, blanks, told, holes), holes, crc


def _made(track: Track, holes: Holes, now_ns: int) -> Made | None:
    entry, key = track.entry, track.key
    if entry is None or key[2] not in holes or key[4] in holes or entry.mark:
        return None
    if track.found is not None:
        fits = track.steady and goes_on(track.found, now_ns) and track.refresh_ns is not None
        return Going(track.refresh_ns or 0) if fits else None
    reply = entry.reply
    if reply[3] != key[1] or reply[4] != key[2] or reply[2] in holes:
        return None
    if entry.snat or entry.seen_reply or entry.assured or entry.zone or entry.clash:
        return None
    if not entry.dnat and (reply[1], reply[2]) != (key[3], key[4]):
        return None
    return Fresh(
        reply[0], reply[1], reply[2], reply[3], holes.index(key[2]),
        entry.tcp_state, entry.expires_ns - now_ns, entry.dnat, entry.src_bound, entry.dst_bound,
        2 * track.ns.sysctls.number(MAX),
    )  # fmt: skip


def graft(
    root: Node | None, notes: Notes, leaf: Leaf, holes: Holes, crc: tuple[str, str] | None
) -> Node | None:
    """A tree with one more leaf (or one leaf proved); None when the tree contradicts it."""
    events = notes.events
    nodes: list[tuple[Node, str | bool]] = []
    hashed = False
    for event in events:
        if isinstance(event, Track):
            hole = holes.index(event.key[2])
            first = hole == 1 and not hashed
            hashed = hashed or hole == 1
            nodes.append(
                (Lookup(event, hole, crc if first else None), SAME if event.found else NEW)
            )
        else:
            nodes.append((Decision(event), event.taken))
    if root is None or (isinstance(root, Leaf) and root.until_ns <= notes.now_ns):
        root = nodes[0][0] if nodes else leaf
    at: Node = root
    for number, (wanted, branch) in enumerate(nodes):
        fits = (
            isinstance(at, Lookup) and isinstance(wanted, Lookup) and at.same(wanted)
        ) or (
            isinstance(at, Decision) and isinstance(wanted, Decision) and at.asked == wanted.asked
        )  # fmt: skip
        if not fits:
            return None
        following: Node = nodes[number + 1][0] if number + 1 < len(nodes) else leaf
        kept = at.next.get(branch)  # type: ignore[union-attr, arg-type]
        if isinstance(kept, Leaf) and kept.until_ns <= notes.now_ns:
            kept = None  # its time is over: begin again
        if kept is None:
            at.next[branch] = kept = following  # type: ignore[union-attr, index]
        at = kept
    if not isinstance(at, Leaf):
        return None
    if at is not leaf and not at.prove(leaf):
        return None
    return root
