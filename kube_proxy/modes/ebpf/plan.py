"""From Services to map entries. Source: cilium pkg/loadbalancer (reflectors, bpf_reconciler.go).

Ids are a node's own, given out in the order of frontends and never twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.api.views import Service
from podwire.dataplane.commands import EbpfMapUpdate
from podwire.dataplane.ebpf.maps import SECOND_FAMILY
from podwire.kube_proxy.conntrack import Wanted
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import (
    Endpoint,
    ServicePort,
    categorize,
    endpoints_of,
    host_port,
    service_ports,
)

MODE_NOTE = "service.cilium.io/forwarding-mode"
ALGORITHM_NOTE = "service.cilium.io/lb-algorithm"
RANGES_NOTE = "service.cilium.io/src-ranges-policy"
NOTES = (MODE_NOTE, ALGORITHM_NOTE, RANGES_NOTE)
"""The annotations of Services that count."""
FIRST_ID = {"ipv4": 1, "ipv6": SECOND_FAMILY}
"""Both families' ids come from one space, as upstream's allocator gives them."""


@dataclass(slots=True)
class Programmed:
    """What the maps hold, by Service; and which ids are whose."""

    ids: dict[str, int] = field(default_factory=dict)
    backends: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    """How many Services use a backend, or a pod of this node."""
    lines: dict[str, dict[str, str]] = field(default_factory=dict)
    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    next_id: int = 1
    next_backend: int = 1

    def copy(self) -> Programmed:
        """Another one, to plan with."""
        return Programmed(
            dict(self.ids), dict(self.backends), dict(self.users), dict(self.lines),
            dict(self.used), self.next_id, self.next_backend,
        )  # fmt: skip


def plan_sync(state: Proxier, devices: tuple[str, ...], *, full: bool) -> Sync | None:
    """The next transaction; None when nothing changed."""
    held: Programmed = state.programmed or Programmed()
    keys = list(dict.fromkeys([*state.services, *held.lines] if full else state.dirty))
    state.dirty.clear()
    if not keys and not full:
        return None
    first = FIRST_ID[state.family]
    after = Programmed(next_id=first, next_backend=first) if full else held.copy()
    text: list[str] = []
    if full:
        text += [f"clear {state.family}", *_programs(state, devices)]
    changed: list[tuple[ServicePort, tuple[Endpoint, ...]]] = []
    for key in keys:
        text += _service(state, after, key, changed)
    if not text:
        return None
    wanted = Wanted()
    for port, endpoints in changed:
        wanted.add(port, endpoints)
    return Sync(
        commands=(EbpfMapUpdate(text="\n".join(text) + "\n"),),
        changes=len(text),
        full=full,
        programmed=after,
        udp=wanted or None,
    )


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


def _service(
    state: Proxier, after: Programmed, key: str,
    changed: list[tuple[ServicePort, tuple[Endpoint, ...]]],
) -> list[str]:  # fmt: skip
    """The lines that bring one Service's entries up to date."""
    service, slices = state.services.get(key), state.slices_of(key)
    before, old_users = after.lines.pop(key, {}), after.used.pop(key, ())
    wanted: dict[str, str] = {}
    users: dict[str, None] = {}
    texts: list[str] = []
    for port in service_ports(service, state.family) if service is not None else ():
        endpoints = endpoints_of(port, slices, state.node.name)
        changed.append((port, endpoints))
        chosen = _said(state, service, port) if service is not None else _Said()
        for front in _frontends(state, port, endpoints, chosen):
            _entries(state, after, port, front, chosen, wanted, users)
    for text in users:
        after.users[text] = after.users.get(text, 0) + 1
    for text in old_users:
        after.users[text] -= 1
        if not after.users[text]:
            del after.users[text]
            known = after.backends.pop(text, None)
            texts.append(f"delete {text}" if known is None else f"delete BE: ID={known}")
    gone = [k for k in before if k not in wanted]
    for k in gone:
        if k.endswith(" SLOT=0"):
            after.ids.pop(k.removesuffix(" SLOT=0").removeprefix("SVC: ADDR="), None)
    if service is not None:
        after.lines[key], after.used[key] = wanted, tuple(users)
    news = [f"update {line}" for k, line in wanted.items() if before.get(k) != line]
    return [*(n for n in news if n.startswith("update BE")),
            *(n for n in news if not n.startswith("update BE")),
            *(f"delete {before[k] if k.startswith('SVC') else k}" for k in gone
              if not k.startswith(("BE: ", "LXC: "))), *texts]  # fmt: skip


class _Said(NamedTuple):
    """What annotations and configuration say of a Service's port."""

    dsr: bool = False
    algorithm: str = "undef"
    deny: bool = False


def _said(state: Proxier, service: Service, port: ServicePort) -> _Said:
    """Source: cilium pkg/annotation (Service annotations), pkg/loadbalancer/reflectors."""
    cilium, notes = state.settings.cilium, service.metadata.annotations
    dsr = cilium.is_dsr(port.protocol)
    if cilium.mode_annotation and notes.get(MODE_NOTE) in {"dsr", "snat"}:
        dsr = notes[MODE_NOTE] == "dsr"
    algorithm = "undef"
    if cilium.algorithm_annotation and notes.get(ALGORITHM_NOTE) in {"random", "maglev"}:
        algorithm = notes[ALGORITHM_NOTE]
    return _Said(dsr, algorithm, notes.get(RANGES_NOTE) == "deny")


class _Front(NamedTuple):
    """One frontend, and the backends behind it: those in use, then those that are ending."""

    at: str
    flags: tuple[str, ...]
    active: list[Endpoint]
    ending: list[Endpoint]


def _frontends(
    state: Proxier, port: ServicePort, endpoints: tuple[Endpoint, ...], said: _Said
) -> list[_Front]:
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
    cluster = f"{host_port(port.cluster_ip, port.port)}/{port.protocol.upper()}"
    flags = ("ClusterIP", *policy, *affinity, "non-routable", *extra)
    found = [_Front(cluster, flags, inner, inner_ending)]
    for at, kind in _outside(state, port, any_ip):
        closed = ["non-routable"] if at.startswith(any_ip) else []
        scopes = ["two-scopes"] if two else []
        checks = ranged if kind != "NodePort" else []
        flags = (kind, *policy, *affinity, *closed, *checks, *scopes, *extra)
        found.append(_Front(at, flags, outer, outer_ending))
        if two:
            found.append(_Front(f"{at}/i", flags, inner, inner_ending))
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


def _entries(
    state: Proxier, after: Programmed, port: ServicePort, front: _Front, said: _Said,
    wanted: dict[str, str], users: dict[str, None],
) -> None:  # fmt: skip
    at, joined = front.at, "+".join(front.flags)
    if at not in after.ids:
        after.ids[at], after.next_id = after.next_id, after.next_id + 1
    number = after.ids[at]
    numbers = [
        _backend(state, after, port, end, wanted, users) for end in (*front.active, *front.ending)
    ]
    active = numbers[: len(front.active)]
    if port.affinity_s:
        lines = [f"AFF: ID={number} BEID={be}" for be in active]
        wanted.update(zip(lines, lines, strict=True))
    address = at.removesuffix("/i").rpartition("/")[0]
    wanted[f"REV: ID={number}"] = f"REV: ID={number} ADDR={address}"
    wanted[f"SVC: ADDR={at} SLOT=0"] = (
        f"SVC: ID={number} ADDR={at} SLOT=0 LBALG={said.algorithm} AFFTimeout={port.affinity_s} "
        f"COUNT={len(active)} QCOUNT={len(front.ending)} FLAGS={joined} # {port.name}"
    )
    for slot, be in enumerate(numbers, 1):
        wanted[f"SVC: ADDR={at} SLOT={slot}"] = (
            f"SVC: ID={number} ADDR={at} SLOT={slot} BEID={be} COUNT=0 QCOUNT=0 FLAGS={joined}"
        )
    if front.flags[0] != "NodePort":
        lines = [f"SRCRANGE: ID={number} CIDR={cidr}" for cidr in port.source_ranges]
        wanted.update(zip(lines, lines, strict=True))
    if active and _has_table(state, front, said):
        ids = ",".join(str(n) for n in active)
        wanted[f"MAGLEV: ID={number}"] = f"MAGLEV: ID={number} BACKENDS={ids}"


def _has_table(state: Proxier, front: _Front, said: _Said) -> bool:
    """Whether clients are spread by Maglev: never at the address that stands for all of a node;
    at a cluster IP only where the Service itself says so (nodeport-explicit-maglev.txtar).
    """
    if said.algorithm == "maglev":
        return "non-routable" not in front.flags or front.flags[0] == "ClusterIP"
    default = said.algorithm == "undef" and state.settings.cilium.algorithm == "maglev"
    return default and "non-routable" not in front.flags


def _backend(
    state: Proxier, after: Programmed, port: ServicePort, end: Endpoint,
    wanted: dict[str, str], users: dict[str, None],
) -> int:  # fmt: skip
    """A backend's entry, and its number."""
    text = f"{host_port(end.ip, end.port)}/{port.protocol.upper()}"
    if text not in after.backends:
        after.backends[text], after.next_backend = after.next_backend, after.next_backend + 1
    number = after.backends[text]
    users[text] = None
    condition = "terminating" if end.terminating else "active"
    wanted[f"BE: ID={number}"] = f"BE: ID={number} ADDR={text} STATE={condition}"
    if end.node == state.node.name:
        here = f"LXC: IP={end.ip}"
        wanted[here], users[here] = here, None
    return number
