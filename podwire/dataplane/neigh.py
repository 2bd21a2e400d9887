"""Neighbours of both families: which MAC an address has, and what waits until that is known.

A dynamic entry counts as confirmed for ``REACHABLE_NS``; used later it is still used, but asked
for again, and forgotten when nobody answers. Linux spreads these steps over STALE, DELAY and
PROBE with randomised times; the outcome for packets is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

import msgspec

from podwire.dataplane.layers import GONE, Overlay
from podwire.dataplane.skb import Skb

SECOND_NS = 1_000_000_000
REACHABLE_NS = 30 * SECOND_NS
RETRANS_NS = SECOND_NS
MAX_PROBES = 3
QUEUE_LENGTH = 101


class Waiting(msgspec.Struct, frozen=True):
    """A packet queued for a MAC. ``bridged_from`` is the port of a bridged-and-DNATed frame."""

    skb: Skb
    bridged_from: str = ""
    frame_src: str = ""


class Neighbour(msgspec.Struct):
    """One entry. ``state``: PERMANENT | NOARP | REACHABLE | INCOMPLETE | FAILED."""

    dev: str
    ip: str
    mac: str = ""
    state: str = "INCOMPLETE"
    confirmed_ns: int = 0
    probes: int = 0
    probe_due_ns: int = 0
    waiting: tuple[Waiting, ...] = ()
    updated_ns: int = 0

    def usable(self) -> bool:
        """Whether its MAC may be written into a frame."""
        return self.state not in {"INCOMPLETE", "FAILED"}

    def shown_state(self, now_ns: int) -> str:
        """The state as ``ip neigh`` prints it."""
        if self.state == "REACHABLE":
            if self.probes:
                return "PROBE"
            return "REACHABLE" if now_ns - self.confirmed_ns < REACHABLE_NS else "STALE"
        return self.state


class NeighbourTable:
    """The neighbours of a namespace by (device, address). Entries come by ``put``, go by
    ``remove``.
    """

    __slots__ = ("entries", "moving")

    def __init__(self) -> None:
        self.entries: MutableMapping[tuple[str, str], Neighbour] = {}
        self.moving: dict[tuple[str, str], Neighbour] = {}
        """Those that time may change: a tunnel's device has a settled one for each other node."""

    def clone(self, fresh: Callable[[Skb], Skb]) -> NeighbourTable:
        """An independent copy; ``fresh`` maps a queued skb to its copy."""
        copy = NeighbourTable()
        own: Mapping[tuple[str, str], Neighbour] = self.entries
        if isinstance(own, Overlay):  # what others rest on too is settled, and never changes
            copy.entries = own.copy()
            own = {key: entry for key, entry in own.over.items() if entry is not GONE}
        for entry in own.values():
            twin = msgspec.structs.replace(entry)
            if entry.waiting:
                twin.waiting = tuple(
                    msgspec.structs.replace(w, skb=fresh(w.skb)) for w in entry.waiting
                )
            copy.put(twin)
        return copy

    def get(self, dev: str, ip: str) -> Neighbour | None:
        """An entry, if there is one."""
        return self.entries.get((dev, ip))

    def put(self, entry: Neighbour) -> None:
        """Add or replace an entry."""
        key = (entry.dev, entry.ip)
        self.entries[key] = entry
        if entry.state == "PERMANENT" and not entry.waiting:
            self.moving.pop(key, None)
        else:
            self.moving[key] = entry

    def remove(self, key: tuple[str, str]) -> bool:
        """Forget an entry; whether there was one."""
        self.moving.pop(key, None)
        return self.entries.pop(key, None) is not None

    def remove_device(self, dev: str) -> None:
        """Forget the neighbours of a device."""
        for key in [k for k in self.entries if k[0] == dev]:
            self.remove(key)

    def count(self, family: str) -> int:
        """How many entries of a family count against gc_thresh: all but permanent ones."""
        six = family == "ipv6"
        held = [e for (_, ip), e in self.entries.items() if (":" in ip) == six]
        return sum(1 for e in held if e.state != "PERMANENT")

    def collect(self, family: str, now_ns: int, most: int) -> int:
        """Forget up to ``most`` entries that failed or were not heard of for five seconds
        (neigh_forced_gc); how many went.
        """
        six = family == "ipv6"
        old = [
            key
            for key, e in self.entries.items()
            if (":" in key[1]) == six
            and e.state != "PERMANENT"
            and not e.waiting
            and (e.state in {"FAILED", "NOARP"} or now_ns - e.updated_ns > 5 * SECOND_NS)
        ]
        for key in old[:most]:
            self.remove(key)
        return len(old[:most])

    def pending(self) -> Iterator[Neighbour]:
        """Entries that wait for an answer or hold packets, in the order they were made."""
        held = [e for e in self.moving.values() if e.probes or e.waiting]
        if len(held) > 1:  # ``moving`` may be in another order
            held = [e for e in self.entries.values() if e.probes or e.waiting]
        return iter(held)

    def deadline_ns(self) -> int | None:
        """When the next unanswered request is due to be repeated or given up.

        At once (0) for packets whose neighbour was set by command while they waited.
        """
        if not self.moving:
            return None
        dues = (e.probe_due_ns for e in self.moving.values() if e.probes or e.waiting)
        return min(dues, default=None)
