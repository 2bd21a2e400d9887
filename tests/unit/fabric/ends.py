"""Two ends of a TCP connection, a lossy wire and a clock that jumps."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from podwire.dataplane.packet import ACK, RST, SYN
from podwire.fabric.segment import Segment, State
from podwire.fabric.tcp import MS, Connection

Fault = Callable[[Segment, int], list[int]]
"""Given a segment and its delay: the delays at which copies of it arrive."""


def faithful(_segment: Segment, delay_ns: int) -> list[int]:
    return [delay_ns]


class Pair:
    """A client and a server end with a wire of 1 ms between them."""

    def __init__(self, fault: Fault = faithful) -> None:
        self.now = 0
        self.client = Connection(1000, 1460)
        self.server = Connection(9000, 1460)
        self.server_listens = True
        self.fault = fault
        self.seen: list[str] = []
        self._wire: list[tuple[int, int, Connection, Segment]] = []
        self._count = itertools.count()

    def flush(self) -> None:
        for end, peer, arrow in (
            (self.client, self.server, ">"),
            (self.server, self.client, "<"),
        ):
            for segment in end.out:
                self.seen.append(f"{arrow} {segment}")
                for delay in self.fault(segment, MS):
                    heapq.heappush(self._wire, (self.now + delay, next(self._count), peer, segment))
            end.out.clear()

    def step(self) -> bool:
        """Let the next thing happen; False when nothing will."""
        self.flush()
        times = [end.deadline_ns for end in (self.client, self.server) if end.deadline_ns]
        if self._wire:
            times.append(self._wire[0][0])
        if not times:
            return False
        self.now = max(self.now, min(times))
        while self._wire and self._wire[0][0] <= self.now:
            _, _, end, segment = heapq.heappop(self._wire)
            if end is self.server and end.state is State.CLOSED and segment.flags & SYN:
                if self.server_listens:
                    end.accept_syn(segment, self.now)
                else:
                    self.client.on_segment(Segment(RST | ACK, 0, segment.seq + 1), self.now)
            else:
                end.on_segment(segment, self.now)
        for end in (self.client, self.server):
            if end.deadline_ns and end.deadline_ns <= self.now:
                end.on_timer(self.now)
        self.flush()
        return True

    def run(self, until: Callable[[], bool], steps: int = 20_000) -> None:
        for _ in range(steps):
            if until() or not self.step():
                return

    def connect(self) -> None:
        self.client.open(self.now)
        self.run(lambda: self.server.state is State.ESTAB)
        assert self.client.state is State.ESTAB


def read_all(end: Connection) -> bytes:
    parts = []
    while data := end.read():
        parts.append(data)
    return b"".join(parts)
