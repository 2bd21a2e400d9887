"""The answer to a trace: what ``-o json`` prints and the table is drawn from."""

from __future__ import annotations

import msgspec

from podwire.dataplane.cost import NOTHING, Cost
from podwire.dataplane.verdict import GOOD_FATES, Fate, Flow, Hop

DEFAULT_SIZE_BYTES = 60
"""Of a packet that is traced: a SYN with its options."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class TraceSpec(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked: ``podwire trace SRC DST``."""

    source: str
    destination: str
    namespace: str = "default"
    destination_namespace: str = ""
    """"" means ``namespace``."""
    protocol: str = "tcp"
    source_port: int = 0
    draw: float | None = None
    size_bytes: int = DEFAULT_SIZE_BYTES
    url: str = ""
    """What is asked of an Ingress; "" asks for what its first rule serves."""


class Asked(_Record, frozen=True, kw_only=True):
    """One DNS question of the lookup, and the fate of the packet that carried it."""

    name: str
    type: str
    server: str
    answered_by: str
    rcode: str
    answers: list[str]
    fate: Fate


class LookupReport(_Record, frozen=True, kw_only=True):
    """How the destination's name was resolved, as the source would."""

    name: str
    source: str
    """dns or hosts."""
    asked: list[Asked]
    addresses: list[str]
    canonical: str
    error: str


class BranchReport(_Record, frozen=True, kw_only=True):
    """One load-balancing branch in a line."""

    fate: Fate
    probability: float
    drawn: bool
    node: str
    destination: str


class ObjectRef(_Record, frozen=True, kw_only=True):
    """An object that caused the fate."""

    kind: str
    namespace: str = ""
    name: str


class Cause(_Record, frozen=True, kw_only=True):
    """Why: a sentence, the objects behind it, the number of the step where it shows (0: none)."""

    summary: str
    objects: list[ObjectRef] = []
    step: int = 0
    rule: str = ""


class Nearest(_Record, frozen=True, kw_only=True):
    """The nearest change that was tried on a fork and works; ``change`` "" when none was found."""

    change: str = ""
    fate: Fate | None = None
    tried: int = 0


class Report(_Record, frozen=True, kw_only=True):
    """The whole answer."""

    source: str
    destination: str
    protocol: str
    flow: Flow
    url: str = ""
    """The URL that was asked for, when the destination is an Ingress."""
    resource_version: str
    time_s: float
    fate: Fate
    lookup: LookupReport | None
    branches: list[BranchReport]
    hops: list[Hop]
    """The way there of the drawn branch; steps are numbered from 1."""
    reply_hops: list[Hop] = []
    """The way back (of the answer, or of an error); its steps are numbered on."""
    cost: Cost = NOTHING
    reply_cost: Cost = NOTHING
    """What kernels spent on either way, as Linux would have (``dataplane.cost``)."""
    places: dict[str, str] = {}
    """Whose each network namespace of the walk is: ``pod ns/name``."""
    cause: Cause
    nearest: Nearest | None
    replay: str
    draw: float

    @property
    def exit_code(self) -> int:
        """0 every branch arrives, 1 one definitely fails, 4 nothing fails but one is unknown."""
        return exit_code([branch.fate for branch in self.branches] or [self.fate])


def exit_code(fates: list[Fate]) -> int:
    """The command's code for the fates of all branches."""
    bad = [fate for fate in fates if fate not in GOOD_FATES]
    if not bad:
        return 0
    return 1 if any(fate is not Fate.UNKNOWN for fate in bad) else 4
