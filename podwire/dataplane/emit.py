"""What a kernel hands back after processing: frames for wires, packets for sockets, drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

    __slots__ = ("_later", "_steps")

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._later: list[tuple[Callable[..., list[Step]], tuple[Any, ...]]] = []

    @property
    def steps(self) -> list[Step]:
        """The steps so far."""
        if self._later:
            later, self._later = self._later, []
            for told, words in later:
                self._steps += told(*words)
        return self._steps

    def defer(self, told: Callable[..., list[Step]], *words: Any) -> None:
        """Steps that are made when somebody looks: what ``told(*words)`` gives then."""
        self._later.append((told, words))

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
