"""Packets of known connections: found by all their headers, answered as the first one was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.conntrack import Conntrack, Entry, Tuple
from podwire.dataplane.emit import Deliver, Emit, Recorder
from podwire.dataplane.packet import Packet
from podwire.dataplane.paths import fill
from podwire.dataplane.paths.notes import Notes, Track, tallies

if TYPE_CHECKING:
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.verdict import Step


class _Known:
    """A connection as it must be found, and what the packet does to it."""

    __slots__ = (
        "assured", "conntrack", "entry", "hit", "key", "mark", "refresh_ns", "seen_reply",
        "table", "tcp_state",
    )  # fmt: skip

    def __init__(self, track: Track, entry: Entry) -> None:
        self.conntrack: Conntrack = track.ns.conntrack
        self.table = self.conntrack.by_tuple
        self.key: Tuple = track.key
        self.hit = track.found
        self.entry = entry
        self.tcp_state, self.seen_reply = entry.tcp_state, entry.seen_reply
        self.assured, self.mark = entry.assured, entry.mark
        self.refresh_ns = track.refresh_ns

    def holds(self, now_ns: int) -> bool:
        """Whether it is the one it was."""
        entry = self.entry
        return (
            self.table.get(self.key) is self.hit
            and entry.visible_ns <= now_ns < entry.expires_ns
            and entry.tcp_state == self.tcp_state
            and entry.seen_reply is self.seen_reply
            and entry.assured is self.assured
            and entry.mark == self.mark
        )


class Flow:
    """What became of a packet that changed no connection's state."""

    __slots__ = ("_emits", "_known", "_sockets", "_steps", "_tallies", "_until_ns")

    def __init__(
        self,
        notes: Notes,
        emits: list[Emit],
        steps: list[Step],
        sockets: list[tuple[Netns, Packet]],
    ) -> None:
        self._until_ns = notes.until_ns
        self._known = [_Known(t, t.entry) for t in notes.tracks if t.entry is not None]
        self._tallies = tallies(notes)
        self._emits = emits
        self._sockets = sockets
        self._steps = steps

    def again(self, now_ns: int, recorder: Recorder | None, payload: object) -> list[Emit] | None:
        """The same for the next packet; None, and nothing done, when something is different."""
        if now_ns >= self._until_ns:
            return None
        for known in self._known:
            if not known.holds(now_ns):
                return None
        for ns, packet in self._sockets:
            if not ns.sockets.wants(packet):
                return None
        for known in self._known:
            known.conntrack.found += 1
            if known.refresh_ns is not None:
                known.entry.expires_ns = now_ns + known.refresh_ns
        for tally in self._tallies:
            tally.add()
        if recorder is not None:
            recorder.defer(list, self._steps)
        if payload is None:
            return list(self._emits)
        return [fill.with_payload(emit, payload) for emit in self._emits]


def flow_of(
    notes: Notes,
    emits: list[Emit],
    steps: list[Step],
    namespaces: dict[str, Netns],
    payload: object,
) -> Flow | None:
    """A flow of what was noted; None when a connection was made or changed."""
    if not all(track.found is not None and track.steady for track in notes.tracks):
        return None
    bare: list[Emit] = []
    sockets = []
    for emit in emits:
        packet = fill.innermost(emit)
        if packet is None or packet.payload is not payload:
            return None
        bare.append(emit if payload is None else fill.with_payload(emit, None))
        if isinstance(emit, Deliver):
            sockets.append((namespaces[emit.netns], packet))
    return Flow(notes, bare, steps, sockets)
