"""What matches and targets may look at besides the packet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from podwire.runtime.ports import Rng

if TYPE_CHECKING:
    from podwire.dataplane.cost import Meter
    from podwire.dataplane.netfilter.tables import Netfilter
    from podwire.dataplane.netns import Netns


class UnknownModelError(Exception):
    """A packet met a match or target that is not modelled; the message names it."""


class Chance(Protocol):
    """Decides ``-m statistic --mode random``. A walk substitutes one that tries both ways."""

    def statistic(self, chain: str, choices: int, probability: float) -> bool:
        """Whether a rule of ``chain`` matches; the chain decides among ``choices`` outcomes."""

    def choose(self, chain: str, choices: int) -> int:
        """One of ``choices`` equally likely outcomes (``numgen random mod``)."""

    def pick(self, chain: str, weights: Sequence[int], wanted: int) -> int:
        """Which of several outcomes is taken: ``wanted``, which state (a scheduler's) says comes
        next. Only a walk that tries all of them answers otherwise.
        """


class RngChance:
    """Chance from a kernel's own stream."""

    __slots__ = ("_rng",)

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    def statistic(self, chain: str, choices: int, probability: float) -> bool:
        """Draw once."""
        del chain, choices
        return self._rng.random() < probability

    def choose(self, chain: str, choices: int) -> int:
        """Draw once."""
        del chain
        return self._rng.below(choices) if choices > 1 else 0

    def pick(self, chain: str, weights: Sequence[int], wanted: int) -> int:
        """Nothing is drawn."""
        del chain, weights
        return wanted


class Env:
    """The surroundings of one evaluation. ``chain`` is the compiled chain being walked, ``nf`` the
    iptables or ip6tables state it belongs to, ``meter`` counts what a kernel would have done.
    """

    __slots__ = ("chain", "chance", "meter", "nf", "now_ns", "ns", "table")

    def __init__(
        self,
        ns: Netns,
        now_ns: int,
        chance: Chance,
        table: str,
        nf: Netfilter | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.ns = ns
        self.now_ns = now_ns
        self.chance = chance
        self.table = table
        self.nf = ns.netfilter if nf is None else nf
        self.meter = meter
        self.chain: Any = None
