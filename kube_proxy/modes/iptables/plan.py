"""From changed Services to one restore input: what is written, what is left, what is deleted.

Nodes whose kernels hold the same rules and that see the same change share the work: a transition
(account before, changed pieces) is worked out once per process.

Source: kubernetes pkg/proxy/iptables/proxier.go (syncProxyRules).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane.commands import RulesRestore
from podwire.kube_proxy.core import Proxier, versions
from podwire.kube_proxy.iptables import chains_of
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import ServicePort, endpoints_of, service_ports
from podwire.kube_proxy.modes.iptables.rules import Piece, render
from podwire.kube_proxy.modes.iptables.settings import Settings
from podwire.kube_proxy.modes.iptables.text import OWN_PREFIXES, fixed_rules, restore_text
from podwire.kube_proxy.pieces import differs_by_node, no_local, no_local_gauges, udp_wanted

LARGE_CLUSTER_ENDPOINTS = 1000
SECOND_NS = 1_000_000_000
Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """The rules a kernel holds. Shared between nodes and compared by identity."""

    pieces: dict[str, Pieces]
    """By Service; never changed."""
    n_endpoints: int
    n_nat: int
    """Rules of the nat table that belong to service ports."""
    no_local: tuple[int, int]
    """Service ports whose internal, and external, traffic meets no local endpoint."""


EMPTY = Account({}, 0, 0, (0, 0))


@dataclass(frozen=True, slots=True)
class Programmed:
    """One node's own account."""

    account: Account
    stale: tuple[str, ...] = ()
    """Chains that nothing leads to any more, left for a later clean-up (large clusters)."""
    cleaned_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """From one account to the next."""

    after: Account
    changed: tuple[Piece, ...]
    gone: tuple[str, ...]
    """Chains of Services that changed which are not needed any more."""
    ordered: tuple[Piece, ...]
    n_filter: int
    """Rules of the filter table that belong to service ports."""
    n_nat: int
    """Rules of the nat table that are written for service ports."""


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
    start = EMPTY if full else held.account
    keys = list(state.services if full else state.dirty)
    state.dirty.clear()
    found = _changed(state, start, keys)
    waited_s = (now_ns - held.cleaned_ns) / SECOND_NS
    if not full and not found and not (held.stale and waited_s > state.sync_period_s):
        return None
    step = _transition(state, start, found)
    large = step.after.n_endpoints > LARGE_CLUSTER_ENDPOINTS
    stale = _stale(held, step, nat, full=full)
    clean = not large or full or waited_s > state.sync_period_s
    text = _text(state, step, stale if clean else (), node_port_ips)
    gauges, written = _count(state.settings, step, node_port_ips)
    cleaned_ns = now_ns if clean else held.cleaned_ns
    return Sync(
        commands=(*before, RulesRestore(text=text, family=state.family)),
        changes=written,
        full=full,
        programmed=Programmed(step.after, () if clean else stale, cleaned_ns),
        udp=udp_wanted(step.changed),
        again_s=None if clean or not stale else state.sync_period_s,
        gauges=gauges,
    )


def _changed(state: Proxier, start: Account, keys: Iterable[str]) -> dict[str, Pieces]:
    """The pieces of Services whose rules differ from the account's; () for those that went."""
    known = start.n_endpoints if start is not EMPTY else _declared(state)
    comments = known <= LARGE_CLUSTER_ENDPOINTS
    found = _rendered(state, start, keys, comments=comments)
    total = start.n_endpoints
    for key, pieces in found.items():
        total += _endpoints(pieces) - _endpoints(start.pieces.get(key, ()))
    if (total <= LARGE_CLUSTER_ENDPOINTS) != comments:
        found = _rendered(state, start, keys, comments=not comments)
    return found


def _rendered(
    state: Proxier, start: Account, keys: Iterable[str], *, comments: bool
) -> dict[str, Pieces]:
    found = {}
    for key in keys:
        pieces = _pieces(state, key, comments)
        if pieces != start.pieces.get(key, ()):
            found[key] = pieces
    return found


def _declared(state: Proxier) -> int:
    """How many endpoints the slices hold: near enough to guess the cluster's size."""
    return sum(
        len(s.endpoints) * len(s.ports) for own in state.slices.values() for s in own.values()
    )


def _endpoints(pieces: Pieces) -> int:
    return sum(len(piece.endpoints) for piece in pieces)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Service as far as all nodes share it."""

    ports: tuple[ServicePort, ...]
    pieces: Pieces
    """What every node has; () when something depends on the node."""


def _pieces(state: Proxier, key: str, comments: bool) -> Pieces:
    service = state.services.get(key)
    if service is None:
        return ()
    slices = state.slices_of(key)
    revision = versions(service, slices)
    shared_key: Hashable = None
    if revision:
        shared_key = ("iptables", revision, state.settings.of_pieces, comments)
    prepared = state.shared.piece(
        shared_key, lambda: _prepare(state, service, slices, comments=comments)
    )
    if prepared.pieces or not prepared.ports:
        return prepared.pieces
    node_key = (shared_key, state.node) if revision else None
    return state.shared.piece(
        node_key, lambda: _render(state, prepared.ports, slices, comments=comments)
    )


def _prepare(
    state: Proxier, service: Service, slices: list[EndpointSlice], *, comments: bool
) -> Prepared:
    ports = service_ports(service, state.family)
    if any(differs_by_node(port, slices, state.node.name) for port in ports):
        return Prepared(ports, ())
    return Prepared(ports, _render(state, ports, slices, comments=comments))


def _render(
    state: Proxier,
    ports: tuple[ServicePort, ...],
    slices: list[EndpointSlice],
    *,
    comments: bool,
) -> Pieces:
    node, settings = state.node, state.settings
    return tuple(
        render(
            port, endpoints_of(port, slices, node.name), node, settings, endpoint_comments=comments
        )
        for port in ports
    )


def _transition(state: Proxier, start: Account, found: dict[str, Pieces]) -> Transition:
    """Worked out once for all nodes that make the same step."""
    key = ("iptables", tuple(found))
    return state.shared.step(key, start, found.values(), lambda: _step(start, found))


def _step(start: Account, found: dict[str, Pieces]) -> Transition:
    pieces = dict(start.pieces)
    gone: list[str] = []
    changed: list[Piece] = []
    n_endpoints, n_nat, missed = start.n_endpoints, start.n_nat, start.no_local
    for key in sorted(found):
        old, new = pieces.pop(key, ()), found[key]
        if new:
            pieces[key] = new
        for group, sign in ((old, -1), (new, 1)):
            for piece in group:
                n_endpoints += sign * len(piece.endpoints)
                n_nat += sign * (piece.n_top + piece.n_rules)
        missed = no_local(missed, old, new)
        if not old:
            changed += new
            continue
        kept = {chain: None for piece in new for chain in piece.chains}
        gone.extend(c for piece in old for c in piece.chains if c not in kept)
        changed.extend(piece for piece in new if piece not in old)
    ordered = tuple(piece for key in sorted(pieces) for piece in pieces[key])
    account = Account(pieces, n_endpoints, n_nat, missed)
    written = sum(piece.n_top for piece in ordered) + sum(piece.n_rules for piece in changed)
    n_filter = sum(piece.n_filter for piece in ordered)
    return Transition(account, tuple(changed), tuple(gone), ordered, n_filter, written)


def _stale(
    held: Programmed, step: Transition, nat: Sequence[str], *, full: bool
) -> tuple[str, ...]:
    if full:
        active = {chain: None for piece in step.ordered for chain in piece.chains}
        existing = chains_of(nat)
        return tuple(c for c in existing if c.startswith(OWN_PREFIXES) and c not in active)
    returned = {chain: None for piece in step.changed for chain in piece.chains}
    waiting = (c for c in held.stale if c not in returned and c not in step.gone)
    return (*waiting, *step.gone)


def _text(
    state: Proxier, step: Transition, stale: tuple[str, ...], node_port_ips: tuple[str, ...]
) -> str:
    key = ("iptables", id(step), state.settings, stale, node_port_ips)
    return state.shared.text(
        key,
        (step,),
        lambda: restore_text(step.ordered, step.changed, stale, state.settings, node_port_ips),
    )


def _count(
    settings: Settings, step: Transition, node_port_ips: tuple[str, ...]
) -> tuple[dict[str, float], int]:
    """Upstream's gauges, and how many rules the input carries."""
    n_filter, n_nat = fixed_rules(settings, node_port_ips)
    n_filter += step.n_filter
    written = n_nat + step.n_nat
    rules = "sync_proxy_rules_iptables_total"
    last = "sync_proxy_rules_iptables_last"
    gauges = {
        f'{rules}{{table="filter"}}': n_filter,
        f'{rules}{{table="nat"}}': n_nat + step.after.n_nat,
        f'{last}{{table="filter"}}': n_filter,
        f'{last}{{table="nat"}}': written,
    }
    told = {name: float(value) for name, value in gauges.items()}
    return {**told, **no_local_gauges(step.after.no_local)}, n_filter + written
