"""The underlay: one Ethernet segment that all hosts share, and whose paths can be cut.

A frame leaves one host's port and arrives at others after the wire's delay. Frames between the
same two ports keep their order. Jitter is drawn from the port's own stream. What makes a host's
card slow or lossy is netem in its kernel (``tc qdisc``, ``dataplane/qdisc.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.dataplane.packet import Frame
from podwire.dataplane.world import World
from podwire.runtime.ports import Clock, Rng

NIC = "eth0"
"""The device by which every host hangs on the underlay."""


@dataclass(slots=True)
class Counters:
    """What a port has seen."""

    tx_packets: int = 0
    tx_bytes: int = 0
    rx_packets: int = 0
    rx_bytes: int = 0


@dataclass(slots=True, eq=False)
class Port:
    """Where a host plugs in. ``receive`` takes frames that arrive."""

    host: str
    mac: str
    receive: Callable[[Frame], None]
    rng: Rng
    powered: bool = True
    counters: Counters = field(default_factory=Counters)


class Wire:
    """The segment. ``delay_s`` is one way, host to host; ``jitter_s`` is added uniformly.

    Which paths are whole is the ``World``'s knowledge, so that a walk on a fork meets the same
    wires; everything that takes time or chance is here.

    ``lost(host, frame, why)`` is told of every frame that the wire itself ends.
    """

    def __init__(
        self,
        world: World,
        clock: Clock,
        rng: Rng,
        delay_s: float = 200e-6,
        jitter_s: float = 20e-6,
        lost: Callable[[str, Frame, str], None] | None = None,
    ) -> None:
        self._world = world
        self._clock = clock
        self._rng = rng
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self._lost = lost or (lambda _host, _frame, _why: None)
        self.ports: dict[str, Port] = {}
        self._by_mac: dict[str, Port] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._flying: dict[tuple[str, str], deque[tuple[Frame, int]]] = {}

    def attach(self, host: str, mac: str, receive: Callable[[Frame], None]) -> Port:
        """Plug a host in."""
        port = Port(host, mac, receive, self._rng.child(host))
        self.ports[host] = port
        self._by_mac[mac] = port
        self._world.attach(host, NIC)
        return port

    # ------------------------------------------------------------ faults

    def set_link(self, a: str, b: str, *, up: bool, both: bool = True) -> None:
        """Bring the path from ``a`` to ``b`` up or down; ``both`` does the way back too."""
        for pair in ((a, b), (b, a)) if both else ((a, b),):
            self._world.set_link(*pair, up=up, both=False)
            if up:
                self._cut.pop(pair, None)
            else:
                self._cut[pair] = None

    def partition(self, *groups: list[str]) -> None:
        """Cut all paths between the groups (heal with ``heal``)."""
        for i, group in enumerate(groups):
            for other in groups[i + 1 :]:
                for a in group:
                    for b in other:
                        self.set_link(a, b, up=False)

    def heal(self) -> None:
        """Bring every path up."""
        for a, b in list(self._cut):
            self.set_link(a, b, up=True, both=False)

    def is_up(self, a: str, b: str) -> bool:
        """Whether frames from ``a`` can arrive at ``b`` at all."""
        both = a in self.ports and b in self.ports
        return both and self._world.link_up((a, NIC), (b, NIC))

    def cut(self) -> list[tuple[str, str]]:
        """Directed paths that were brought down, sorted."""
        return sorted(self._cut)

    def power(self, host: str, *, on: bool) -> None:
        """A host without power receives nothing and sends nothing."""
        self.ports[host].powered = on
        self._world.set_port(host, NIC, up=on)

    # ------------------------------------------------------------ frames

    def transmit(self, host: str, dst_mac: str, frame: Frame, size_bytes: int) -> None:
        """Put a frame on the segment. An unknown destination MAC is flooded, as a switch does."""
        sender = self.ports.get(host)
        if sender is None or not sender.powered:
            return
        sender.counters.tx_packets += 1
        sender.counters.tx_bytes += size_bytes
        receiver = self._by_mac.get(dst_mac)
        if receiver is not None:
            self._carry(sender, receiver, frame, size_bytes)
            return
        for other in list(self.ports.values()):
            if other is not sender:
                self._carry(sender, other, frame, size_bytes)

    def _carry(self, sender: Port, receiver: Port, frame: Frame, size_bytes: int) -> None:
        if self._cut and (sender.host, receiver.host) in self._cut:
            self._lost(sender.host, frame, f"link {sender.host}-{receiver.host} is down")
            return
        delay_s = self.delay_s
        if self.jitter_s:
            delay_s += self.jitter_s * sender.rng.random()
        # Timers only say *that* something arrives; the queue says what: two frames due at the
        # same nanosecond, or with unlucky jitter, still keep their order.
        pair = (sender.host, receiver.host)
        queue = self._flying.get(pair)
        if queue is None:
            queue = self._flying[pair] = deque()
        queue.append((frame, size_bytes))
        self._clock.call_later(delay_s, self._arrive_next, queue, receiver)

    def _arrive_next(self, queue: deque[tuple[Frame, int]], receiver: Port) -> None:
        frame, size_bytes = queue.popleft()
        if not receiver.powered:
            self._lost(receiver.host, frame, f"{receiver.host} has no power")
            return
        receiver.counters.rx_packets += 1
        receiver.counters.rx_bytes += size_bytes
        receiver.receive(frame)
