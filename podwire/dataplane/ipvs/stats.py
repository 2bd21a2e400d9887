"""Counters of services and real servers, and the rates the kernel estimates (ip_vs_est.c)."""

from __future__ import annotations

import msgspec

PERIOD_NS = 2_000_000_000
MOST_PERIODS = 256
"""After so many silent periods every rate is 0."""
FIELDS = ("conns", "in_packets", "out_packets", "in_bytes", "out_bytes")


class Stats(msgspec.Struct):
    """Totals since the last ``-Z``, and rates scaled as the kernel scales them."""

    conns: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    since_ns: int = 0
    """The end of the last whole period."""
    seen: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    scaled: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)

    def copy(self) -> Stats:
        """An independent copy."""
        return msgspec.structs.replace(self)

    @property
    def totals(self) -> tuple[int, int, int, int, int]:
        """Connections, packets in and out, bytes in and out."""
        return (self.conns, self.in_packets, self.out_packets, self.in_bytes, self.out_bytes)

    def settle(self, now_ns: int) -> None:
        """Take the periods that ended into the rates: a quarter of the way to the newest."""
        periods = (now_ns - self.since_ns) // PERIOD_NS
        if periods <= 0:
            return
        totals, scaled = self.totals, list(self.scaled)
        for i, (total, before) in enumerate(zip(totals, self.seen, strict=True)):
            rate = (total - before) << (9 if i < 3 else 4)
            scaled[i] += (rate - scaled[i]) >> 2
            if periods > MOST_PERIODS:
                scaled[i] = 0
            else:
                for _ in range(periods - 1):
                    scaled[i] += -scaled[i] >> 2
        self.seen = totals
        self.scaled = (scaled[0], scaled[1], scaled[2], scaled[3], scaled[4])
        self.since_ns += periods * PERIOD_NS

    def rates(self, now_ns: int) -> tuple[int, ...]:
        """Per second: connections, packets in and out, bytes in and out."""
        self.settle(now_ns)
        return tuple(
            (value + 0x1FF) >> 10 if i < 3 else (value + 0xF) >> 5
            for i, value in enumerate(self.scaled)
        )

    def count(self, now_ns: int, size_bytes: int, *, out: bool) -> None:
        """A packet went by."""
        self.settle(now_ns)
        if out:
            self.out_packets += 1
            self.out_bytes += size_bytes
        else:
            self.in_packets += 1
            self.in_bytes += size_bytes

    def zero(self) -> None:
        """``ipvsadm -Z``."""
        self.conns = self.in_packets = self.out_packets = self.in_bytes = self.out_bytes = 0
        self.seen = (0, 0, 0, 0, 0)
        self.scaled = (0, 0, 0, 0, 0)
