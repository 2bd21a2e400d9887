"""What lies around kernels that were loaded from dumps: everything that the dumps do not tell.

It takes every packet that leaves, which ends there; and it answers for every address when it is
asked for a MAC (somebody did, when the dump was made), but for those that the dump calls FAILED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import family as families
from podwire.dataplane.commands import NeighReplace
from podwire.dataplane.emit import Drop, ToWire
from podwire.dataplane.kernel import HOST
from podwire.dataplane.link import Link
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import Encapsulated, Frame, Packet, Vxlan, answer_to, replace
from podwire.dataplane.verdict import Fate, Hop, Step

if TYPE_CHECKING:
    from podwire.dataplane.journey import Journey

MAC = "02:70:77:00:00:01"
"""Whoever is outside."""


class Outside:
    """The surroundings of a world of dumps. Immutable: forks share it."""

    __slots__ = ("_silent",)

    def __init__(self, silent: tuple[tuple[str, str, str], ...] = ()) -> None:
        self._silent = dict.fromkeys(silent)
        """(node, device, address) that did not answer."""

    def takes(self, journey: Journey, node: str, emit: ToWire) -> bool:
        """Whether a frame that leaves a node is for nobody in the world; then it is dealt with."""
        world, frame = journey.world, emit.frame
        ns = world.kernels[node].peek(HOST)
        assert ns is not None
        link = ns.links[emit.device]
        asked = frame.asks_for
        if asked:
            return self._asked(journey, node, _upper(ns, link), asked)
        attached = world.attached(node, emit.device)
        if not frame.carries or (attached and world.has_mac(frame.dst)):
            return not attached
        if any(before is frame or before == frame for _, _, before in journey.left):
            return True  # another copy of a flood
        packet = innermost(frame.packet) or frame.packet
        assert packet is not None
        words = _words(ns, link, frame)
        step = Step(stage="link", object=link.name, result="leave", detail=words)
        if journey.hops and journey.hops[-1].node == node:
            journey.hops[-1].steps.append(step)
        else:
            journey.hops.append(Hop(node=node, steps=[step]))
        journey.left.append((node, link.name, frame))
        journey.events.append((node, Drop(HOST, Fate.EXITS_CLUSTER, packet, words)))
        return True

    def _asked(self, journey: Journey, node: str, dev: str, address: str) -> bool:
        """Somebody asks for a MAC."""
        others = [k.peek(HOST) for name, k in journey.world.kernels.items() if name != node]
        if any(ns is not None and address in ns.local for ns in others):
            return False
        if (node, dev, address) not in self._silent:
            answer = NeighReplace(dev=dev, dst=address, mac=MAC, state="REACHABLE")
            journey.world.kernels[node].execute(answer, journey.now_ns)
        return True


def _upper(ns: Netns, link: Link) -> str:
    """The device that IP knows: a port's bridge."""
    return link.master if link.master in ns.links else link.name


def innermost(packet: Packet | None) -> Packet | None:
    """The packet that a tunnel's packet carries (None: not one)."""
    payload = packet.payload if packet is not None else None
    if isinstance(payload, Vxlan):
        inner = payload.frame.packet
    elif isinstance(payload, Encapsulated):
        inner = payload.packet
    else:
        return None
    return innermost(inner) or inner


def _words(ns: Netns, link: Link, frame: Frame) -> str:
    """Where a packet goes, for people."""
    packet = frame.packet
    assert packet is not None
    behind = link.beyond.words if link.beyond is not None else "the network there"
    words = f"leaves by {link.name} ({behind})"
    if link.master in ns.links and frame.dst not in ns.fdb.get(link.master, {}):
        words = (
            f"leaves by a port of {link.master}; which one has {frame.dst} is not in the dump "
            "(bridge fdb show)"
        )
    if innermost(packet) is not None:
        words += f", in a tunnel to {packet.dst}"
    return words


def arriving(ns: Netns, device: str, packet: Packet) -> Frame:
    """The frame that brings a packet to a device: to whom its sender would have sent it. One on a
    bridge reaches others there by itself; everybody else uses this host as a router.
    """
    link = ns.links[device]
    upper = ns.links[_upper(ns, link)]
    source = ns.neighbours.get(upper.name, packet.src)
    mac = upper.mac
    route = ns.fib_of(packet.dst).lookup(packet.dst)
    if link.master and route is not None and (route.type, route.dev, route.via) == (
        "unicast", upper.name, "",
    ):  # fmt: skip
        there = ns.neighbours.get(upper.name, packet.dst)
        mac = there.mac if there is not None and there.usable() else MAC
    return Frame(src=source.mac if source is not None else MAC, dst=mac, packet=packet)


def answer(ns: Netns, device: str, frame: Frame) -> Frame:
    """What comes back by a device for a frame that left by it."""
    assert frame.packet is not None
    return arriving(ns, device, _answer(frame.packet))


def _answer(packet: Packet) -> Packet:
    payload = packet.payload
    if isinstance(payload, Vxlan) and payload.frame.packet is not None:
        inner = payload.frame
        back = Frame(src=inner.dst, dst=inner.src, packet=_answer(payload.frame.packet))
        wrapped: Vxlan | Encapsulated = Vxlan(payload.vni, back, payload.kind)
    elif isinstance(payload, Encapsulated):
        inside = _answer(payload.packet)
        wrapped = Encapsulated(packet=inside, key=payload.to, to=payload.key)
    else:
        return _echo(packet) if packet.icmp_id else answer_to(packet)
    return replace(packet, src=packet.dst, dst=packet.src, payload=wrapped, mark=0, ttl=64)


def _echo(packet: Packet) -> Packet:
    """The answer to an echo request."""
    kind = families.BY_ICMP[packet.protocol].echo_reply
    return replace(packet, src=packet.dst, dst=packet.src, icmp_type=kind, mark=0, ttl=64)
