"""The leases of all nodes as the agents of one process know them together.

A thousand agents that hear of a thousand nodes one by one do the same million times. Here a lease
is understood once, agents learn of changes at common moments, and all that stand at the same point
make the same batch of it (``TunnelPeers``), which their kernels share. On the machine's clock only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from podwire.api import kinds
from podwire.api.views import Node
from podwire.client.common import Commons
from podwire.client.ctx import Ctx
from podwire.cni.flannel import core
from podwire.dataplane.commands import TunnelPeer
from podwire.runtime.tasks import Event

FEW = 32
"""So many agents hear at once."""
STEP_S = 0.000_5
"""How long a moment is for each agent: half a second of a thousand, in which a node's lease is not
known to the others yet.
"""
_KEEP = 64
_LONG = 1024
VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What changed between two points."""

    before: Mapping[str, core.Peer]
    """Of the nodes whose leases changed or went, what they were."""
    after: Mapping[str, core.Peer]
    """What they are now."""
    tunnel: tuple[TunnelPeer, ...]
    """``after`` for the kernel. One object for all agents."""


class Peering:
    """The leases, and how they changed. ``follow`` gives an agent its place."""

    def __init__(self, ctx: Ctx, commons: Commons) -> None:
        self._clock = ctx.clock
        self._peers: dict[int, dict[str, core.Peer]] = {version: {} for version in VERSIONS}
        self._log: list[tuple[int, str, core.Peer | None]] = []
        """Changes: IP version, node, and its lease before."""
        self._first = 1
        """The point at which the log begins; at 0 nothing is known."""
        self._turns: dict[tuple[int, int, int], Turn] = {}
        self._places: dict[Place, None] = {}
        self._moment = Event()
        self._coming = False
        commons.of(kinds.NODE).informer(ctx).on_change(self._changed)

    @property
    def now(self) -> int:
        """The latest point."""
        return self._first + len(self._log)

    def join(self) -> Place:
        """A place for an agent that knows nothing yet."""
        place = Place(self)
        self._places[place] = None
        return place

    def leave(self, place: Place) -> None:
        """An agent ended."""
        self._places.pop(place, None)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        about = new or old
        assert about is not None
        name = about.metadata.name
        for version in VERSIONS:
            before = self._peers[version].get(name)
            after = core.peer_of(new, version) if new is not None else None
            if before == after:
                continue
            if after is None:
                del self._peers[version][name]
            else:
                self._peers[version][name] = after
            self._log.append((version, name, before))
            self._soon()
        if len(self._log) > _LONG:
            self._shorten()

    def _shorten(self) -> None:
        known = min((place.point for place in self._places if place.point), default=self.now)
        del self._log[: known - self._first]
        self._first = known

    def _soon(self) -> None:
        if not self._coming:
            self._coming = True
            count = len(self._places)
            self._clock.call_later(count * STEP_S if count > FEW else 0.0, self._come)

    def _come(self) -> None:
        self._moment.set()
        self._moment, self._coming = Event(), False

    async def moved(self, point: int) -> None:
        """Wait until more is known than at a point, and the moment has come."""
        if point == self.now or self._coming:
            await self._moment.wait()

    def turn(self, version: int, point: int) -> Turn:
        """What changed since a point; from 0, all there is."""
        key = (version, point, self.now)
        found = self._turns.get(key)
        if found is None:
            if len(self._turns) >= _KEEP:
                self._turns.pop(next(iter(self._turns)))
            found = self._turns[key] = self._turn(version, point)
        return found

    def _turn(self, version: int, point: int) -> Turn:
        peers = self._peers[version]
        was: dict[str, core.Peer | None] = {}
        if point:
            for of, name, earlier in self._log[point - self._first :]:
                if of == version:
                    was.setdefault(name, earlier)
        else:
            was = dict.fromkeys(peers)
        moved = [name for name in sorted(was) if was[name] != peers.get(name)]
        before = {name: old for name in moved if (old := was[name]) is not None}
        after = {name: peers[name] for name in moved if name in peers}
        tunnel = tuple(TunnelPeer(str(p.subnet), p.mac, p.address) for p in after.values())
        return Turn(before, after, tunnel)


class Place:
    """How far an agent has come."""

    def __init__(self, peering: Peering) -> None:
        self._peering = peering
        self.point = 0

    def turn(self, version: int) -> Turn:
        """What the agent has not been told yet."""
        return self._peering.turn(version, self.point)

    async def next(self, told: int) -> None:
        """All up to ``told`` was taken in; wait for more."""
        self.point = told
        await self._peering.moved(told)

    @property
    def now(self) -> int:
        """The latest point."""
        return self._peering.now

    def leave(self) -> None:
        """The agent ended."""
        self._peering.leave(self)
