"""What a walk tells: hops, steps, one fate; and how a walk is asked for.

The fates are a closed vocabulary. UNKNOWN means a model is missing: never a guess.
"""

from __future__ import annotations

import enum

import msgspec

from podwire.dataplane.commands import AnyCommand
from podwire.dataplane.cost import Cost, total


class Fate(enum.StrEnum):
    """How a packet's walk ends."""

    DELIVERED = "DELIVERED"
    EXITS_CLUSTER = "EXITS_CLUSTER"
    REFUSED = "REFUSED"
    DENIED_OUT = "DENIED_OUT"
    DENIED_IN = "DENIED_IN"
    L7_DENIED = "L7_DENIED"
    DROPPED_BY_RULE = "DROPPED_BY_RULE"
    NO_ENDPOINTS = "NO_ENDPOINTS"
    NAME_UNRESOLVED = "NAME_UNRESOLVED"
    NO_ROUTE = "NO_ROUTE"
    NULL_ROUTED = "NULL_ROUTED"
    NEIGHBOR_UNREACHABLE = "NEIGHBOR_UNREACHABLE"
    TTL_EXCEEDED = "TTL_EXCEEDED"
    MTU_EXCEEDED = "MTU_EXCEEDED"
    MARTIAN = "MARTIAN"
    CT_INVALID = "CT_INVALID"
    CT_FULL = "CT_FULL"
    LOOP = "LOOP"
    LINK_DOWN = "LINK_DOWN"
    LOST = "LOST"
    TIMED_OUT = "TIMED_OUT"
    UNKNOWN = "UNKNOWN"


GOOD_FATES = (Fate.DELIVERED, Fate.EXITS_CLUSTER)


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    pass


class Flow(_Record, frozen=True, kw_only=True):
    """A five-tuple as one step sees it."""

    protocol: str
    src: str
    src_port: int = 0
    dst: str
    dst_port: int = 0

    def __str__(self) -> str:
        if ":" in self.src or ":" in self.dst:
            return f"[{self.src}]:{self.src_port} > [{self.dst}]:{self.dst_port}"
        return f"{self.src}:{self.src_port} > {self.dst}:{self.dst_port}"


class Step(_Record, frozen=True, kw_only=True):
    """One thing that happened to the packet inside one node.

    ``stage``: socket, out, link, bridge, route, filter, nat, mangle, raw, conntrack, ipvs, neigh,
    encap, decap, wire, in. ``object``: a device, chain, table or virtual server. ``result``: jump,
    dnat, snat, masq, schedule, accept, drop, reject, forward, deliver, ... ``detail`` is for
    people. ``rule`` is the full text of the netfilter rule that decided, with its comment (which
    names the object it comes from), or of the virtual server.
    ``n`` numbers the steps of a reported walk from 1, the way back included; 0: not numbered.
    ``cost`` is what a kernel spent since the step before; None: nothing that is counted.
    """

    n: int = 0
    stage: str
    object: str
    result: str
    detail: str = ""
    netns: str = ""
    rule: str = ""
    before: Flow | None = None
    after: Flow | None = None
    cost: Cost | None = None


class Hop(_Record, frozen=True, kw_only=True):
    """The steps inside one node (or on one wire: node "")."""

    node: str
    steps: list[Step] = []
    cost: Cost | None = None
    """Of all its steps."""


def accounted(hops: list[Hop]) -> tuple[list[Hop], Cost | None]:
    """Hops with the cost of their steps, and what all cost together."""
    found = [
        msgspec.structs.replace(hop, cost=total(step.cost for step in hop.steps) or None)
        for hop in hops
    ]
    return found, total(hop.cost for hop in found) or None


class Draw(_Record, frozen=True, kw_only=True):
    """One load-balancing decision: which of ``n`` outcomes was taken, with its probability."""

    chain: str
    n: int
    taken: int
    probability: float


class Branch(_Record, frozen=True, kw_only=True):
    """One walk from start to fate."""

    fate: Fate
    hops: list[Hop]
    """The way there, up to the step that ended it."""
    reply_hops: list[Hop] = []
    """The way back: of the answer when it was walked, of an error when one was sent."""
    drawn: bool = False
    probability: float = 1.0
    draws: list[Draw] = []
    node: str = ""
    netns: str = ""
    """Where it ended: the node and namespace that delivered, dropped or lost it."""
    flow: Flow | None = None
    """The packet as it was at the end."""
    latency_ns: int = 0
    """Of the wires."""
    cost: Cost | None = None
    reply_cost: Cost | None = None
    """What kernels spent on the way there, and on the way back."""


class Edit(_Record, frozen=True, kw_only=True):
    """A change to try on the fork before walking."""

    node: str
    command: AnyCommand


class WireEdit(_Record, frozen=True, kw_only=True):
    """A wire or node state to try on the fork: bring the link between two nodes up."""

    a: str
    b: str
    up: bool = True


class WalkRequest(_Record, frozen=True, kw_only=True):
    """A packet to walk on a fork, from a namespace of a node."""

    node: str
    netns: str = ""
    protocol: str = "tcp"
    src: str = ""
    """"" lets routing pick the source address."""
    in_dev: str = ""
    """The device of the node by which the packet comes in from outside; "" when it is sent by a
    program of the namespace."""
    src_port: int = 0
    """0 draws an ephemeral one."""
    dst: str
    dst_port: int = 0
    draw: float | None = None
    """In [0, 1): which load-balancing branch is the drawn one; None draws from the seed."""
    size_bytes: int = 60
    dont_fragment: bool = True
    edits: list[Edit] = []
    wire_edits: list[WireEdit] = []
    reply: bool = True
    """Also walk the answer back; the request's fate is then that of the round trip."""


class WalkAnswer(_Record, frozen=True, kw_only=True):
    """All branches; exactly one is ``drawn``. ``src_port`` and ``draw`` replay it."""

    branches: list[Branch]
    src: str
    src_port: int
    draw: float

    @property
    def drawn(self) -> Branch:
        """The branch that the draw picked."""
        return next(b for b in self.branches if b.drawn)
