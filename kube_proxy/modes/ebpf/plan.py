"""From Services to map entries. Source: cilium pkg/loadbalancer (reflectors, bpf_reconciler.go).

Ids are a node's own, given out in the order of frontends and never twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    s = state.settings
    names = [f"cil_sock{n}_{call}" for n in (4, 6) for call in
             ("connect", "sendmsg", "recvmsg", "getpeername")]  # fmt: skip
    found = [f"attach {name} cgroup" for name in names]
    if devices:
        found += [f"attach {name} {' '.join(devices)}" for name in
                  ("cil_from_netdev", "cil_to_netdev")]  # fmt: skip
    found += ["attach cil_from_container *", "attach cil_from_overlay *"]
    return [*found, f"config mode={s.mode}", f"config algorithm={s.algorithm}",
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
    annotated = service.metadata.annotations if service is not None else {}
    for port in service_ports(service, state.family) if service is not None else ():
        endpoints = endpoints_of(port, slices, state.node.name)
        changed.append((port, endpoints))
        for at, flags, ends in _frontends(state, port, endpoints, annotated):
            _entries(state, after, port, at, flags, ends, wanted, users)
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


Front = tuple[str, tuple[str, ...], list[Endpoint]]


def _frontends(
    state: Proxier, port: ServicePort, endpoints: tuple[Endpoint, ...],
    annotated: dict[str, str],
) -> list[Front]:  # fmt: skip
    choice = categorize(port, endpoints, state.node)
    everyone, local = list(choice.cluster), list(choice.local)
    own = [e for e in endpoints if e.node == state.node.name]
    inner = [e for e in local if e in own] if port.internal_local else everyone
    outer = local if port.external_local else everyone
    policy = [*(["Local"] if port.external_local else []),
              *(["InternalLocal"] if port.internal_local else [])]  # fmt: skip
    affinity = ["sessionAffinity"] if port.affinity_s else []
    extra = ["dsr"] if annotated.get("service.cilium.io/forwarding-mode") == "dsr" else []
    two = port.external_local != port.internal_local
    any_ip = "::" if state.family == "ipv6" else "0.0.0.0"
    proto = port.protocol.upper()
    outside: list[tuple[str, list[str]]] = []
    if port.node_port:
        outside.append((f"{host_port(any_ip, port.node_port)}/{proto}", ["NodePort"]))
        outside += [(f"{host_port(ip, port.node_port)}/{proto}", ["NodePort"])
                    for ip in state.settings.node_port_ips]  # fmt: skip
    ranged = ["check source-range"] if port.source_ranges else []
    outside += [(f"{host_port(ip, port.port)}/{proto}", ["ExternalIPs"])
                for ip in port.external_ips]  # fmt: skip
    outside += [(f"{host_port(ip, port.port)}/{proto}", ["LoadBalancer", "ranged"])
                for ip in port.lb_ips]  # fmt: skip
    found: list[Front] = []
    cluster = f"{host_port(port.cluster_ip, port.port)}/{proto}"
    found.append((cluster, ("ClusterIP", *policy, *affinity, "non-routable"), inner))
    for at, (kind, *ranges) in outside:
        closed = ["non-routable"] if at.startswith(host_port(any_ip, port.node_port)) else []
        scopes = ["two-scopes"] if two else []
        checks = ranged if ranges else []
        flags = (kind, *policy, *affinity, *closed, *checks, *scopes, *extra)
        found.append((at, flags, outer))
        if two:
            found.append((f"{at}/i", flags, inner))
    return sorted(found, key=lambda front: (front[0].endswith("/i"), front[0]))


def _entries(
    state: Proxier, after: Programmed, port: ServicePort, at: str, flags: tuple[str, ...],
    ends: list[Endpoint], wanted: dict[str, str], users: dict[str, None],
) -> None:  # fmt: skip
    if at not in after.ids:
        after.ids[at], after.next_id = after.next_id, after.next_id + 1
    number = after.ids[at]
    proto, joined = port.protocol.upper(), "+".join(flags)
    numbers = []
    for end in ends:
        text = f"{host_port(end.ip, end.port)}/{proto}"
        if text not in after.backends:
            after.backends[text], after.next_backend = after.next_backend, after.next_backend + 1
        be = after.backends[text]
        numbers.append(be)
        users[text] = None
        condition = "terminating" if end.terminating else "active"
        wanted[f"BE: ID={be}"] = f"BE: ID={be} ADDR={text} STATE={condition}"
        if port.affinity_s:
            wanted[f"AFF: ID={number} BEID={be}"] = f"AFF: ID={number} BEID={be}"
        if end.node == state.node.name:
            here = f"LXC: IP={end.ip}"
            wanted[here], users[here] = here, None
    address = at.removesuffix("/i").rpartition("/")[0]
    wanted[f"REV: ID={number}"] = f"REV: ID={number} ADDR={address}"
    wanted[f"SVC: ADDR={at} SLOT=0"] = (
        f"SVC: ID={number} ADDR={at} SLOT=0 LBALG=undef AFFTimeout={port.affinity_s} "
        f"COUNT={len(ends)} QCOUNT=0 FLAGS={joined} # {port.name}"
    )
    for slot, be in enumerate(numbers, 1):
        wanted[f"SVC: ADDR={at} SLOT={slot}"] = (
            f"SVC: ID={number} ADDR={at} SLOT={slot} BEID={be} COUNT=0 QCOUNT=0 FLAGS={joined}"
        )
    if "check source-range" in flags:
        for cidr in port.source_ranges:
            line = f"SRCRANGE: ID={number} CIDR={cidr}"
            wanted[line] = line
    routable = "non-routable" not in flags and state.settings.algorithm == "maglev"
    if routable and numbers:
        ids = ",".join(str(n) for n in numbers)
        wanted[f"MAGLEV: ID={number}"] = f"MAGLEV: ID={number} BACKENDS={ids}"
