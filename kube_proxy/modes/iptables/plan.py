"""From changed Services to one restore input: what is written, what is left, what is deleted.

Nodes whose kernels hold the same rules and that see the same change share the work. What is the
same on all nodes is one account (``Common``); Services whose rules depend on the node are few, and
only they, and the joining of the text, are a node's own work.

Source: kubernetes pkg/proxy/iptables/proxier.go (syncProxyRules).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from podwire.dataplane.commands import RulesRestore
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.iptables import chains_of
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import Endpoint, ServicePort
from podwire.kube_proxy.modes.iptables.rules import Piece, render
from podwire.kube_proxy.modes.iptables.settings import Settings
from podwire.kube_proxy.modes.iptables.text import OWN_PREFIXES, fixed_rules, restore_text
from podwire.kube_proxy.pieces import Base, Prepared, base, no_local_gauges, prepared, udp_wanted

LARGE_CLUSTER_ENDPOINTS = 1000
SECOND_NS = 1_000_000_000
Pieces = tuple[Piece, ...]


class Tally(NamedTuple):
    """What some pieces come to."""

    endpoints: int = 0
    filter: int = 0
    """Rules of the filter table."""
    top: int = 0
    """Rules of nat's top-level chains."""
    rules: int = 0
    """Rules of the service ports' own chains."""
    no_local_internal: int = 0
    no_local_external: int = 0

    def plus(self, pieces: Iterable[Piece], sign: int = 1) -> Tally:
        """With (or, -1, without) these."""
        counts = list(self)
        for p in pieces:
            own = (len(p.endpoints), p.n_filter, p.n_top, p.n_rules, *p.no_local)
            for i, count in enumerate(own):
                counts[i] += sign * count
        return Tally(*counts)

    def both(self, other: Tally) -> Tally:
        """The sum of two."""
        return Tally(*map(int.__add__, self, other))


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """Rules that all nodes with the same tables have. Shared between them, never changed."""

    pieces: dict[str, Pieces]
    """By Service."""
    tally: Tally


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """The rules a kernel holds."""

    common: Common
    own: dict[str, Pieces]
    """Of Services whose rules depend on the node."""
    own_tally: Tally

    def of(self, key: str) -> Pieces:
        """A Service's."""
        return self.own.get(key) or self.common.pieces.get(key, ())

    def alike(self, other: Account) -> bool:
        """Whether another one holds the same rules."""
        mine, others = self.common.pieces, other.common.pieces
        return self is other or ((mine is others or mine == others) and self.own == other.own)

    @property
    def tally(self) -> Tally:
        """Of all."""
        return self.common.tally.both(self.own_tally)

    def ordered(self) -> list[Piece]:
        """All pieces, in the order of their Services."""
        common, own = self.common.pieces, self.own
        keys = sorted((*common, *own)) if own else sorted(common)
        return [piece for key in keys for piece in own.get(key) or common[key]]


EMPTY = Account(Common({}, Tally()), {}, Tally())


@dataclass(frozen=True, slots=True)
class Programmed:
    """One node's own account."""

    account: Account
    stale: tuple[str, ...] = ()
    """Chains that nothing leads to any more, left for a later clean-up (large clusters)."""
    cleaned_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """From one account to the next."""

    after: Account
    changed: Sequence[Piece]
    """Whose own chains are written."""
    gone: tuple[str, ...]
    """Chains of Services that changed which are not needed any more."""


def plan_restore(
    state: Proxier,
    before: tuple[RulesRestore, ...],
    nat: Sequence[str],
    node_port_ips: tuple[str, ...],
    *,
    full: bool,
    now_ns: int,
) -> Sync | None:
    """The next transaction; None when nothing changed. ``nat`` are the lines of iptables-save's
    nat table on a full sync.
    """
    held: Programmed = state.programmed or Programmed(EMPTY)
    step = _all(state) if full else _partial(state, held.account)
    state.dirty.clear()
    waited_s = (now_ns - held.cleaned_ns) / SECOND_NS
    if step is None:
        if not held.stale or waited_s <= state.sync_period_s:
            return None
        step = Step(held.account, (), ())
    large = step.after.tally.endpoints > LARGE_CLUSTER_ENDPOINTS
    stale = _stale(held, step, nat, full=full)
    clean = not large or full or waited_s > state.sync_period_s
    deleted = stale if clean else ()
    settings = state.settings
    command, (gauges, written), udp = state.shared.turn(
        ("iptables input", id(step), full, deleted, settings, node_port_ips),
        (step,),
        lambda: (
            _command(state, step, deleted, node_port_ips, full=full),
            _count(settings, step, node_port_ips),
            udp_wanted(step.changed),
        ),
    )
    cleaned_ns = now_ns if clean else held.cleaned_ns
    return Sync(
        commands=(*before, command),
        changes=written,
        full=full,
        programmed=Programmed(step.after, () if clean else stale, cleaned_ns),
        udp=udp,
        again_s=None if clean or not stale else state.sync_period_s,
        gauges=gauges,
    )


# ---------------------------------------------------------------- what changed


def _rendered(state: Proxier, one: Prepared | None, *, comments: bool) -> Pieces:
    """A Service's pieces on this node; () of one that is none."""
    if one is None:
        return ()
    node, settings = state.node, state.settings

    def of(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> Piece:
        return render(port, endpoints, node, settings, endpoint_comments=comments)

    return one.pieces(node, ("iptables", settings.of_pieces, comments), of)


def _all(state: Proxier) -> Step:
    """Everything, on a full sync."""
    found = base(state)
    if found.by_node:
        return _whole(state, found)
    key = ("iptables whole", id(found), state.settings.of_pieces)
    return state.shared.turn(key, (found,), lambda: _whole(state, found))


def _whole(state: Proxier, found: Base) -> Step:
    comments = found.n_endpoints <= LARGE_CLUSTER_ENDPOINTS

    def same_on_all() -> Common:
        pieces = {key: _rendered(state, one, comments=comments) for key, one in found.same.items()}
        return Common(pieces, Tally().plus(piece for own in pieces.values() for piece in own))

    key = ("iptables", id(found), state.settings.of_pieces)
    common = state.shared.text(key, (found,), same_on_all)
    own = {key: _rendered(state, one, comments=comments) for key, one in found.by_node.items()}
    tally = Tally().plus(piece for pieces in own.values() for piece in pieces)
    after = Account(common, own, tally)
    return Step(after, after.ordered(), ())


def _partial(state: Proxier, start: Account) -> Step | None:
    """What the Services that changed come to; None when it is nothing. Nodes that hold one account
    of rules and one state of the tables make one step.
    """
    dirty = tuple(sorted(state.dirty))

    def found() -> dict[str, Prepared | None]:
        return {key: prepared(state, key) for key in dirty}

    def shared() -> tuple[bool, Step | None]:
        changed = found()
        if any(one is not None and one.by_node for one in changed.values()):
            return False, None
        return True, _stepped(state, start, changed)

    if not start.own:
        services, slices = state.services, state.slices
        shaping = state.settings.of_pieces
        key = ("iptables step", id(start), id(services), id(slices), dirty, shaping)
        same, step = state.shared.turn(key, (start, services, slices), shared)
        if same:
            return step
    return _stepped(state, start, found())


def _stepped(state: Proxier, start: Account, found: Mapping[str, Prepared | None]) -> Step | None:
    total = start.tally.endpoints
    for key, one in found.items():
        total -= sum(len(piece.endpoints) for piece in start.of(key))
        total += one.n_endpoints if one is not None else 0
    same: dict[str, Pieces] = {}
    own = dict(start.own)
    own_tally = start.own_tally
    changed: list[Piece] = []
    gone: list[str] = []
    moved = False
    for key, one in found.items():
        old = start.of(key)
        new = _rendered(state, one, comments=total <= LARGE_CLUSTER_ENDPOINTS)
        if new == old:
            continue
        moved = True
        own_tally = own_tally.plus(own.pop(key, ()), -1)
        if one is not None and one.by_node:
            own[key] = new
            own_tally = own_tally.plus(new)
            new_common: Pieces = ()
        else:
            new_common = new
        if new_common is not start.common.pieces.get(key, ()):
            same[key] = new_common
        kept = {chain: None for piece in new for chain in piece.chains}
        gone.extend(c for piece in old for c in piece.chains if c not in kept)
        changed.extend(piece for piece in new if piece not in old)
    if not moved:
        return None
    common = _moved(state, start.common, same)
    return Step(Account(common, own, own_tally), tuple(changed), tuple(gone))


def _moved(state: Proxier, start: Common, found: dict[str, Pieces]) -> Common:
    """The common account with other pieces of some Services: worked out once for all nodes that
    make the same step.
    """
    if not found:
        return start

    def work() -> Common:
        pieces, tally = dict(start.pieces), start.tally
        for key, new in found.items():
            tally = tally.plus(pieces.pop(key, ()), -1).plus(new)
            if new:
                pieces[key] = new
        return Common(pieces, tally)

    return state.shared.step(("iptables", tuple(found)), start, found.values(), work)


def _stale(held: Programmed, step: Step, nat: Sequence[str], *, full: bool) -> tuple[str, ...]:
    if full:
        existing = [chain for chain in chains_of(nat) if chain.startswith(OWN_PREFIXES)]
        if not existing:
            return ()
        active = {chain: None for piece in step.changed for chain in piece.chains}
        return tuple(chain for chain in existing if chain not in active)
    returned = {chain: None for piece in step.changed for chain in piece.chains}
    waiting = (c for c in held.stale if c not in returned and c not in step.gone)
    return (*waiting, *step.gone)


# ---------------------------------------------------------------- the command


def _command(
    state: Proxier,
    step: Step,
    stale: tuple[str, ...],
    node_port_ips: tuple[str, ...],
    *,
    full: bool,
) -> RulesRestore:
    """The restore input: one for all nodes that write the same."""
    after, settings = step.after, state.settings
    own = tuple(after.own.values())
    written: Hashable = "all" if full else tuple(map(id, step.changed))
    key = (
        "iptables",
        id(after.common),
        tuple(map(id, own)),
        written,
        settings,
        stale,
        node_port_ips,
    )

    def write() -> RulesRestore:
        pieces = step.changed if full else after.ordered()
        text = restore_text(pieces, step.changed, stale, settings, node_port_ips)
        return RulesRestore(text=text, family=state.family)

    held = (after.common, own, () if full else step.changed)
    return state.shared.text(key, held, write)


def _count(
    settings: Settings, step: Step, node_port_ips: tuple[str, ...]
) -> tuple[dict[str, float], int]:
    """Upstream's gauges, and how many rules the input carries."""
    n_filter, n_nat = fixed_rules(settings, node_port_ips)
    tally = step.after.tally
    n_filter += tally.filter
    written = n_nat + tally.top + sum(piece.n_rules for piece in step.changed)
    rules = "sync_proxy_rules_iptables_total"
    last = "sync_proxy_rules_iptables_last"
    gauges = {
        f'{rules}{{table="filter"}}': n_filter,
        f'{rules}{{table="nat"}}': n_nat + tally.top + tally.rules,
        f'{last}{{table="filter"}}': n_filter,
        f'{last}{{table="nat"}}': written,
    }
    told = {name: float(value) for name, value in gauges.items()}
    missed = (tally.no_local_internal, tally.no_local_external)
    return {**told, **no_local_gauges(missed)}, n_filter + written
