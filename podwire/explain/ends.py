"""Where a branch ended: which step, on the way there or on the way back."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from podwire.dataplane.verdict import GOOD_FATES, Branch, Fate, Hop, Step

_ENDS = ("drop", "down")
_TOLD = (Fate.REFUSED, Fate.NO_ENDPOINTS, Fate.DENIED_IN, Fate.DENIED_OUT)
"""Fates that the step which stopped the packet tells itself."""


class Leg(enum.Enum):
    """The part of the walk in which it ended."""

    THERE = "there"
    ANSWER = "answer"
    """The packet arrived; what came back did not."""
    ERROR = "error"
    """The packet was turned away, and word of that got lost."""


@dataclass(frozen=True, slots=True)
class End:
    """The step that decided, its number over hops and reply hops (1-based; 0: none)."""

    leg: Leg
    step: Step | None
    number: int
    hops: tuple[Hop, ...]
    """The hops of the leg, up to the end."""

    @property
    def node(self) -> str:
        """The node of the last step."""
        return next((hop.node for hop in reversed(self.hops) if hop.node), "")

    @property
    def nodes(self) -> list[str]:
        """The nodes that the leg passed, last first."""
        return list(dict.fromkeys(hop.node for hop in reversed(self.hops) if hop.node))


def end_of(branch: Branch) -> End:
    """The end of a branch."""
    there = [step for hop in branch.hops for step in hop.steps]
    last = there[-1] if there else None
    if branch.fate in GOOD_FATES or not branch.reply_hops:
        return End(Leg.THERE, last, len(there), tuple(branch.hops))
    stopped = last is not None and last.result in _ENDS
    if stopped and (branch.fate in _TOLD or not _turned_away(last)):
        return End(Leg.THERE, last, len(there), tuple(branch.hops))
    number, decisive, at = len(there), last, tuple(branch.hops)
    for index, hop in enumerate(branch.reply_hops):
        for step in hop.steps:
            number += 1
            if step.result in _ENDS or not stopped:
                decisive, at = step, tuple(branch.reply_hops[: index + 1])
                if step.result in _ENDS:
                    leg = Leg.ERROR if stopped else Leg.ANSWER
                    return End(leg, decisive, number, at)
    return End(Leg.ERROR if stopped else Leg.ANSWER, decisive, number, at)


def _turned_away(step: Step | None) -> bool:
    """Whether a drop sends word back: a reject, or a socket that nobody listens on."""
    return step is not None and (step.stage == "socket" or step.detail.startswith("rejected"))


def numbered(hops: list[Hop], first: int = 1) -> list[Hop]:
    """The hops with every step numbered."""
    number = first - 1
    found = []
    for hop in hops:
        steps = []
        for step in hop.steps:
            number += 1
            steps.append(_with_number(step, number))
        found.append(Hop(node=hop.node, steps=steps, cost=hop.cost))
    return found


def _with_number(step: Step, number: int) -> Step:
    return Step(
        n=number,
        stage=step.stage,
        object=step.object,
        result=step.result,
        detail=step.detail,
        netns=step.netns,
        rule=step.rule,
        before=step.before,
        after=step.after,
        cost=step.cost,
    )
