"""netem, the queueing discipline that makes a device slow and lossy (net/sched/sch_netem.c).

Correlations, distributions other than uniform, ``loss state`` and ``gemodel``, slots and ECN are
not modelled. No kernel at hand has sch_netem: this follows its source.
"""

from __future__ import annotations

import msgspec

from podwire.dataplane.packet import ETHERNET_BYTES
from podwire.runtime.ports import Rng

SECOND_NS = 1_000_000_000


class Netem(msgspec.Struct, frozen=True):
    """What a device does to frames that leave by it. Shares are in [0, 1]; a ``gap`` above zero
    lets frames overtake: every ``gap``-th one with probability ``reorder``.
    """

    handle: int = 0
    limit: int = 1000
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    gap: int = 0
    corrupt: float = 0.0
    rate_bits: int = 0
    """Bits per second; 0 is unlimited."""


class Queue:
    """The state of one device's netem: its own stream of chance, what it holds."""

    __slots__ = ("_counter", "_rng", "dropped", "held", "last_ns", "sent")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._counter = 0
        self.last_ns = 0
        """When the latest held frame leaves."""
        self.held = 0
        self.sent = self.dropped = 0

    def schedule(self, netem: Netem, size_bytes: int, now_ns: int) -> tuple[list[int], str]:
        """When the copies of a frame leave, and why there is none ("" otherwise)."""
        due: list[int] = []
        copies = 2 if self._happens(netem.duplicate) else 1
        why = ""
        for _ in range(copies):
            why = self._lost(netem)
            if why:
                self.dropped += 1
            else:
                due.append(self._time(netem, size_bytes, now_ns))
                self.held += 1
        return due, "" if due else why

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share

    def _lost(self, netem: Netem) -> str:
        if self._happens(netem.loss):
            return "netem loss"
        if self._happens(netem.corrupt):
            return "netem corrupt: the receiver finds a wrong checksum"
        return f"netem limit {netem.limit}: the queue is full" if self.held >= netem.limit else ""

    def _time(self, netem: Netem, size_bytes: int, now_ns: int) -> int:
        overtakes = (
            netem.gap > 0 and self._counter >= netem.gap - 1 and self._rng.random() < netem.reorder
        )
        if overtakes:
            self._counter = 0
            return now_ns
        self._counter += 1
        delay = netem.delay_ns
        if netem.jitter_ns:
            spread = self._rng.uniform(-netem.jitter_ns, netem.jitter_ns)
            delay = max(delay + int(spread), 0)
        start = now_ns
        if netem.rate_bits:
            if self.held and self.last_ns > now_ns:
                delay = max(delay - (self.last_ns - now_ns), 0)
                start = self.last_ns
            bits = (size_bytes + ETHERNET_BYTES) * 8
            delay += bits * SECOND_NS // netem.rate_bits
        self.last_ns = max(start + delay, self.last_ns)
        return start + delay
