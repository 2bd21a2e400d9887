"""From changed Services to one nft transaction: what is added, what is flushed, what is deleted.

What is the same on all nodes makes a text of its own (the command's ``text``); Services whose rules
depend on the node, and the node's addresses, follow in the same transaction (``own``). Nodes whose
kernels hold the same and that see the same change share the work.

Source: kubernetes pkg/proxy/nftables/proxier.go (syncProxyRules, nftElementStorage).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from podwire.dataplane.commands import AnyCommand, NftApply
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import Endpoint, ServicePort
from podwire.kube_proxy.modes.nftables.names import affinity, of_service
from podwire.kube_proxy.modes.nftables.rules import TABLE, Piece, all_entries, render
from podwire.kube_proxy.modes.nftables.settings import Settings
from podwire.kube_proxy.modes.nftables.setup import setup_text
from podwire.kube_proxy.pieces import (
    Prepared,
    base,
    no_local,
    no_local_gauges,
    prepared,
    udp_wanted,
)

SECOND_NS = 1_000_000_000
Pieces = tuple[Piece, ...]
Changes = dict[str, tuple[Pieces, Pieces]]
"""By Service: its pieces before and after."""


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What a kernel holds of Services. Shared between nodes and compared by identity."""

    pieces: dict[str, Pieces]
    """By Service; never changed. () in a node's own account: gone, though others have it."""
    no_local: tuple[int, int] = (0, 0)


EMPTY = Account({})


@dataclass(frozen=True, slots=True)
class Programmed:
    """One node's own account: what it shares with others, what it does not, stale chains."""

    common: Account = EMPTY
    own: Account = EMPTY
    stale: dict[str, int] = field(default_factory=dict)
    """Chains that nothing leads to any more, and since when."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """From one account to the next, as text."""

    after: Account
    text: str
    changes: int
    gone: tuple[str, ...]
    """Chains that are not needed any more."""
    active: tuple[str, ...]
    """Chains that the step (re)makes."""
    changed: Pieces


def plan_apply(
    state: Proxier,
    existing: tuple[tuple[str, ...], tuple[str, ...]] | None,
    node_port_ips: tuple[str, ...],
    service_cidrs: tuple[str, ...],
    *,
    full: bool,
    now_ns: int,
) -> Sync | None:
    """The next transaction; None when nothing changed. ``existing`` are the chains and sets that
    the kernel holds, on a full sync.
    """
    held: Programmed = state.programmed or Programmed()
    steps = _all(state) if full else _partial(state, held.common, held.own)
    state.dirty.clear()
    if steps is None:
        return None
    shared_step, own_step = steps
    first = state.programmed is None
    stale, removed = _stale(held, (shared_step, own_step), existing, full=full, now_ns=now_ns)
    text, changes = _head(state.settings, service_cidrs, full=full, first=first)
    after = (shared_step.after, own_step.after)
    tail = _tail(state.settings, stale, existing, after, now_ns)
    addresses = "".join(
        f"add element {state.settings.ip} {TABLE} nodeport-ips {{ {ip} }}\n"
        for ip in (node_port_ips if full else ())
    )
    command = NftApply(text=text + shared_step.text, own=addresses + own_step.text + tail)
    internal, external = zip(*(account.no_local for account in after), strict=True)
    return Sync(
        commands=(*_removal(state.settings, removed), command),
        changes=changes + shared_step.changes + own_step.changes + len(stale),
        full=full,
        programmed=Programmed(*after, stale),
        udp=udp_wanted((*shared_step.changed, *own_step.changed)),
        gauges=no_local_gauges((sum(internal), sum(external))),
    )


def _head(
    settings: Settings, service_cidrs: tuple[str, ...], *, full: bool, first: bool
) -> tuple[str, int]:
    if not full:
        return "", 0
    if not settings.all_node_ips:
        settings = replace(settings, node_port_cidrs=())
    return setup_text(settings, service_cidrs, first=first)


# ---------------------------------------------------------------- what changed


def _all(state: Proxier) -> tuple[Step, Step]:
    """Everything, on a full sync: what all nodes have alike, and the node's own."""
    found = base(state)
    key = ("nftables", id(found), state.settings.of_pieces)

    def same_on_all() -> Step:
        new: Changes = {key: ((), _rendered(state, one)) for key, one in found.same.items()}
        return _write(_table(state.settings), EMPTY, new, ())

    shared = state.shared.text(key, (found,), same_on_all)
    own: Changes = {key: ((), _rendered(state, one)) for key, one in found.by_node.items()}
    return shared, _step(state, EMPTY, own)


def _partial(state: Proxier, common: Account, own: Account) -> tuple[Step, Step] | None:
    """What the Services that changed come to; None when it is nothing."""
    found = {}
    for key in state.dirty:
        pieces = _rendered(state, prepared(state, key))
        if pieces != _held(common, own, key):
            found[key] = pieces
    if not found:
        return None
    shared, mine = _split(found, common, own)
    hidden = tuple(key for key in mine if key in common.pieces)
    return _step(state, common, shared), _step(state, own, mine, hidden)


def _held(common: Account, own: Account, key: str) -> Pieces:
    """What the kernel holds of a Service: the node's own account hides the common one."""
    return own.pieces[key] if key in own.pieces else common.pieces.get(key, ())


def _split(found: dict[str, Pieces], common: Account, own: Account) -> tuple[Changes, Changes]:
    """(old, new) pieces of Services, of those that all nodes have alike and of the others.

    A Service that changes sides is left to the node's own text whole.
    """
    shared: Changes = {}
    mine: Changes = {}
    for key in sorted(found):
        new = found[key]
        if key in own.pieces or any(piece.by_node for piece in new):
            mine[key] = _held(common, own, key), new
        else:
            shared[key] = common.pieces.get(key, ()), new
    return shared, mine


def _rendered(state: Proxier, one: Prepared | None) -> Pieces:
    """A Service's pieces on this node; () of one that is none."""
    if one is None:
        return ()
    settings: Settings = state.settings

    def of(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> Piece:
        return render(port, endpoints, state.node, settings, by_node=one.by_node)

    return one.pieces(state.node, ("nftables", settings.of_pieces), of)


def _table(settings: Settings) -> str:
    return f"{settings.ip} {TABLE}"


# ---------------------------------------------------------------- text


def _step(
    state: Proxier,
    start: Account,
    found: Changes,
    hidden: tuple[str, ...] = (),
) -> Step:
    """Worked out once for all nodes that make the same step. ``hidden`` are the Services that the
    common account has, too.
    """
    table = _table(state.settings)
    key = ("nftables", table, tuple(found), hidden)
    groups = (pieces for pair in found.values() for pieces in pair)
    return state.shared.step(key, start, groups, lambda: _write(table, start, found, hidden))


def _write(
    table: str,
    start: Account,
    found: Changes,
    hidden: tuple[str, ...],
) -> Step:
    if not found:
        return Step(start, "", 0, (), (), ())
    pieces = dict(start.pieces)
    missed = start.no_local
    lines: list[str] = []
    removals: list[str] = []
    gone: list[str] = []
    active: list[str] = []
    changed: list[Piece] = []
    changes = 0
    for key, (old, new) in found.items():
        pieces.pop(key, None)
        if new or key in hidden:
            pieces[key] = new
        missed = no_local(missed, old, new)
        held, wanted = all_entries(old), all_entries(new)
        for place, entry in wanted.items():
            known = held.get(place)
            if known is not None and known.value != entry.value:
                lines.append(known.text("delete", table))
            if known is None or known.value != entry.value:
                lines.append(entry.text("add", table))
                changes += 1
        removals += [e.text("delete", table) for place, e in held.items() if place not in wanted]
        kept = {name: None for piece in new for name in (*piece.chains, *piece.sets)}
        gone += [c for piece in old for c in piece.chains if c not in kept]
        removals += [
            f"delete set {table} {name}\n"
            for piece in old
            for name in piece.sets
            if name not in kept
        ]
        for piece in new:
            if piece not in old:
                changed.append(piece)
                active += piece.chains
                changes += piece.n_rules + len(piece.chains)
    chains = "".join(piece.rules for piece in changed)
    flushed = "".join(f"flush chain {table} {chain}\n" for chain in gone)
    text = f"{chains}{''.join(lines)}{flushed}{''.join(removals)}"
    after = Account(pieces, missed)
    changes += len(removals) + len(gone)
    return Step(after, text, changes, tuple(gone), tuple(active), tuple(changed))


# ---------------------------------------------------------------- what is left over


def _stale(
    held: Programmed,
    steps: tuple[Step, Step],
    existing: tuple[tuple[str, ...], tuple[str, ...]] | None,
    *,
    full: bool,
    now_ns: int,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Chains that nothing leads to and since when, and those to be deleted now.

    A chain is deleted a second after it became stale at the earliest, by the next sync: kernels
    before 6.2 need a moment to notice that a map element which led to it is gone.
    """
    removed = tuple(c for c, since in held.stale.items() if now_ns - since > SECOND_NS)
    if full and existing is not None:
        active = {
            chain: None
            for step in steps
            for pieces in step.after.pieces.values()
            for piece in pieces
            for chain in piece.chains
        }
        left = (c for c in existing[0] if of_service(c) and c not in active and c not in removed)
        return {chain: held.stale.get(chain, now_ns) for chain in left}, removed
    stale = {c: since for c, since in held.stale.items() if c not in removed}
    for step in steps:
        stale.update(dict.fromkeys(step.gone, now_ns))
    for step in steps:
        for chain in step.active:
            stale.pop(chain, None)
    return stale, removed


def _removal(settings: Settings, chains: tuple[str, ...]) -> tuple[AnyCommand, ...]:
    if not chains:
        return ()
    table = _table(settings)
    return (NftApply(text="".join(f"delete chain {table} {chain}\n" for chain in chains)),)


def _tail(
    settings: Settings,
    stale: dict[str, int],
    existing: tuple[tuple[str, ...], tuple[str, ...]] | None,
    after: tuple[Account, Account],
    now_ns: int,
) -> str:
    """On a full sync: stale chains are flushed, stale affinity sets deleted."""
    if existing is None:
        return ""
    table = _table(settings)
    active = {
        name: None
        for account in after
        for pieces in account.pieces.values()
        for piece in pieces
        for name in piece.sets
    }
    text = "".join(
        f"flush chain {table} {chain}\n" for chain, since in stale.items() if since == now_ns
    )
    return text + "".join(
        f"delete set {table} {name}\n"
        for name in existing[1]
        if affinity(name) and name not in active
    )
