"""What kube-proxies of one process hear, taken in once for all of them.

Each of them would make the same tables of the same events. Here one pair of feeds reads for all,
and a ``Known`` keeps the tables of a mode and family, and which Services changed at which turn; a
proxier catches up when it syncs. Only where all hear the same at the same moment (``Common``).
"""

from __future__ import annotations

from typing import Protocol

from podwire.api import kinds
from podwire.api.views import EndpointSlice, Service
from podwire.client.common import Commons
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.feed import Feed
from podwire.kube_proxy.mode import Mode
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.table import Table

_NOBODY = NodeFacts("", "", ())
_MANY = 4096

WHATS = ("service", "endpoint")


class Listener(Protocol):
    """Who is told at once that a sync is due."""

    @property
    def turn(self) -> int:
        """Up to where it caught up."""

    def due(self) -> None:
        """Something changed that rules may depend on."""


class Known:
    """The tables of one mode and family, and the log of what changed in them."""

    def __init__(self, mode: Mode, family: str, shared: Shared) -> None:
        self.mode, self.family = mode, family
        self.turn = 0
        """How many changes there were that rules may depend on."""
        self.heard = dict.fromkeys(WHATS, 0)
        """How many events there were at all."""
        self.listeners: dict[Listener, None] = {}
        self._scout = Proxier(mode, None, _NOBODY, shared, family)
        self._changed: dict[str, int] = {}
        """Services by the turn of their latest change, in this order."""

    def begin_services(self, table: Table[Service]) -> None:
        """All Services."""
        self._scout.all_services(table)

    def begin_slices(self, table: Table[EndpointSlice]) -> None:
        """All EndpointSlices."""
        self._scout.all_slices(table)

    def service(self, old: Service | None, new: Service | None) -> None:
        """A Service changed."""
        self._took("service", relevant=self._scout.service(old, new))

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """An EndpointSlice changed."""
        self._took("endpoint", relevant=self._scout.slice(old, new))

    def _took(self, what: str, *, relevant: bool) -> None:
        self.heard[what] += 1
        if not relevant:
            return
        self.turn += 1
        dirty, changed = self._scout.dirty, self._changed
        for key in dirty:
            changed.pop(key, None)
            changed[key] = self.turn
        dirty.clear()
        if len(changed) > _MANY + 2 * len(self._scout.services):
            self._forget()
        for listener in tuple(self.listeners):
            listener.due()

    def _forget(self) -> None:
        """Drop what all have caught up with: names of Services that went remain here."""
        behind = min((listener.turn for listener in self.listeners), default=self.turn)
        self._changed = {key: turn for key, turn in self._changed.items() if turn > behind}

    def since(self, turn: int) -> dict[str, None]:
        """The Services that changed after a turn, the latest first."""
        found: dict[str, None] = {}
        for key, changed in reversed(self._changed.items()):
            if changed <= turn:
                break
            found[key] = None
        return found

    def counts(self) -> dict[str, int]:
        """How many Services and EndpointSlices there are."""
        scout = self._scout
        return {"service": len(scout.services), "endpoint": len(scout.flat_slices)}

    @property
    def checked(self) -> bool:
        """Whether there are Services with a healthCheckNodePort."""
        return bool(self._scout.checked)

    def bring(self, proxier: Proxier, turn: int) -> int:
        """Hand over the tables, and what changed after a turn; the turn that it is now."""
        scout = self._scout
        proxier.services, proxier.slices = scout.services, scout.slices
        proxier.flat_slices = scout.flat_slices
        proxier.checked = dict(scout.checked)
        proxier.dirty.update(self.since(turn))
        return self.turn


class Hearing:
    """The feeds of a process, and what is known of each mode and family in use."""

    def __init__(self, commons: Commons, shared: Shared) -> None:
        self._commons, self._shared = commons, shared
        self._known: dict[tuple[str, str], Known] = {}

        def services(table: Table[Service]) -> None:
            for known in self._known.values():
                known.begin_services(table)

        def service(old: Service | None, new: Service | None) -> None:
            for known in self._known.values():
                known.service(old, new)

        def slices(table: Table[EndpointSlice]) -> None:
            for known in self._known.values():
                known.begin_slices(table)

        def endpoint_slice(old: EndpointSlice | None, new: EndpointSlice | None) -> None:
            for known in self._known.values():
                known.slice(old, new)

        self.services = Feed(shared, kinds.SERVICE, services, service)
        self.slices = Feed(shared, kinds.ENDPOINT_SLICE, slices, endpoint_slice)
        commons.of(kinds.SERVICE).join(self.services)
        commons.of(kinds.ENDPOINT_SLICE).join(self.slices)

    @property
    def feeds(self) -> tuple[Feed[Service], Feed[EndpointSlice]]:
        """Both."""
        return self.services, self.slices

    def known(self, mode: Mode, family: str) -> Known:
        """What is known of a mode's family."""
        found = self._known.get((mode.name, family))
        if found is None:
            found = self._known[mode.name, family] = Known(mode, family, self._shared)
            if self.services.synced.is_set():
                found.begin_services(self.services.table)
            if self.slices.synced.is_set():
                found.begin_slices(self.slices.table)
        return found
