"""Walking a packet: all load-balancing branches, one of them drawn, each there and back.

Every branch runs on a fork of its own with a script for the ``statistic`` rules it meets; where
the script ends, a rule is first taken, and the other way is put on the list of branches to try.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane import family as families
from podwire.dataplane.emit import Drop
from podwire.dataplane.journey import Journey, answered, arrival, cut, ending
from podwire.dataplane.kernel import HOST
from podwire.dataplane.outside import answer, arriving, innermost
from podwire.dataplane.packet import SYN, Frame, Packet, answer_to, replace
from podwire.dataplane.verdict import (
    GOOD_FATES,
    Branch,
    Draw,
    Fate,
    Flow,
    Hop,
    WalkAnswer,
    WalkRequest,
    accounted,
)
from podwire.runtime.ports import Rng

if TYPE_CHECKING:
    from podwire.dataplane.world import World

FIRST_PORT, PORTS = 32768, 28232
WIRE_DELAY_NS = 200_000
MAX_BRANCHES = 4096


class Decision(NamedTuple):
    """What one random rule decided."""

    chain: str
    choices: int
    probability: float
    taken: bool
    sure: bool | None = None
    """What state says must be taken, whatever is drawn; None: chance decides."""


class Script:
    """Chance that follows a script and notes what it met beyond it (``env.Chance``)."""

    def __init__(self, script: tuple[bool, ...]) -> None:
        self.script = script
        self.decisions: list[Decision] = []

    def statistic(self, chain: str, choices: int, probability: float) -> bool:
        """The script's answer; beyond its end, yes."""
        met = len(self.decisions)
        taken = self.script[met] if met < len(self.script) else True
        self.decisions.append(Decision(chain, choices, probability, taken))
        return taken

    def choose(self, chain: str, choices: int) -> int:
        """One outcome after the other is taken or left, as rules with probabilities would be."""
        for index in range(choices - 1):
            if self.statistic(chain, choices, 1 / (choices - index)):
                return index
        return choices - 1

    def pick(self, chain: str, weights: Sequence[int], wanted: int) -> int:
        """All outcomes, one per branch; the drawn branch takes ``wanted``."""
        left = sum(weights)
        for index, weight in enumerate(weights[:-1]):
            met = len(self.decisions)
            taken = self.script[met] if met < len(self.script) else True
            share = weight / left if left else 0.0
            sure = index == wanted
            self.decisions.append(Decision(chain, len(weights), share, taken, sure))
            if taken:
                return index
            left -= weight
        return len(weights) - 1

    @property
    def probability(self) -> float:
        """How likely this branch is (of servers that take turns: their share)."""
        share = 1.0
        for d in self.decisions:
            share *= d.probability if d.taken else 1 - d.probability
        return share

    def drawn_by(self, draw: float) -> bool:
        """Whether a number in [0, 1) leads down this branch.

        A rule matches when what is left of the draw is below its probability; the rest is
        stretched back to [0, 1) for the next one.
        """
        for d in self.decisions:
            if d.sure is not None:
                if d.sure != d.taken:
                    return False
                continue
            if (draw < d.probability) != d.taken:
                return False
            draw = draw / d.probability if d.taken else (draw - d.probability) / (1 - d.probability)
        return True

    def draws(self) -> list[Draw]:
        """The decisions as people see them: one outcome of ``n`` per chain."""
        found: list[Draw] = []
        run: list[Decision] = []
        for decision in self.decisions:
            if run and (run[-1].taken or run[-1].chain != decision.chain):
                found.append(_draw(run))
                run = []
            run.append(decision)
        return [*found, _draw(run)] if run else found


def _draw(run: list[Decision]) -> Draw:
    share = 1.0
    for d in run:
        share *= d.probability if d.taken else 1 - d.probability
    taken = len(run) - 1 if run[-1].taken else len(run)
    return Draw(chain=run[0].chain, n=run[0].choices, taken=taken, probability=share)


def scripts() -> Iterator[Script]:
    """One script per branch, MAX_BRANCHES at most; follow each before you ask for the next."""
    todo: list[tuple[bool, ...]] = [()]
    for _ in range(MAX_BRANCHES):
        if not todo:
            return
        script = Script(todo.pop())
        yield script
        taken = tuple(d.taken for d in script.decisions)
        todo += [(*taken[:i], False) for i in range(len(script.script), len(taken))]


class Arrival(NamedTuple):
    """Where the drawn branch arrived, on a fork that the answer can be sent through."""

    world: World
    node: str
    netns: str
    packet: Packet
    now_ns: int


def walk(world: World, request: WalkRequest, rng: Rng, now_ns: int) -> WalkAnswer:
    """Walk a packet on forks of a world, which itself stays as it was.

    Raises CommandError when an edit fails, LookupError for an unknown node or namespace.
    """
    return ask(world, request, rng, now_ns)[0]


def ask(
    world: World, request: WalkRequest, rng: Rng, now_ns: int
) -> tuple[WalkAnswer, Arrival | None]:
    """``walk``, and where the drawn branch arrived (None: nowhere) for whoever answers it."""
    base = _prepared(world, request, now_ns)
    packet = first_packet(base, request, rng)
    draw = rng.random() if request.draw is None else request.draw
    branches: list[Branch] = []
    arrived: Arrival | None = None
    for script in scripts():
        branch, end = _branch(base, request, packet, script, now_ns)
        drawn = script.drawn_by(draw)
        branches.append(_finished(branch, script, drawn=drawn))
        if drawn:
            arrived = end
    answer = WalkAnswer(branches=branches, src=packet.src, src_port=packet.src_port, draw=draw)
    return answer, arrived


def _prepared(world: World, request: WalkRequest, now_ns: int) -> World:
    """A fork with the request's edits."""
    fork = world.fork()
    for kernel in fork.kernels.values():
        kernel.forget_waiting()
        kernel.ideal = True
    for edit in request.edits:
        if edit.node not in fork.kernels:
            raise LookupError(f"no node {edit.node}")
        fork.kernels[edit.node].execute(edit.command, now_ns)
    for wire in request.wire_edits:
        fork.set_link(wire.a, wire.b, up=wire.up)
    if request.node not in fork.kernels:
        raise LookupError(f"no node {request.node}")
    if fork.kernels[request.node].find_netns(request.netns) is None:
        raise LookupError(f"no network namespace {request.netns} on {request.node}")
    return fork


def first_packet(world: World, request: WalkRequest, rng: Rng) -> Packet:
    """The packet a client would send first; its socket is opened on the (forked) world."""
    kernel = world.kernels[request.node]
    src = request.src or kernel.source_address(request.netns, request.dst)
    port = request.src_port or FIRST_PORT + rng.below(PORTS)
    family = families.of(request.dst)
    icmp = request.protocol in families.BY_ICMP
    if not icmp and not request.in_dev:
        ends = (request.protocol, src, port, request.dst, request.dst_port)
        kernel.connect_socket(request.netns, *ends)
    return Packet(
        src=src,
        dst=request.dst,
        protocol=family.icmp if icmp else request.protocol,
        src_port=0 if icmp else port,
        dst_port=0 if icmp else request.dst_port,
        tcp_flags=SYN if request.protocol == "tcp" else 0,
        sctp_chunk="init" if request.protocol == "sctp" else "",
        icmp_type=family.echo if icmp else 0,
        icmp_id=port if icmp else 0,
        size_bytes=request.size_bytes,
        dont_fragment=request.dont_fragment,
    )


def _branch(
    base: World, request: WalkRequest, packet: Packet, script: Script, now_ns: int
) -> tuple[Branch, Arrival | None]:
    """One walk from start to fate."""
    world = base.fork()
    for kernel in world.kernels.values():
        kernel.chance = script
    origin = (request.node, request.netns)
    there = Journey(world, now_ns)
    if request.in_dev:
        ns = world.kernels[request.node].netns(HOST)
        there.enter(request.node, request.in_dev, arriving(ns, request.in_dev, packet))
    else:
        packet = there.connect(*origin, packet, any_source=not request.src)
    got = arrival(there)
    if got is None:
        if there.left:
            return _left(there, request, origin, packet), None
        fate, node, netns, flow = ending(there, origin)
        return _as_branch(there, None, fate, node, netns, flow), None
    node, delivered = got
    flow = delivered.packet.flow
    if packet.protocol in families.BY_ICMP:
        # the kernel of the far end answered already: what was delivered is the answer, at home
        if (node, delivered.netns) != origin:
            return _as_branch(there, None, Fate.LOST, node, delivered.netns, flow), None
        return _echoed(there, flow), None
    end = Arrival(world, node, delivered.netns, delivered.packet, there.now_ns)
    if not request.reply:
        return _as_branch(there, None, Fate.DELIVERED, node, delivered.netns, flow), end
    return _round_trip(there, end, origin, packet), end


def _left(there: Journey, request: WalkRequest, origin: tuple[str, str], packet: Packet) -> Branch:
    """A walk that left a world of dumps; its answer, if one comes the way it went, is walked."""
    reply = answer_to(packet).flow
    pinged = packet.protocol in families.BY_ICMP and answered(there.hops)[1]
    if pinged and there.entered and _goes_out(there, reply):
        return _echoed(there, reply)
    fate, node, netns, flow = ending(there, origin)
    exits = [(n, d, f) for n, d, f in there.left if _flow_inside(f) == flow]
    if fate is not Fate.EXITS_CLUSTER or not exits or not request.reply:
        return _as_branch(there, None, fate, node, netns, flow)
    node, device, frame = exits[0]
    back = _fork(there.world, there.now_ns)
    back.enter(node, device, answer(back.world.kernels[node].netns(HOST), device, frame))
    if _goes_out(back, reply) if there.entered else arrival(back, origin) is not None:
        return _as_branch(there, back, Fate.EXITS_CLUSTER, node, netns, flow)
    fate, node, netns, lost = ending(back, (node, HOST), answer=True)
    if fate is Fate.EXITS_CLUSTER:
        fate = Fate.TIMED_OUT  # it left as an answer from somebody who was not asked
    return _as_branch(there, back, fate, node, netns, lost)


def _goes_out(journey: Journey, flow: Flow) -> bool:
    """Whether a packet of a flow left."""
    ends = [event for _, event in journey.events if isinstance(event, Drop)]
    return any(e.fate is Fate.EXITS_CLUSTER and e.packet.flow == flow for e in ends)


def _flow_inside(frame: Frame) -> Flow | None:
    packet = innermost(frame.packet) or frame.packet
    return packet.flow if packet is not None else None


def _fork(world: World, now_ns: int) -> Journey:
    """A journey on a fork of a world, which goes on by the same chance."""
    found = Journey(world.fork(), now_ns)
    for name, kernel in found.world.kernels.items():
        kernel.chance = world.kernels[name].chance
    return found


def _echoed(there: Journey, answer: Flow) -> Branch:
    """A walk that ended at the kernel which answered the echo request."""
    hops, back = answered(there.hops)
    last = hops[-1].steps[-1]
    flow = replace(answer, src=answer.dst, dst=answer.src)
    branch = _as_branch(there, None, Fate.DELIVERED, hops[-1].node, last.netns, flow)
    return _with_ways(branch, hops, back)


def _round_trip(there: Journey, end: Arrival, origin: tuple[str, str], asked: Packet) -> Branch:
    # the end stays as it is for whoever wants to answer in earnest: the echo walks on a fork
    back = _fork(end.world, end.now_ns)
    back.send(end.node, end.netns, answer_to(end.packet))
    if arrival(back, origin) is not None:
        flow = end.packet.flow
        return _as_branch(there, back, Fate.DELIVERED, end.node, end.netns, flow)
    fate, node, netns, flow_lost = ending(back, (end.node, end.netns), answer=True)
    answer = answer_to(asked).flow
    if fate is Fate.EXITS_CLUSTER and node == origin[0] and flow_lost == answer:
        # the client is outside, and its answer left the way it came in, from where it was asked
        flow = end.packet.flow
        return _as_branch(there, back, Fate.DELIVERED, end.node, end.netns, flow)
    return _as_branch(there, back, fate, node, netns, flow_lost)


def _as_branch(
    there: Journey,
    back: Journey | None,
    fate: Fate,
    node: str,
    netns: str,
    flow: Flow | None,
) -> Branch:
    hops, after = there.hops, []
    if back is not None:
        after = back.hops if fate in GOOD_FATES else cut(back.hops)[0]
    elif fate not in GOOD_FATES:
        hops, after = cut(hops)
    branch = Branch(
        fate=fate,
        hops=[],
        node=node,
        netns=netns,
        flow=flow,
        latency_ns=there.wires * WIRE_DELAY_NS,
    )
    return _with_ways(branch, hops, after)


def _with_ways(branch: Branch, there: list[Hop], back: list[Hop]) -> Branch:
    """A branch with the hops of both ways, and what they cost."""
    hops, cost = accounted(there)
    reply_hops, reply_cost = accounted(back)
    return replace(branch, hops=hops, reply_hops=reply_hops, cost=cost, reply_cost=reply_cost)


def _finished(branch: Branch, script: Script, *, drawn: bool) -> Branch:
    return replace(branch, drawn=drawn, probability=script.probability, draws=script.draws())
