"""The iptables rules of the mode: a fixed frame, and a rule per set that has members.

Source: pkg/proxy/ipvs/proxier.go (iptablesJumpChain, iptablesChains, writeIptablesRules). The order
of words in a rule is upstream's own, so that goldens can be compared line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from podwire.kube_proxy.addresses import LOOPBACK
from podwire.kube_proxy.iptables import (
    FORWARD,
    MARK_MASQ,
    POSTROUTING,
    PROXY_FIREWALL,
    SERVICES,
    chains_of,
    forwarding,
    masquerading,
)
from podwire.kube_proxy.modes.ipvs import sets
from podwire.kube_proxy.modes.ipvs.settings import Settings

NODE_PORT = "KUBE-NODE-PORT"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
SOURCE_RANGES = "KUBE-SOURCE-RANGES-FIREWALL"
FILTER = "KUBE-IPVS-FILTER"
OUT_FILTER = "KUBE-IPVS-OUT-FILTER"

CHAINS = {
    "nat": (SERVICES, POSTROUTING, NODE_PORT, LOAD_BALANCER, MARK_MASQ),
    "filter": (FORWARD, NODE_PORT, PROXY_FIREWALL, SOURCE_RANGES, FILTER, OUT_FILTER),
}
MARKERS = (f":{LOAD_BALANCER} ", f":{FILTER} ")
"""Chains that only this mode makes."""
JUMPS: tuple[tuple[str, str, str, str], ...] = (
    ("nat", "OUTPUT", SERVICES, "kubernetes service portals"),
    ("nat", "PREROUTING", SERVICES, "kubernetes service portals"),
    ("nat", "POSTROUTING", POSTROUTING, "kubernetes postrouting rules"),
    ("filter", "FORWARD", FORWARD, "kubernetes forwarding rules"),
    ("filter", "INPUT", NODE_PORT, "kubernetes health check rules"),
    ("filter", "INPUT", PROXY_FIREWALL, "kube-proxy firewall rules"),
    ("filter", "FORWARD", PROXY_FIREWALL, "kube-proxy firewall rules"),
    ("filter", "INPUT", FILTER, "kubernetes ipvs access filter"),
    ("filter", "OUTPUT", OUT_FILTER, "kubernetes ipvs access filter"),
)
"""(table, from, to, comment): each is inserted at the head, so the last of a chain comes first."""

_LOOKUPS: tuple[tuple[str, str, str, str, str, str], ...] = (
    (sets.LOOP_BACK, "nat", POSTROUTING, "MASQUERADE", "dst,dst,src", ""),
    (sets.LOAD_BALANCER, "nat", SERVICES, LOAD_BALANCER, "dst,dst", ""),
    (sets.LOAD_BALANCER_LOCAL, "nat", LOAD_BALANCER, "RETURN", "dst,dst", ""),
    (sets.NODE_PORT_LOCAL["tcp"], "nat", NODE_PORT, "RETURN", "dst", "tcp"),
    (sets.NODE_PORT["tcp"], "nat", NODE_PORT, MARK_MASQ, "dst", "tcp"),
    (sets.NODE_PORT_LOCAL["udp"], "nat", NODE_PORT, "RETURN", "dst", "udp"),
    (sets.NODE_PORT["udp"], "nat", NODE_PORT, MARK_MASQ, "dst", "udp"),
    (sets.NODE_PORT_LOCAL["sctp"], "nat", NODE_PORT, "RETURN", "dst,dst", "sctp"),
    (sets.NODE_PORT["sctp"], "nat", NODE_PORT, MARK_MASQ, "dst,dst", "sctp"),
    (sets.LOAD_BALANCER_FW, "filter", PROXY_FIREWALL, SOURCE_RANGES, "dst,dst", ""),
    (sets.SOURCE_CIDR, "filter", SOURCE_RANGES, "RETURN", "dst,dst,src", ""),
    (sets.SOURCE_IP, "filter", SOURCE_RANGES, "RETURN", "dst,dst,src", ""),
)
"""(set, table, chain, target, sides, protocol) of rules that exist while the set has members."""


class _Frame:
    """The lines of both tables."""

    def __init__(self, settings: Settings, has: Callable[[str], bool]) -> None:
        self.settings, self.has = settings, has
        self.nat: list[str] = []
        self.filter: list[str] = []

    def match(self, name: str, sides: str) -> str:
        """``-m set --match-set NAME dst,dst``."""
        return f"-m set --match-set {sets.name_of(name, self.settings.family)} {sides}"

    def comment(self, name: str) -> str:
        """The set's comment."""
        return f'-m comment --comment "{sets.SETS[name].comment}"'

    def lookups(self) -> None:
        """A rule for each set with members."""
        for name, table, chain, target, sides, protocol in _LOOKUPS:
            if self.has(name):
                proto = f"-p {protocol} " if protocol else ""
                lines = self.nat if table == "nat" else self.filter
                lines.append(
                    f"-A {chain} {proto}{self.comment(name)} {self.match(name, sides)} -j {target}"
                )

    def cluster_ips(self) -> None:
        """Which traffic to cluster IPs is masqueraded."""
        if not self.has(sets.CLUSTER_IP):
            return
        head = f"-A {SERVICES} {self.comment(sets.CLUSTER_IP)}"
        match = self.match(sets.CLUSTER_IP, "dst,dst")
        if self.settings.masquerade_all:
            self.nat.append(f"{head} {match} -j {MARK_MASQ}")
        elif self.settings.not_local:
            self.nat.append(f"{head} {match} {self.settings.not_local} -j {MARK_MASQ}")
        else:
            # who is in the cluster is unknown; the node's own packets have a VIP as their source
            self.nat.append(f"{head} {self.match(sets.CLUSTER_IP, 'src,dst')} -j {MARK_MASQ}")

    def external_ips(self) -> None:
        """Traffic to external IPs from other machines, or held by this one, is accepted."""
        for name, masquerade in ((sets.EXTERNAL_IP, True), (sets.EXTERNAL_IP_LOCAL, False)):
            if not self.has(name):
                continue
            head = f"-A {SERVICES} {self.comment(name)} {self.match(name, 'dst,dst')}"
            if masquerade:
                self.nat.append(f"{head} -j {MARK_MASQ}")
            self.nat.append(
                f"{head} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT"
            )
            self.nat.append(f"{head} -m addrtype --dst-type LOCAL -j ACCEPT")

    def nodes(self, guarded: Sequence[tuple[str, str, int]]) -> None:
        """NodePorts, load balancers' marks, and what nodes must not reach."""
        self.nat.append(f"-A {SERVICES} -m addrtype --dst-type LOCAL -j {NODE_PORT}")
        self.nat.append(f"-A {LOAD_BALANCER} -j {MARK_MASQ}")
        self.filter.append(f"-A {SOURCE_RANGES} -j DROP")
        self.filter.extend(
            f"-A {OUT_FILTER} -s {ip} -m ipvs --vaddr {ip} --vproto {protocol} --vport {port} "
            "-j DROP"
            for ip, protocol, port in guarded
        )
        self.nat.extend(
            f"-A {SERVICES} {self.match(name, 'dst,dst')} -j ACCEPT"
            for name in (sets.CLUSTER_IP, sets.LOAD_BALANCER)
            if self.has(name)
        )

    def filters(self) -> None:
        """What may be forwarded; what may reach ports of the host through a service's address."""
        self.filter += forwarding(self.settings.mark)
        self.filter.append(
            f"-A {NODE_PORT} {self.comment(sets.HEALTH_CHECK)} "
            f"{self.match(sets.HEALTH_CHECK, 'dst')} -j ACCEPT"
        )
        self.filter += [
            f"-A {FILTER} {self.match(name, sides)} -j RETURN"
            for name, sides in (
                (sets.LOAD_BALANCER, "dst,dst"),
                (sets.CLUSTER_IP, "dst,dst"),
                (sets.EXTERNAL_IP, "dst,dst"),
                (sets.EXTERNAL_IP_LOCAL, "dst,dst"),
                (sets.HEALTH_CHECK, "dst"),
            )
        ]
        self.filter.append(
            f"-A {FILTER} -m conntrack --ctstate NEW {self.match(sets.IPVS_IPS, 'dst')} -j REJECT"
        )


def restore_text(
    settings: Settings, has: Callable[[str], bool], guarded: Sequence[tuple[str, str, int]]
) -> tuple[str, int]:
    """The restore input of a sync, and how many rules it carries."""
    frame = _Frame(settings, has)
    frame.nat.append(f"-A {SERVICES} -s {LOOPBACK[settings.family]} -j RETURN")
    frame.lookups()
    frame.cluster_ips()
    frame.external_ips()
    frame.nodes(guarded)
    frame.filters()
    frame.nat += masquerading(settings.mark, random_fully=settings.random_fully)
    out = []
    for table, lines in (("nat", frame.nat), ("filter", frame.filter)):
        out.append(f"*{table}\n")
        out.extend(f":{chain} - [0:0]\n" for chain in CHAINS[table])
        out.extend(f"{line}\n" for line in lines)
        out.append("COMMIT\n")
    return "".join(out), len(frame.nat) + len(frame.filter)


def jump_text(saved: Mapping[str, Sequence[str]]) -> str:
    """Input that adds the jumps which ``saved`` (lines per table) lacks, or ""."""
    out: list[str] = []
    for table, chains in CHAINS.items():
        lines = saved.get(table, ())
        rules = [
            f'-I {source} -m comment --comment "{comment}" -j {target}'
            for of, source, target, comment in JUMPS
            if of == table and not _jumps(lines, source, target, comment)
        ]
        if rules:
            have = chains_of(lines)
            missing = [f":{chain} - [0:0]" for chain in chains if chain not in have]
            out.extend((f"*{table}", *missing, *rules, "COMMIT"))
    return "\n".join(out) + "\n" if out else ""


def _jumps(lines: Sequence[str], source: str, target: str, comment: str) -> bool:
    rule = f'-A {source} -m comment --comment "{comment}" -j {target}'
    return rule in lines


def cleanup_text(saved: Mapping[str, Sequence[str]]) -> str:
    """Input that takes away all chains of the mode and the jumps to them, or "" when none of its
    own is there (cleanupIptablesLeftovers).
    """
    everything = [line for lines in saved.values() for line in lines]
    if not any(line.startswith(MARKERS) for line in everything):
        return ""
    out: list[str] = []
    for table, chains in CHAINS.items():
        lines = saved.get(table, ())
        have = chains_of(lines)
        own = [chain for chain in chains if chain in have]
        if not own:
            continue
        out.append(f"*{table}")
        out.extend(f":{chain} - [0:0]" for chain in own)
        out.extend(
            f'-D {source} -m comment --comment "{comment}" -j {target}'
            for of, source, target, comment in JUMPS
            if of == table and _jumps(lines, source, target, comment)
        )
        out.extend(f"-X {chain}" for chain in own)
        out.append("COMMIT")
    return "\n".join(out) + "\n" if out else ""
