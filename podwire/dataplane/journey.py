"""Carrying a packet through a world at once, hop by hop, until it and its echoes are at rest."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from podwire.dataplane.emit import Deliver, Drop, Emit, Recorder, ToWire
from podwire.dataplane.kernel import HOST
from podwire.dataplane.packet import ICMP_PROTOCOLS, NO_PACKET, RST, Frame, Packet, replace
from podwire.dataplane.verdict import Fate, Flow, Hop, Step

if TYPE_CHECKING:
    from podwire.dataplane.world import World

SECOND_NS = 1_000_000_000
PATIENCE_S = 4
"""How long unanswered ARP requests are waited for (three, a second apart)."""
MAX_FRAMES = 4096


class Journey:
    """What became of one packet. Runs on a fork and changes it.

    ``events`` are the decisive things that happened, in order: (node, Deliver | Drop).
    """

    def __init__(self, world: World, now_ns: int) -> None:
        self.world = world
        self.now_ns = now_ns
        self.hops: list[Hop] = []
        self.events: list[tuple[str, Deliver | Drop]] = []
        self.wires = 0
        self.asked: Packet | None = None
        """The packet that was sent (last)."""
        self.entered = False
        """Whether it came in from outside: then what leaves again may be for its sender."""
        self.left: list[tuple[str, str, Frame]] = []
        """Frames that left a world of dumps: node, device, frame."""
        self._frames = 0
        self._pending: deque[tuple[str, Emit]] = deque()

    def send(self, node: str, netns: str, packet: Packet, recorder: Recorder | None = None) -> None:
        """Send a packet of a namespace's own and follow it, with patience for ARP. ``recorder``
        has counted already what its socket cost.
        """
        self.asked = packet
        recorder = Recorder() if recorder is None else recorder
        emits = self.world.kernels[node].send(netns, packet, self.now_ns, recorder)
        self._note(node, recorder, emits)
        self._settle()

    def enter(self, node: str, device: str, frame: Frame) -> None:
        """Follow a frame that comes in from outside, by a device of the host's namespace."""
        self.asked, self.entered = frame.packet, True
        recorder = Recorder()
        recorder.step("link", device, "arrive", str(frame.packet))
        emits = self.world.kernels[node].receive(device, frame, self.now_ns, recorder)
        self._note(node, recorder, emits)
        self._settle()

    def _settle(self) -> None:
        """Carry what is on its way, with patience for ARP."""
        self._carry()
        for _ in range(PATIENCE_S):
            if all(kernel.deadline_ns() is None for kernel in self.world.kernels.values()):
                return
            self.now_ns += SECOND_NS
            for name, kernel in self.world.kernels.items():
                recorder = Recorder()
                self._note(name, recorder, kernel.tick(self.now_ns, recorder))
            self._carry()

    def connect(self, node: str, netns: str, packet: Packet, *, any_source: bool) -> Packet:
        """Begin as a socket does, which eBPF programs may send elsewhere; the packet that left, or
        would have.
        """
        kernel, recorder = self.world.kernels[node], Recorder()
        done = kernel.translate_socket(packet, netns, self.now_ns, recorder)
        if done is None:
            self.send(node, netns, packet, recorder)
            return packet
        self._note(node, recorder, [])
        if done.errno:
            why = f"connect: {done.errno}"
            drop = Drop(netns, Fate.NO_ENDPOINTS, packet, why, rule=done.rule, errno=done.errno)
            self.events.append((node, drop))
            return packet
        source = kernel.source_address(netns, done.ip) if any_source else packet.src
        packet = replace(packet, src=source, dst=done.ip, dst_port=done.port)
        ends = (packet.protocol, source, packet.src_port, done.ip, done.port)
        kernel.connect_socket(netns, *ends)
        self.send(node, netns, packet)
        return packet

    def _note(self, node: str, recorder: Recorder, emits: list[Emit]) -> None:
        if recorder.steps:
            if self.hops and self.hops[-1].node == node:
                self.hops[-1].steps.extend(recorder.steps)
            else:
                self.hops.append(Hop(node=node, steps=recorder.steps))
        self._pending.extend((node, emit) for emit in emits)

    def _carry(self) -> None:
        while self._pending:
            node, emit = self._pending.popleft()
            if isinstance(emit, ToWire):
                self._frames += 1
                if self._frames > MAX_FRAMES:
                    self._lost(node, emit, Fate.LOOP, "the frame circles on the wires")
                    self._pending.clear()
                    return
                self._wire(node, emit)
            else:
                self.events.append((node, emit))

    def _wire(self, node: str, emit: ToWire) -> None:
        frame, outside = emit.frame, self.world.outside
        if outside is not None and outside.takes(self, node, emit):
            return
        if not self.world.attached(node, emit.device):
            self._lost(node, emit, Fate.EXITS_CLUSTER, f"left through {emit.device} of {node}")
            return
        targets = self.world.targets(node, emit.device, frame)
        for target in targets:
            if not target.up:
                wanted = len(targets) == 1 or self._asks_for(emit, target.node)
                if wanted:
                    self._record_wire(node, target.node, emit, "down")
                    self._lost(node, emit, Fate.LINK_DOWN, f"link {node} - {target.node} is down")
                continue
            if len(targets) == 1:
                self._record_wire(node, target.node, emit, "carry")
            kernel = self.world.kernels[target.node]
            recorder = Recorder()
            emits = kernel.receive(target.device, frame, self.now_ns, recorder)
            self._note(target.node, recorder, emits)

    def _asks_for(self, emit: ToWire, node: str) -> bool:
        """Whether a frame to many asks for the MAC of an address of that host."""
        host = self.world.kernels[node].peek(HOST)
        return host is not None and emit.frame.asks_for in host.local

    def _record_wire(self, a: str, b: str, emit: ToWire, result: str) -> None:
        packet = emit.frame.packet if emit.frame.carries else None
        if packet is None and result != "down":
            return
        self.wires += 1
        asked = "neighbour solicitation" if emit.frame.arp is None else "ARP request"
        detail = f"{packet.size_bytes} bytes" if packet is not None else asked
        step = Step(stage="wire", object=f"{a} - {b}", result=result, detail=detail)
        self.hops.append(Hop(node="", steps=[step]))

    def _lost(self, node: str, emit: ToWire, fate: Fate, reason: str) -> None:
        packet = emit.frame.packet or NO_PACKET
        self.events.append((node, Drop(HOST, fate, packet, reason)))


ENDS = ("drop", "down")
"""Results of steps that end a packet."""


def answered(hops: list[Hop]) -> tuple[list[Hop], list[Hop]]:
    """Hops up to the one in which a kernel took an echo request, and the way of its answer."""
    for i, hop in enumerate(hops):
        for j, step in enumerate(hop.steps):
            if (step.stage, step.object, step.result) == ("socket", "icmp", "deliver"):
                rest = Hop(node=hop.node, steps=hop.steps[j + 1 :])
                there = [*hops[:i], Hop(node=hop.node, steps=hop.steps[: j + 1])]
                return there, [rest, *hops[i + 1 :]] if rest.steps else hops[i + 1 :]
    return hops, []


def cut(hops: list[Hop]) -> tuple[list[Hop], list[Hop]]:
    """Hops up to the step that ended the packet, and what happened because of it."""
    before: list[Hop] = []
    for i, hop in enumerate(hops):
        for j, step in enumerate(hop.steps):
            if step.result in ENDS:
                before.append(Hop(node=hop.node, steps=hop.steps[: j + 1]))
                rest = Hop(node=hop.node, steps=hop.steps[j + 1 :])
                return before, [rest, *hops[i + 1 :]] if rest.steps else hops[i + 1 :]
        before.append(hop)
    return before, []


def is_error(packet: Packet) -> bool:
    """Whether a packet says that another one failed: an ICMP error, or RST."""
    if packet.protocol in ICMP_PROTOCOLS:
        return packet.is_icmp_error
    return packet.protocol == "tcp" and bool(packet.tcp_flags & RST)


def tells(error: Packet, asked: Packet | None) -> bool:
    """Whether an error is heard by the socket that sent ``asked``: an ICMP error only if what it
    quotes bears the addresses that the socket knows (one that missed its un-NAT does not).
    """
    if not is_error(error):
        return False
    quoted = error.original
    if asked is None or quoted is None:
        return True
    ends = (quoted.protocol, quoted.src_port, quoted.dst, quoted.dst_port)
    return ends == (asked.protocol, asked.src_port, asked.dst, asked.dst_port)


def arrival(journey: Journey, at: tuple[str, str] | None = None) -> tuple[str, Deliver] | None:
    """The first packet that reached a socket (of ``at``, if given) and is not an error."""
    for node, event in journey.events:
        if isinstance(event, Deliver) and not is_error(event.packet):
            return (node, event) if at in {None, (node, event.netns)} else None
    return None


def ending(
    journey: Journey, origin: tuple[str, str], *, answer: bool = False
) -> tuple[Fate, str, str, Flow | None]:
    """Fate, node, namespace and flow of a packet that reached no socket.

    The first loss of the packet itself decides; a refusal counts as one only if word of it came
    back to ``origin``, otherwise what stopped that word does. An ``answer`` that is refused went
    astray (it came from an address the client never spoke to): the client waits in vain.
    """
    losses = [(n, e) for n, e in journey.events if isinstance(e, Drop)]
    own = [(n, e) for n, e in losses if not is_error(e.packet) and e.packet.protocol != "arp"]
    links = [(n, e) for n, e in losses if e.fate is Fate.LINK_DOWN]
    told = any(
        isinstance(e, Deliver) and (n, e.netns) == origin and tells(e.packet, journey.asked)
        for n, e in journey.events
    )
    if journey.entered and any(
        e.fate is Fate.EXITS_CLUSTER and is_error(e.packet) and tells(e.packet, journey.asked)
        for _, e in losses
    ):
        told = True
    if links and (not own or own[0][1].fate is Fate.NEIGHBOR_UNREACHABLE):
        own = links
    if not own:
        return (Fate.LOST, *origin, None)
    node, drop = own[0]
    if answer:
        fate = Fate.TIMED_OUT if drop.fate is Fate.REFUSED else drop.fate
        return fate, node, drop.netns, drop.packet.flow
    if drop.fate in {Fate.REFUSED, Fate.NO_ENDPOINTS} and not told:
        errors = [(n, e) for n, e in losses if is_error(e.packet)]
        if errors:
            node, drop = errors[0]
        elif drop.fate is Fate.REFUSED:
            return Fate.TIMED_OUT, node, drop.netns, drop.packet.flow
    return drop.fate, node, drop.netns, drop.packet.flow
