"""What a kernel hands back after processing: frames for wires, packets for sockets, drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire.dataplane.cost import Meter
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
    """Collects the steps of a walk inside one node, each with what was spent on the way to it."""

    __slots__ = ("_later", "_meter", "_steps")

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._meter: Meter | None = None
        self._later: list[tuple[Callable[..., list[Step]], tuple[Any, ...]]] = []

    @property
    def meter(self) -> Meter:
        """Where a kernel's work is counted."""
        if self._meter is None:
            self._meter = Meter()
        return self._meter

    @property
    def steps(self) -> list[Step]:
        """The steps so far."""
        if self._later:
            later, self._later = self._later, []
            for told, words in later:
                self._steps += told(*words)
        return self._steps

    def settle(self) -> None:
        """A call into a kernel ends: what was spent after its last step is told with that one."""
        spent = self._meter.take() if self._meter is not None and self.steps else None
        if spent is not None:
            last = self.steps[-1]
            cost = spent if last.cost is None else last.cost + spent
            self.steps[-1] = msgspec.structs.replace(last, cost=cost)

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
                cost=self._meter.take() if self._meter is not None else None,
            )
        )
