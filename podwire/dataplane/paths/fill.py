"""Emits and steps with holes: what differs from one packet of a kind to the next, filled in."""

from __future__ import annotations

import re

import msgspec

from podwire.dataplane.emit import Deliver, Emit, ToWire
from podwire.dataplane.packet import Discovery, Encapsulated, Frame, Packet, Vxlan, replace
from podwire.dataplane.paths.notes import Track
from podwire.dataplane.verdict import Flow, Step

STRUCTURED = (Vxlan, Discovery, Encapsulated)
"""Payloads that the network itself reads."""
TRACKED = ("tcp", "udp")


def simple(packet: Packet) -> bool:
    """Whether a packet is somebody's data that no kernel looks into."""
    payload = packet.payload
    return (
        packet.protocol in TRACKED
        and packet.original is None
        and (payload is None or not isinstance(payload, STRUCTURED))
    )


def innermost(emit: Emit) -> Packet | None:
    """The packet that somebody sent, without what it is wrapped in; None: not simple."""
    if isinstance(emit, Deliver):
        packet: Packet | None = emit.packet
    elif isinstance(emit, ToWire):
        packet = emit.frame.packet
        if packet is not None and isinstance(packet.payload, Vxlan):
            packet = packet.payload.frame.packet
    else:
        return None
    return packet if packet is not None and simple(packet) else None


def with_payload(emit: Emit, payload: object) -> Emit:
    """The same with another payload."""
    if isinstance(emit, Deliver):
        return Deliver(emit.netns, replace(emit.packet, payload=payload))
    assert isinstance(emit, ToWire)
    return ToWire(emit.device, frame_with(emit.frame, payload))


def frame_with(frame: Frame, payload: object) -> Frame:
    """A frame whose innermost packet has another payload."""
    packet = frame.packet
    assert packet is not None
    if isinstance(packet.payload, Vxlan):
        wrap = packet.payload
        inner = Vxlan(wrap.vni, frame_with(wrap.frame, payload), wrap.kind)
        return Frame(frame.src, frame.dst, replace(packet, payload=inner))
    return Frame(frame.src, frame.dst, replace(packet, payload=payload))


class Blank(msgspec.Struct, frozen=True):
    """An emit without its ports and payload. ``ports``: which hole each packet's source port is,
    from the outside in.
    """

    netns: str | None
    device: str
    frame: Frame | None
    outer: Packet | None
    wrap: tuple[int, str] | None
    inner: Packet
    ports: tuple[int, ...]

    def filled(self, holes: tuple[int, int], payload: object) -> Emit:
        """The emit of a packet."""
        ports = self.ports
        if payload is None:
            packet = replace(self.inner, src_port=holes[ports[-1]])
        else:
            packet = replace(self.inner, src_port=holes[ports[-1]], payload=payload)
        if self.netns is not None:
            return Deliver(self.netns, packet)
        frame = self.frame
        assert frame is not None
        if self.outer is None or self.wrap is None:
            return ToWire(self.device, Frame(frame.src, frame.dst, packet))
        inside = self.outer.payload
        vxlan = Vxlan(self.wrap[0], Frame(inside[0], inside[1], packet), self.wrap[1])
        outer = replace(self.outer, src_port=holes[ports[0]], payload=vxlan)
        return ToWire(self.device, Frame(frame.src, frame.dst, outer))


def blank_emit(emit: Emit, holes: tuple[int, int]) -> Blank | None:
    """An emit with its holes cut; None when it does not fit."""
    packet = innermost(emit)
    if packet is None or packet.src_port not in holes or packet.dst_port in holes:
        return None
    inner = replace(packet, src_port=0, payload=None)
    port = holes.index(packet.src_port)
    if isinstance(emit, Deliver):
        return Blank(emit.netns, "", None, None, None, inner, (port,))
    assert isinstance(emit, ToWire)
    frame, whole = Frame(emit.frame.src, emit.frame.dst), emit.frame.packet
    if whole is packet:
        return Blank(None, emit.device, frame, None, None, inner, (port,))
    assert whole is not None
    if whole.src_port not in holes:
        return None
    wrap = whole.payload
    outer = replace(whole, src_port=0, payload=(wrap.frame.src, wrap.frame.dst))
    ports = (holes.index(whole.src_port), port)
    return Blank(None, emit.device, frame, outer, (wrap.vni, wrap.kind), inner, ports)


class BlankStep(msgspec.Struct, frozen=True):
    """A step without its ports and connection numbers. ``before``, ``after``: whose source port is
    which hole (-1: none).
    """

    step: Step
    before: int
    after: int
    detail: str

    def filled(self, ports: tuple[int, int], numbers: list[int]) -> Step:
        """The step of a packet."""
        step, detail = self.step, self.detail
        before, after = step.before, step.after
        if self.before >= 0 and before is not None:
            before = replace(before, src_port=ports[self.before])
        if self.after >= 0 and after is not None:
            after = replace(after, src_port=ports[self.after])
        if "\0" in detail:
            detail = _HOLE.sub(
                lambda m: str((ports if m[1] == "p" else numbers)[int(m[2])]), detail
            )
        return replace(step, detail=detail, before=before, after=after)


_HOLE = re.compile("\0([pn])([0-9]+);")
_NUMBER = re.compile(r"#(\d+)\b")
_PORT = re.compile(r":(\d+) > ")


def blank_step(step: Step, holes: tuple[int, int], tracks: list[Track]) -> Step | BlankStep:
    """A step with its holes cut, or as it is when it has none."""
    by_netns = {
        str(track.entry.id): number
        for number, track in enumerate(tracks)
        if track.entry is not None and track.ns.name == step.netns
    }

    def port(found: re.Match[str]) -> str:
        at = holes.index(int(found[1])) if int(found[1]) in holes else -1
        return f":\0p{at}; > " if at >= 0 else found[0]

    def number(found: re.Match[str]) -> str:
        return f"#\0n{by_netns[found[1]]};" if found[1] in by_netns else found[0]

    detail = _PORT.sub(port, step.detail)
    if step.stage in {"conntrack", "nat"}:
        detail = _NUMBER.sub(number, detail)
    before, flow_before = _flow(step.before, holes)
    after, flow_after = _flow(step.after, holes)
    if before < 0 and after < 0 and detail == step.detail:
        return step
    return BlankStep(
        replace(step, detail="", before=flow_before, after=flow_after), before, after, detail
    )


def _flow(flow: Flow | None, holes: tuple[int, int]) -> tuple[int, Flow | None]:
    if flow is None or flow.src_port not in holes:
        return -1, flow
    return holes.index(flow.src_port), replace(flow, src_port=0)
