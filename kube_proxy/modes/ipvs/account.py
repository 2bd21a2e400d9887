"""What a kernel holds of the mode, and the step from one such account to the next.

Nodes whose kernels hold the same and that see the same change share both: a step is worked out
once per process. What differs by node (its addresses, its own endpoints, which real servers still
have connections) is in ``Programmed`` and added when commands are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.model import Endpoint, ServicePort
from podwire.kube_proxy.modes.ipvs.pieces import Entry, Piece, Server, render
from podwire.kube_proxy.pieces import Prepared, base, no_local, prepared

Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Shared between nodes, compared by identity, never changed."""

    pieces: dict[str, Pieces]
    """By Service."""
    members: dict[str, dict[str, int]]
    """By set: its entries, and how many service ports want each."""
    binds: dict[str, int]
    """Addresses that are held unless the node has them elsewhere."""
    guarded: tuple[tuple[str, str, int], ...]
    no_local: tuple[int, int]


EMPTY = Account({}, {}, {}, (), (0, 0))


@dataclass(slots=True)
class Programmed:
    """One node's own account. ``leaving`` is changed by the chore that deletes real servers."""

    account: Account
    loops: dict[str, int] = field(default_factory=dict)
    """Entries of KUBE-LOOP-BACK and how many service ports want each."""
    node_ips: tuple[str, ...] = ()
    leaving: dict[tuple[str, str], None] = field(default_factory=dict)
    """(virtual server, real server) at weight 0, to be deleted when their connections ended."""
    text: str = ""
    """The iptables-restore input that was loaded last."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """From one account to the next."""

    after: Account
    changed: Pieces
    gone: Pieces
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    bound: tuple[str, ...]
    unbound: tuple[str, ...]
    servers: tuple[Server, ...]
    """Virtual servers as they shall be, of the Services that changed."""
    former: tuple[Server, ...]
    """What of these is programmed now."""


def all_pieces(state: Proxier) -> dict[str, Pieces]:
    """Every Service's, on a full sync."""
    found = base(state)
    key = ("ipvs", id(found), *_shaping(state))

    def same_on_all() -> dict[str, Pieces]:
        return {key: _rendered(state, one) for key, one in found.same.items()}

    same = state.shared.text(key, (found,), same_on_all)
    if not found.by_node:
        return same
    return {**same, **{key: _rendered(state, one) for key, one in found.by_node.items()}}


def find_changes(state: Proxier, start: Account) -> dict[str, Pieces]:
    """The pieces of Services that differ from the account's; () for those that went."""
    found = {}
    for key in state.dirty:
        pieces = _rendered(state, prepared(state, key))
        if pieces != start.pieces.get(key, ()):
            found[key] = pieces
    return found


def _shaping(state: Proxier) -> tuple[str, str]:
    return "ipvs", state.settings.scheduler


def _rendered(state: Proxier, one: Prepared | None) -> Pieces:
    """A Service's pieces on this node; () of one that is none."""
    if one is None:
        return ()

    def of(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> Piece:
        return render(port, endpoints, state.node, state.settings)

    return one.pieces(state.node, _shaping(state), of)


def step_from(state: Proxier, start: Account, found: dict[str, Pieces]) -> Step:
    """Worked out once for all nodes that make the same step."""
    key = ("ipvs", tuple(found))
    return state.shared.step(key, start, found.values(), lambda: _step(start, found))


def step_to_all(state: Proxier, found: dict[str, Pieces]) -> Step:
    """The same from nothing to everything."""
    key = ("ipvs", id(found))
    return state.shared.text(key, (found,), lambda: _step(EMPTY, found))


class _Tally:
    """A count of who wants what, changed on a copy, and what came and went by it."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = dict(counts)
        self.before = counts

    def change(self, entry: str, by: int) -> None:
        """One more, or one less, wants an entry."""
        count = self.counts.get(entry, 0) + by
        if count:
            self.counts[entry] = count
        else:
            self.counts.pop(entry, None)

    def came(self, touched: dict[str, None]) -> list[str]:
        """What is wanted now and was not."""
        return [e for e in touched if e in self.counts and e not in self.before]

    def went(self, touched: dict[str, None]) -> list[str]:
        """What was wanted and is not any more."""
        return [e for e in touched if e in self.before and e not in self.counts]


def _step(start: Account, found: dict[str, Pieces]) -> Step:
    pieces = dict(start.pieces)
    old: list[Piece] = []
    new: list[Piece] = []
    for key in sorted(found):
        old += pieces.pop(key, ())
        if found[key]:
            pieces[key] = found[key]
            new += found[key]
    tallies: dict[str, _Tally] = {}
    touched: dict[str, dict[str, None]] = {}
    binds, touched_binds = _Tally(start.binds), dict[str, None]()
    guarded = dict.fromkeys(start.guarded)
    for group, sign in ((old, -1), (new, 1)):
        for piece in group:
            for name, entry in piece.entries:
                if name not in tallies:
                    tallies[name] = _Tally(start.members.get(name, {}))
                tallies[name].change(entry, sign)
                touched.setdefault(name, {})[entry] = None
            for ip in piece.binds:
                binds.change(ip, sign)
                touched_binds[ip] = None
            for place in piece.guarded:
                if sign < 0:
                    guarded.pop(place, None)
                else:
                    guarded[place] = None
    members = {**start.members, **{name: tally.counts for name, tally in tallies.items()}}
    after = Account(
        pieces,
        members,
        binds.counts,
        tuple(sorted(guarded)),
        no_local(start.no_local, old, new),
    )
    return Step(
        after=after,
        changed=tuple(new),
        gone=tuple(old),
        added=tuple((n, e) for n, tally in tallies.items() for e in tally.came(touched[n])),
        removed=tuple((n, e) for n, tally in tallies.items() for e in tally.went(touched[n])),
        bound=tuple(binds.came(touched_binds)),
        unbound=tuple(binds.went(touched_binds)),
        servers=tuple(server for piece in new for server in piece.servers),
        former=tuple(server for piece in old for server in piece.servers),
    )
