"""One address family's proxier on one node: what it has heard, and whether it syncs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.healthcheck import HealthChecks
from podwire.kube_proxy.known import WHATS, Known
from podwire.kube_proxy.metrics import Metrics
from podwire.kube_proxy.runner import Runner
from podwire.runtime.ports import Clock, Timer

if TYPE_CHECKING:
    from podwire.kube_proxy.group import Part
    from podwire.kube_proxy.shell import KubeProxy


class Family:
    """A proxier, and when it syncs. ``known`` is what it hears together with others, if so."""

    runner: Runner

    def __init__(
        self,
        owner: KubeProxy,
        proxier: Proxier,
        config: Config,
        checks: HealthChecks | None,
        known: Known | None,
    ) -> None:
        self.owner, self.proxier, self.config, self.known = owner, proxier, config, known
        self.checks = checks
        """The healthCheckNodePorts; the primary family's proxier serves them."""
        self.full = True
        self.turn = 0
        """Up to which of ``known``'s turns it caught up, while it is alone."""
        self.heard = dict.fromkeys(WHATS, 0)
        """How many of ``known``'s events its metrics count."""
        self.part: Part | None = None
        """Those it syncs together with."""
        self.mark = Metrics()
        """The part's metrics that its own have taken over."""
        self._again: Timer | None = None

    @property
    def node(self) -> str:
        """The node whose kernel it commands."""
        return self.owner.process.spec.node

    # ------------------------------------------------------------ what changed

    def begin(self) -> None:
        """Take in what is there, and hear of what changes from now on."""
        known = self.known
        if known is None:
            return
        for what, count in known.counts().items():
            self.owner.health.changed(what, self.proxier.family, count)
        self.heard = dict(known.heard)
        self.turn = known.bring(self.proxier, known.turn)
        known.listeners[self] = None

    def due(self) -> None:
        """A change came that must be programmed."""
        self.owner.health.queued(self.proxier.family)
        self.runner.request()

    @property
    def behind(self) -> bool:
        """Whether there is something to sync."""
        known = self.known
        return bool(self.full or self.proxier.dirty or (known and known.turn > self.turn))

    def catch_up(self) -> None:
        """Take in what was heard together since the last time."""
        if self.known is not None:
            self.tell()
            self.turn = self.known.bring(self.proxier, self.turn)

    def tell(self) -> None:
        """Bring health and metrics up to date."""
        if self.known is None:
            return
        if self.part is not None:
            self.part.tell(self)
            return
        for what in WHATS:
            count = self.known.heard[what] - self.heard[what]
            if count:
                self.owner.health.changed(what, self.proxier.family, count)
                self.heard[what] += count

    # ------------------------------------------------------------ alone

    def alone(self, *, full: bool) -> None:
        """Sync alone from now on, if it was part of a group; all anew, if asked."""
        if self.part is not None:
            self.part.group.leave(self)
        self.full = self.full or full

    def again(self, clock: Clock, after_s: float) -> None:
        """Sync once more after a while, though nothing may change until then."""
        if self._again is not None:
            self._again.cancel()
        self._again = clock.call_later(after_s, self.runner.request)

    def stop(self) -> None:
        """No further sync."""
        self.alone(full=False)
        if self.known is not None:
            self.known.listeners.pop(self, None)
        if self._again is not None:
            self._again.cancel()
