"""What a kernel hands back after processing: frames for wires, packets for sockets, drops."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.dataplane.packet import Frame, Packet
from podwire.dataplane.verdict import Fate, Flow, Step


@dataclass(frozen=True, slots=True)
class ToWire:
    """A frame that left through a physical device."""

    device: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Deliver:
    """A packet that reached a socket of a namespace (or an ICMP message for its owner).

    The packet is as the receiver sees it: after NAT. An ICMP error's ``original`` names the flow
    of the socket concerned, as that socket knows it.
    """

    netns: str
    packet: Packet


@dataclass(frozen=True, slots=True)
class Drop:
    """A packet that ended here. ``rule`` is the netfilter rule that decided, if one did.

    An answer (ICMP error, RST) that a drop causes travels as a packet of its own. ``errno`` is the
    name of what the sender's system call fails with, if the kernel refuses at once.
    """

    netns: str
    fate: Fate
    packet: Packet
    reason: str
    rule: str = ""
    chain: str = ""
    errno: str = ""


Emit = ToWire | Deliver | Drop


class Recorder:
    """Collects the steps of a walk inside one node."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def step(
        self,
        stage: str,
        object: str,
        result: str,
        detail: str = "",
        *,
        netns: str = "",
        rule: str = "",
        before: Flow | None = None,
        after: Flow | None = None,
    ) -> None:
        """Append one step (fields as in ``verdict.Step``)."""
        self.steps.append(
            Step(
                stage=stage,
                object=object,
                result=result,
                detail=detail,
                netns=netns,
                rule=rule,
                before=before,
                after=after,
            )
        )
