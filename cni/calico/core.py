"""The agent's decisions: objects in, chains out; the difference of two sets of chains as text.

Source of the shape: projectcalico/felix rules (chain names, marks, order): per workload
``cali-fw-`` (from it: egress) and ``cali-tw-`` (to it: ingress), per policy ``cali-po-`` and
``cali-pi-``. A policy that admits sets the accept mark; what is marked returns and meets the
node's other rules, the rest is dropped. Only isolated directions get a chain. Every comment names
the object that the rule comes from. Each family has its own chains, which differ in addresses only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from podwire.api import selectors
from podwire.api.views import (
    Namespace,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    Pod,
)
from podwire.api.views.pod import PodIP
from podwire.cni.calico import ipvs as forwarded
from podwire.cni.calico.peers import (
    Network,
    PortMatch,
    Workload,
    World,
    addresses,
    inside,
    namespace_labels,
    networks,
    port_matches,
    workloads,
)
from podwire.cni.iptables import chains, quoted

ACCEPT_MARK = "0x10000/0x10000"
CLEAR_MARK = "0x0/0x10000"
MAX_CHAIN = 28
MAX_COMMENT = 255
FORWARD, INPUT, OUTPUT = "cali-FORWARD", "cali-INPUT", "cali-OUTPUT"
FROM_WL, TO_WL, WL_TO_HOST = "cali-from-wl-dispatch", "cali-to-wl-dispatch", "cali-wl-to-host"
PREFIX = "cali-"
HOOKS = (("FORWARD", FORWARD), ("INPUT", INPUT), ("OUTPUT", OUTPUT))

Chains = dict[str, tuple[str, ...]]
"""Rules (without ``-A CHAIN``) by chain."""


def device_of(workload: Workload) -> str:
    """``cali<11 hex>``: what Calico calls a workload's device on the node."""
    name = workload.key.replace("/", ".", 1)
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return f"cali{digest[:11]}"


def endpoint_chain(prefix: str, workload: Workload) -> str:
    """``cali-tw-cali<11 hex>``."""
    return f"{prefix}{device_of(workload)}"


def policy_chain(prefix: str, key: str) -> str:
    """``cali-pi-_<base64url of SHA-256>``, 28 characters."""
    namespace, _, name = key.partition("/")
    digest = hashlib.sha256(f"{namespace}/knp.default.{name}".encode()).digest()
    return f"{prefix}_{base64.urlsafe_b64encode(digest).decode()}"[:MAX_CHAIN]


class Endpoint(msgspec.Struct, frozen=True):
    """A pod that the CNI plugin just plugged in, and its addresses, the primary one first."""

    namespace: str
    pod: str
    ips: list[str]


def with_endpoints(pods: Iterable[Pod], endpoints: Iterable[Endpoint]) -> list[Pod]:
    """The pods, with the addresses of their newest endpoints instead of their status'."""
    known = {f"{e.namespace}/{e.pod}": e.ips for e in endpoints}
    if not known:
        return list(pods)
    return [_moved(pod, known.get(pod.key, [])) for pod in pods]


def _moved(pod: Pod, ips: Sequence[str]) -> Pod:
    if not ips or addresses(pod) == ips:
        return pod
    status = replace(pod.status, pod_ip=ips[0], pod_ips=[PodIP(ip=ip) for ip in ips])
    return replace(pod, status=status)


@dataclass(frozen=True, slots=True)
class _Selected:
    """A policy and the local workloads that it isolates, by direction."""

    policy: NetworkPolicy
    ingress: tuple[Workload, ...]
    egress: tuple[Workload, ...]


@dataclass(slots=True)
class _Isolation:
    """What isolates one workload."""

    workload: Workload
    ingress: list[NetworkPolicy] = field(default_factory=list)
    egress: list[NetworkPolicy] = field(default_factory=list)


def build(
    node: str,
    pods: Iterable[Pod],
    namespaces: Iterable[Namespace],
    policies: Iterable[NetworkPolicy],
    version: int = 4,
    *,
    ipvs: bool = False,
) -> Chains:
    """All chains of a node for a family; ``ipvs``: kube-proxy's packets pass INPUT and OUTPUT."""
    world = World(workloads(pods, version), namespace_labels(namespaces), version)
    local = [w for w in world.workloads if w.node == node]
    selected = [_select(p, local) for p in sorted(policies, key=lambda p: p.key)]
    selected = [s for s in selected if s.ingress or s.egress]
    isolated: dict[str, _Isolation] = {}
    for entry in selected:
        for workload in entry.ingress:
            isolated.setdefault(workload.key, _Isolation(workload)).ingress.append(entry.policy)
        for workload in entry.egress:
            isolated.setdefault(workload.key, _Isolation(workload)).egress.append(entry.policy)
    ordered = [isolated[key] for key in sorted(isolated)]
    made: Chains = _top_level(ordered, version, ipvs=ipvs)
    for entry in selected:
        made.update(_policy_chains(entry, world))
    for one in ordered:
        if one.egress:
            name = endpoint_chain("cali-fw-", one.workload)
            made[name] = _endpoint(one.workload, one.egress, "cali-po-")
        if one.ingress:
            name = endpoint_chain("cali-tw-", one.workload)
            made[name] = _endpoint(one.workload, one.ingress, "cali-pi-")
    return made


def _select(policy: NetworkPolicy, local: Sequence[Workload]) -> _Selected:
    spec, namespace = policy.spec, policy.metadata.namespace
    wanted = selectors.compile(spec.pod_selector)
    chosen = tuple(
        w for w in local if w.namespace == namespace and wanted.matches(w.pod.metadata.labels)
    )
    types = spec.policy_types or (["Ingress", "Egress"] if spec.egress else ["Ingress"])
    return _Selected(
        policy, chosen if "Ingress" in types else (), chosen if "Egress" in types else ()
    )


def _top_level(isolated: Sequence[_Isolation], version: int, *, ipvs: bool) -> Chains:
    known = (
        "-m conntrack --ctstate RELATED,ESTABLISHED "
        f"{quoted('podwire:replies of allowed connections')} -j ACCEPT"
    )
    neighbours = _neighbours() if version == 6 else ()
    senders = [i.workload for i in isolated if i.egress]
    receivers = [i.workload for i in isolated if i.ingress]
    made: Chains = {
        FORWARD: (known, *neighbours, f"-j {FROM_WL}", f"-j {TO_WL}"),
        INPUT: (known, *(forwarded.INPUT_HEAD if ipvs else ()), f"-j {WL_TO_HOST}"),
        OUTPUT: (
            *(forwarded.OUTPUT_HEAD if ipvs else ()),
            f"{quoted('podwire:a node always reaches its own pods')} -j RETURN",
        ),
        WL_TO_HOST: (*neighbours, f"-j {FROM_WL}"),
        FROM_WL: tuple(
            f"-s {w.network} {quoted(f'podwire:pod {w.key}')} -j {endpoint_chain('cali-fw-', w)}"
            for w in senders
        ),
        TO_WL: tuple(
            f"-d {w.network} {quoted(f'podwire:pod {w.key}')} -j {endpoint_chain('cali-tw-', w)}"
            for w in receivers
        ),
    }
    if ipvs:
        marked = [(device_of(w), f"-s {w.network}", endpoint_chain("cali-fw-", w)) for w in senders]
        made.update(forwarded.chains(version, marked, TO_WL))
    return made


def _neighbours() -> tuple[str, ...]:
    """What a router must hear of its neighbours, whatever the policies (felix: ICMPv6Filter): of
    multicast listeners, routers and neighbours. Pods behind a bridge are each other's, too.
    """
    return tuple(
        f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"
        for kind in (130, 131, 132, 133, 135, 136)
    )


def _endpoint(workload: Workload, policies: list[NetworkPolicy], prefix: str) -> tuple[str, ...]:
    """A workload's chain: itself, then each policy, then the end."""
    ip = workload.network
    rules = [
        f"-s {ip} -d {ip} {quoted('podwire:a pod cannot block itself')} -j RETURN",
        f"-j MARK --set-xmark {CLEAR_MARK}",
    ]
    for policy in policies:
        comment = quoted(f"podwire:networkpolicy {policy.key}")
        rules.extend((
            f"{comment} -j {policy_chain(prefix, policy.key)}",
            f"-m mark --mark {ACCEPT_MARK} -j RETURN",
        ))  # fmt: skip
    rules.append(f"{quoted(isolated_comment(workload.key, policies))} -j DROP")
    return tuple(rules)


def isolated_comment(pod: str, policies: Sequence[NetworkPolicy]) -> str:
    """``podwire:isolated ns/pod by ns/a,ns/b``; policies that do not fit are left out."""
    text = f"podwire:isolated {pod} by {policies[0].key}"
    for policy in policies[1:]:
        if len(text) + len(policy.key) + 1 > MAX_COMMENT:
            break
        text += f",{policy.key}"
    return text


def _policy_chains(entry: _Selected, world: World) -> Chains:
    spec, key = entry.policy.spec, entry.policy.key
    made: Chains = {}
    if entry.ingress:
        rules: list[str] = []
        for index, rule in enumerate(spec.ingress):
            comment = quoted(f"podwire:networkpolicy {key} ingress[{index}]")
            rules.extend(_ingress(entry, rule.from_, rule.ports, world, comment))
        made[policy_chain("cali-pi-", key)] = tuple(rules)
    if entry.egress:
        rules = []
        for index, out in enumerate(spec.egress):
            comment = quoted(f"podwire:networkpolicy {key} egress[{index}]")
            rules.extend(_egress(entry, out.to, out.ports, world, comment))
        made[policy_chain("cali-po-", key)] = tuple(rules)
    return made


def _ingress(
    entry: _Selected,
    peers: Sequence[NetworkPolicyPeer],
    ports: Sequence[NetworkPolicyPort],
    world: World,
    comment: str,
) -> list[str]:
    """Sources come from the peers; a named port is that of each local workload."""
    sources = networks(peers, entry.policy.metadata.namespace, world)
    found: list[str] = []
    for match in port_matches(ports, entry.ingress):
        limits: Sequence[Network | None] = (None,)
        if match is not None and match.destinations is not None:
            limits = match.destinations
        for source in (None,) if sources is None else sources:
            found.extend(_mark(source, destination, match, comment) for destination in limits)
    return _ended(found)


def _egress(
    entry: _Selected,
    peers: Sequence[NetworkPolicyPeer],
    ports: Sequence[NetworkPolicyPort],
    world: World,
    comment: str,
) -> list[str]:
    """Destinations come from the peers; a named port is that of each destination pod."""
    allowed = networks(peers, entry.policy.metadata.namespace, world)
    found: list[str] = []
    for match in port_matches(ports, world.workloads):
        destinations: Sequence[Network | None] = (None,) if allowed is None else allowed
        if match is not None and match.destinations is not None:
            serving = match.destinations
            destinations = serving if allowed is None else inside(serving, allowed)
        found.extend(_mark(None, destination, match, comment) for destination in destinations)
    return _ended(found)


def _mark(
    source: Network | None,
    destination: Network | None,
    match: PortMatch | None,
    comment: str,
) -> str:
    parts = []
    if source is not None and source.prefixlen:
        parts.append(f"-s {source}")
    if destination is not None and destination.prefixlen:
        parts.append(f"-d {destination}")
    if match is not None:
        parts.append(f"-p {match.protocol}")
    parts.append(comment)
    if match is not None and match.ports:
        parts.append(f"-m {match.protocol} --dport {match.ports}")
    parts.append(f"-j MARK --set-xmark {ACCEPT_MARK}")
    return " ".join(parts)


def _ended(rules: list[str]) -> list[str]:
    return [*dict.fromkeys(rules), f"-m mark --mark {ACCEPT_MARK} -j RETURN"] if rules else []


@dataclass(frozen=True, slots=True)
class Update:
    """One restore input, and what it leads to."""

    text: str
    rules: int
    chains: Chains


def update(programmed: Mapping[str, tuple[str, ...]], wanted: Chains) -> Update | None:
    """The transaction from one set of chains to another; None when they are equal."""
    changed = [name for name in wanted if programmed.get(name) != wanted[name]]
    stale = [name for name in programmed if name not in wanted]
    if not changed and not stale:
        return None
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*changed, *stale))]
    lines.extend(f"-A {name} {rule}" for name in changed for rule in wanted[name])
    lines.extend(f"-X {name}" for name in stale)
    lines.append("COMMIT\n")
    return Update("\n".join(lines), sum(len(wanted[name]) for name in changed), wanted)


def full_text(
    node: str,
    pods: Iterable[Pod],
    namespaces: Iterable[Namespace],
    policies: Iterable[NetworkPolicy],
    version: int = 4,
    *,
    ipvs: bool = False,
) -> str:
    """What the agent of a node would program for these objects, whatever is there already."""
    made = update({}, build(node, pods, namespaces, policies, version, ipvs=ipvs))
    assert made is not None, "the top-level chains are always there"
    return made.text


def hook_text(saved: Sequence[str]) -> str:
    """Input that puts the agent's jumps first in their chains, or "" when they are."""
    present = chains(saved)
    rules: list[str] = []
    declared: list[str] = []
    for base, chain in HOOKS:
        own = [line for line in saved if line.startswith(f"-A {base} ")]
        if own and own[0].endswith(f"-j {chain}"):
            continue
        rules.extend(line.replace("-A", "-D", 1) for line in own if line.endswith(f"-j {chain}"))
        rules.append(f"-I {base} -j {chain}")
        if chain not in present:
            declared.append(f":{chain} - [0:0]")
    if not rules:
        return ""
    return "\n".join(("*filter", *declared, *rules, "COMMIT\n"))


def leftovers(saved: Sequence[str]) -> Chains:
    """The agent's chains that a kernel holds from an earlier life, with their rules unknown."""
    return {name: ("?",) for name in chains(saved) if name.startswith(PREFIX)}
