"""The context of one call into a kernel: time, what was emitted, and what is still in flight.

Packets hop between the namespaces of one node through a queue, not by recursion, so a forwarding
loop ends after ``MAX_HOPS`` devices with fate LOOP instead of exhausting the stack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from podwire.dataplane.emit import Deliver, Drop, Emit, Recorder, ToWire
from podwire.dataplane.link import Link
from podwire.dataplane.packet import Frame, Packet
from podwire.dataplane.verdict import Fate

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.paths.notes import Notes
    from podwire.dataplane.skb import Skb

MAX_HOPS = 1024


class Run:
    """One call's state. ``recorder`` is None unless somebody wants to see the steps."""

    __slots__ = ("_recorder", "budget", "emits", "kernel", "notes", "now_ns", "queue", "recorder")

    def __init__(self, kernel: Kernel, now_ns: int, recorder: Recorder | None = None) -> None:
        self.kernel = kernel
        self.now_ns = now_ns
        self.recorder = self._recorder = recorder
        self.emits: list[Emit] = []
        self.queue: deque[tuple[str, str, Frame, Skb | None]] = deque()
        self.budget = MAX_HOPS
        self.notes: Notes | None = None
        """What is written down of this run, if somebody wants to keep its path."""

    def unfit(self) -> None:
        """This packet's path is not to be kept: it met what the next one may not."""
        if self.notes is not None:
            self.notes.fit = False

    def stir(self) -> None:
        """State that other packets' ways depend on changes: kept paths are forgotten."""
        self.unfit()
        self.kernel.forget_paths()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While neighbour discovery is about: its steps are nobody's packet's, its end may be."""
        before, self.recorder = self.recorder, None
        try:
            yield
        finally:
            self.recorder = before

    @contextmanager
    def restored(self) -> Iterator[None]:
        """While a packet that waited for discovery goes on."""
        before, self.recorder = self.recorder, self._recorder
        try:
            yield
        finally:
            self.recorder = before

    def sent(self, link: Link, size_bytes: int) -> None:
        """A device counts a frame that it has sent."""
        stats = link.stats
        stats.tx_packets += 1
        stats.tx_bytes += size_bytes
        if self.notes is not None:
            self.notes.frames.append((stats, True, size_bytes))

    def came(self, link: Link, size_bytes: int) -> None:
        """A device counts a frame that it has received."""
        stats = link.stats
        stats.rx_packets += 1
        stats.rx_bytes += size_bytes
        if self.notes is not None:
            self.notes.frames.append((stats, False, size_bytes))

    def enqueue(self, netns: str, dev: str, frame: Frame, skb: Skb | None = None) -> None:
        """A frame arrives at a device of a namespace of this node."""
        self.queue.append((netns, dev, frame, skb))

    def to_wire(self, ns: Netns, dev: str, frame: Frame) -> None:
        """A frame leaves the node."""
        if self.recorder is not None and frame.packet is not None:
            self.recorder.step("link", dev, "transmit", f"to {frame.dst}", netns=ns.name)
        self.emits.append(ToWire(dev, frame))

    def deliver(self, ns: Netns, packet: Packet) -> None:
        """A packet reaches its socket."""
        if self.recorder is not None:
            self.recorder.step("socket", "local", "deliver", str(packet), netns=ns.name)
        self.emits.append(Deliver(ns.name, packet))

    def drop(
        self,
        ns: Netns,
        fate: Fate,
        packet: Packet,
        reason: str,
        *,
        stage: str = "route",
        object: str = "",
        rule: str = "",
        chain: str = "",
        errno: str = "",
    ) -> None:
        """A packet ends here."""
        if self._recorder is not None:
            self._recorder.step(
                stage, object, "drop", reason, netns=ns.name, rule=rule, before=packet.flow
            )
        self.emits.append(Drop(ns.name, fate, packet, reason, rule, chain, errno))
