"""From Services to map entries. Source: cilium pkg/loadbalancer (reflectors, bpf_reconciler.go).

Ids are a node's own, given out in the order of frontends and never twice. Nodes that gave out the
same and see the same change share the step; what only one node knows, its pods, is a command apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.api.views import Service
from podwire.dataplane.commands import EbpfMapUpdate
from podwire.dataplane.ebpf.maps import SECOND_FAMILY
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import Endpoint, ServicePort, categorize, host_port
from podwire.kube_proxy.pieces import Base, Prepared, base, prepared, udp_wanted
from podwire.kube_proxy.table import NOTHING, Draft, Table

MODE_NOTE = "service.cilium.io/forwarding-mode"
ALGORITHM_NOTE = "service.cilium.io/lb-algorithm"
RANGES_NOTE = "service.cilium.io/src-ranges-policy"
NOTES = (MODE_NOTE, ALGORITHM_NOTE, RANGES_NOTE)
"""The annotations of Services that count."""
FIRST_ID = {"ipv4": 1, "ipv6": SECOND_FAMILY}
"""Both families' ids come from one space, as upstream's allocator gives them."""


class Said(NamedTuple):
    """What annotations and configuration say of a Service's port."""

    dsr: bool = False
    algorithm: str = "undef"
    deny: bool = False


class Front(NamedTuple):
    """A frontend: ``IP:PORT/PROTO[/i]``, flags, and the backends behind it: those in use, then
    those that are ending.
    """

    at: str
    flags: tuple[str, ...]
    active: list[Endpoint]
    ending: list[Endpoint]
    algorithm: str
    maglev: bool
    """Whether clients are spread by Maglev."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One service port's frontends on a node."""

    port: ServicePort
    endpoints: tuple[Endpoint, ...]
    fronts: tuple[Front, ...]
    no_local: tuple[bool, bool] = (False, False)


Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What the maps hold, by Service; and which ids are whose. Shared between nodes."""

    next_id: int
    next_backend: int
    ids: Table[int] = NOTHING
    backends: Table[int] = NOTHING
    users: Table[int] = NOTHING
    """How many Services use a backend."""
    pieces: Table[Pieces] = NOTHING
    lines: Table[dict[str, str]] = NOTHING
    used: Table[tuple[str, ...]] = NOTHING


@dataclass(frozen=True, slots=True)
class Programmed:
    """One node's own account."""

    account: Account
    pods: dict[str, int] = field(default_factory=dict)
    """How many Services have an endpoint at an address of a pod of this node."""


class Step(NamedTuple):
    """From one account to the next."""

    after: Account
    lines: list[str]
    text: str
    changed: tuple[Piece, ...]


def plan_sync(state: Proxier, devices: tuple[str, ...], *, full: bool) -> Sync | None:
    """The next transaction; None when nothing changed."""
    first = FIRST_ID[state.family]
    held: Programmed = state.programmed or Programmed(Account(first, first))
    step, pods = _all(state, devices) if full else _partial(state, held)
    state.dirty.clear()
    lines = [f"update LXC: IP={ip}" for ip in pods if full or ip not in held.pods]
    if not full:
        lines += [f"delete LXC: IP={ip}" for ip in held.pods if ip not in pods]
    texts = [step.text] if step.text else []
    texts += ["\n".join(lines) + "\n"] if lines else []
    if not texts:
        return None
    return Sync(
        commands=tuple(EbpfMapUpdate(text=text) for text in texts),
        changes=len(step.lines) + len(lines),
        full=full,
        programmed=Programmed(step.after, pods),
        udp=udp_wanted(step.changed),
    )


def _all(state: Proxier, devices: tuple[str, ...]) -> tuple[Step, dict[str, int]]:
    found = base(state)
    key = ("ebpf pieces", id(found), state.settings)
    same = state.shared.text(
        key, (found,), lambda: {key: _rendered(state, one) for key, one in found.same.items()}
    )
    own = {key: _rendered(state, one) for key, one in found.by_node.items()}
    head = (f"clear {state.family}", *_programs(state, devices))
    first = FIRST_ID[state.family]

    def work() -> Step:
        whole = {**same, **own}
        return _step(Account(first, first), {k: whole[k] for k in sorted(whole)}, head)

    step = state.shared.step(("ebpf", head), same, own.values(), work)
    pods = state.shared.text(("ebpf pods", id(found)), (found,), lambda: _pods(found))
    return step, dict(pods.get(state.node.name, {}))


def _partial(state: Proxier, held: Programmed) -> tuple[Step, dict[str, int]]:
    found = {key: _rendered(state, prepared(state, key)) for key in sorted(state.dirty)}
    old = {key: held.account.pieces.get(key, ()) for key in found}
    step = state.shared.step(
        ("ebpf", tuple(found)), held.account, found.values(), lambda: _step(held.account, found)
    )
    pods = dict(held.pods)
    for group, sign in ((old, -1), (found, 1)):
        for pieces in group.values():
            for ip in _pods_of((piece.endpoints for piece in pieces), state.node.name):
                pods[ip] = pods.get(ip, 0) + sign
    return step, {ip: count for ip, count in pods.items() if count}


def _rendered(state: Proxier, one: Prepared | None) -> Pieces:
    """A Service's pieces on this node; () of one that is none."""
    if one is None:
        return ()
    service = one.service

    def of(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> Piece:
        said = _said(state, service, port)
        return Piece(port, endpoints, tuple(_frontends(state, port, endpoints, said)))

    return one.pieces(state.node, ("ebpf", state.settings), of)


def _said(state: Proxier, service: Service, port: ServicePort) -> Said:
    """Source: cilium pkg/annotation (Service annotations), pkg/loadbalancer/reflectors."""
    cilium, notes = state.settings.cilium, service.metadata.annotations
    dsr = cilium.is_dsr(port.protocol)
    if cilium.mode_annotation and notes.get(MODE_NOTE) in {"dsr", "snat"}:
        dsr = notes[MODE_NOTE] == "dsr"
    algorithm = "undef"
    if cilium.algorithm_annotation and notes.get(ALGORITHM_NOTE) in {"random", "maglev"}:
        algorithm = notes[ALGORITHM_NOTE]
    return Said(dsr, algorithm, notes.get(RANGES_NOTE) == "deny")


def _pods(found: Base) -> dict[str, dict[str, int]]:
    """By node: its pods that are endpoints, and of how many Services."""
    nodes: dict[str, dict[str, int]] = {}
    for one in (*found.same.values(), *found.by_node.values()):
        for node, ip in dict.fromkeys((e.node, e.ip) for ends in one.endpoints for e in ends):
            pods = nodes.setdefault(node, {})
            pods[ip] = pods.get(ip, 0) + 1
    return nodes


def _pods_of(groups: Iterable[tuple[Endpoint, ...]], node: str) -> dict[str, None]:
    return {e.ip: None for ends in groups for e in ends if e.node == node}


def _programs(state: Proxier, devices: tuple[str, ...]) -> list[str]:
    s = state.settings.cilium
    names = [f"cil_sock{n}_{call}" for n in (4, 6) for call in
             ("connect", "sendmsg", "recvmsg", "getpeername")]  # fmt: skip
    found = [f"attach {name} cgroup" for name in names]
    if devices:
        found += [f"attach {name} {' '.join(devices)}" for name in
                  ("cil_from_netdev", "cil_to_netdev")]  # fmt: skip
    found += ["attach cil_from_container *", "attach cil_from_overlay *"]
    return [*found, f"config mode={s.mode}", f"config algorithm={s.algorithm}",
            f"config tableSize={s.table_size}",
            f"config hostNamespaceOnly={str(s.host_namespace_only).lower()}"]  # fmt: skip


def _frontends(
    state: Proxier, port: ServicePort, endpoints: tuple[Endpoint, ...], said: Said
) -> list[Front]:
    choice = categorize(port, endpoints, state.node)
    everyone, local = list(choice.cluster), list(choice.local)
    own = [e for e in endpoints if e.node == state.node.name]
    inner = [e for e in local if e in own] if port.internal_local else everyone
    outer = local if port.external_local else everyone
    inner_ending = _ending(own if port.internal_local else endpoints, inner)
    outer_ending = _ending(own if port.external_local else endpoints, outer)
    policy = [*(["Local"] if port.external_local else []),
              *(["InternalLocal"] if port.internal_local else [])]  # fmt: skip
    affinity = ["sessionAffinity"] if port.affinity_s else []
    extra = ["dsr"] if said.dsr else []
    two = port.external_local != port.internal_local
    any_ip = host_port("::" if state.family == "ipv6" else "0.0.0.0", port.node_port)
    ranged = ["check source-range", *(["deny"] if said.deny else [])] if port.source_ranges else []
    found: list[Front] = []

    def front(
        at: str, flags: Iterable[str], active: list[Endpoint], ending: list[Endpoint]
    ) -> None:
        flags = tuple(flags)
        found.append(Front(at, flags, active, ending, said.algorithm, _spreads(state, flags, said)))

    cluster = f"{host_port(port.cluster_ip, port.port)}/{port.protocol.upper()}"
    front(cluster, ("ClusterIP", *policy, *affinity, "non-routable", *extra), inner, inner_ending)
    for at, kind in _outside(state, port, any_ip):
        closed = ["non-routable"] if at.startswith(any_ip) else []
        scopes = ["two-scopes"] if two else []
        checks = ranged if kind != "NodePort" else []
        flags = (kind, *policy, *affinity, *closed, *checks, *scopes, *extra)
        front(at, flags, outer, outer_ending)
        if two:
            front(f"{at}/i", flags, inner, inner_ending)
    return sorted(found, key=lambda front: (front.at.endswith("/i"), front.at))


def _ending(endpoints: Sequence[Endpoint], used: Sequence[Endpoint]) -> list[Endpoint]:
    """Those that keep their connections and get no new ones."""
    return [e for e in endpoints if e.terminating and e.serving and e not in used]


def _outside(state: Proxier, port: ServicePort, any_ip: str) -> list[tuple[str, str]]:
    """The addresses at which clients outside ask, and the type of each."""
    node_ports = []
    if port.node_port:
        own = [host_port(ip, port.node_port) for ip in state.settings.node_port_ips]
        node_ports = [any_ip, *own]
    external = [host_port(ip, port.port) for ip in port.external_ips]
    balanced = [host_port(ip, port.port) for ip in port.lb_ips]
    proto = port.protocol.upper()
    return [
        (f"{at}/{proto}", kind)
        for kind, ats in (
            ("NodePort", node_ports),
            ("ExternalIPs", external),
            ("LoadBalancer", balanced),
        )
        for at in ats
    ]


def _spreads(state: Proxier, flags: tuple[str, ...], said: Said) -> bool:
    """Whether clients are spread by Maglev: never at the address that stands for all of a node;
    at a cluster IP only where the Service itself says so (nodeport-explicit-maglev.txtar).
    """
    if said.algorithm == "maglev":
        return "non-routable" not in flags or flags[0] == "ClusterIP"
    default = said.algorithm == "undef" and state.settings.cilium.algorithm == "maglev"
    return default and "non-routable" not in flags


# ---------------------------------------------------------------- from account to account


class _Drafts:
    """An account while it is changed."""

    def __init__(self, start: Account) -> None:
        self.next_id, self.next_backend = start.next_id, start.next_backend
        self.ids, self.backends, self.users = (
            Draft(start.ids), Draft(start.backends), Draft(start.users),
        )  # fmt: skip
        self.pieces, self.lines, self.used = (
            Draft(start.pieces), Draft(start.lines), Draft(start.used),
        )  # fmt: skip

    def done(self) -> Account:
        """The account."""
        return Account(
            self.next_id, self.next_backend, self.ids.done(), self.backends.done(),
            self.users.done(), self.pieces.done(), self.lines.done(), self.used.done(),
        )  # fmt: skip


def _step(start: Account, found: dict[str, Pieces], head: tuple[str, ...] = ()) -> Step:
    """Worked out once for all nodes that make the same step."""
    drafts, lines = _Drafts(start), list(head)
    for key, pieces in found.items():
        lines += _service(drafts, key, pieces)
    text = "\n".join(lines) + "\n" if lines else ""
    changed = tuple(piece for pieces in found.values() for piece in pieces)
    return Step(drafts.done(), lines, text, changed)


def _service(drafts: _Drafts, key: str, pieces: Pieces) -> list[str]:
    """The lines that bring one Service's entries up to date."""
    before, old_users = drafts.lines.get(key) or {}, drafts.used.get(key) or ()
    backends: dict[str, str] = {}
    wanted: dict[str, str] = {}
    users: dict[str, None] = {}
    for piece in pieces:
        for front in piece.fronts:
            _entries(drafts, piece.port, front, backends, wanted, users)
    for text in users:
        drafts.users.put(text, (drafts.users.get(text) or 0) + 1)
    freed: list[str] = []
    for text in old_users:
        left = (drafts.users.get(text) or 0) - 1
        drafts.users.put(text, left or None)
        if not left:
            freed.append(f"delete BE: ID={drafts.backends.get(text)}")
            drafts.backends.put(text, None)
    whole = {**backends, **wanted}
    gone = [k for k in before if k not in whole]
    for k in gone:
        if k.endswith(" SLOT=0"):
            drafts.ids.put(k.removesuffix(" SLOT=0").removeprefix("SVC: ADDR="), None)
    drafts.pieces.put(key, pieces or None)
    drafts.lines.put(key, whole or None)
    drafts.used.put(key, tuple(users) or None)
    return [
        *[f"update {line}" for k, line in whole.items() if before.get(k) != line],
        *[
            f"delete {before[k] if k.startswith('SVC') else k}"
            for k in gone
            if not k.startswith("BE: ")
        ],
        *freed,
    ]


def _entries(
    drafts: _Drafts, port: ServicePort, front: Front,
    backends: dict[str, str], wanted: dict[str, str], users: dict[str, None],
) -> None:  # fmt: skip
    at, joined = front.at, "+".join(front.flags)
    number = drafts.ids.get(at)
    if number is None:
        number, drafts.next_id = drafts.next_id, drafts.next_id + 1
        drafts.ids.put(at, number)
    numbers = [
        _backend(drafts, port, end, backends, users) for end in (*front.active, *front.ending)
    ]
    active = numbers[: len(front.active)]
    if port.affinity_s:
        lines = [f"AFF: ID={number} BEID={be}" for be in active]
        wanted.update(zip(lines, lines, strict=True))
    address = at.removesuffix("/i").rpartition("/")[0]
    wanted[f"REV: ID={number}"] = f"REV: ID={number} ADDR={address}"
    wanted[f"SVC: ADDR={at} SLOT=0"] = (
        f"SVC: ID={number} ADDR={at} SLOT=0 LBALG={front.algorithm} AFFTimeout={port.affinity_s} "
        f"COUNT={len(active)} QCOUNT={len(front.ending)} FLAGS={joined} # {port.name}"
    )
    for slot, be in enumerate(numbers, 1):
        wanted[f"SVC: ADDR={at} SLOT={slot}"] = (
            f"SVC: ID={number} ADDR={at} SLOT={slot} BEID={be} COUNT=0 QCOUNT=0 FLAGS={joined}"
        )
    if front.flags[0] != "NodePort":
        lines = [f"SRCRANGE: ID={number} CIDR={cidr}" for cidr in port.source_ranges]
        wanted.update(zip(lines, lines, strict=True))
    if active and front.maglev:
        ids = ",".join(str(n) for n in active)
        wanted[f"MAGLEV: ID={number}"] = f"MAGLEV: ID={number} BACKENDS={ids}"


def _backend(
    drafts: _Drafts, port: ServicePort, end: Endpoint,
    backends: dict[str, str], users: dict[str, None],
) -> int:  # fmt: skip
    """A backend's entry, and its number."""
    text = f"{end.text}/{port.protocol.upper()}"
    number = drafts.backends.get(text)
    if number is None:
        number, drafts.next_backend = drafts.next_backend, drafts.next_backend + 1
        drafts.backends.put(text, number)
    users[text] = None
    condition = "terminating" if end.terminating else "active"
    backends[f"BE: ID={number}"] = f"BE: ID={number} ADDR={text} STATE={condition}"
    return number
