"""From pieces to iptables-restore input: the whole rule set, or only what changed.

Source: kubernetes pkg/proxy/iptables/proxier.go (syncProxyRules, jump chains, canaries).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from podwire.kube_proxy.modes.iptables.rules import EXTERNAL, KUBELET_FIREWALL, NODE_PORTS, Piece
from podwire.kube_proxy.modes.iptables.settings import Settings

CANARY = "KUBE-PROXY-CANARY"
CANARY_TABLES = ("mangle", "nat", "filter")
OWN_CHAINS = (
    SERVICES, EXTERNAL, NODE_PORTS, POSTROUTING, MARK_MASQ, FORWARD, PROXY_FIREWALL,
    KUBELET_FIREWALL, CANARY,
)  # fmt: skip
_MARKERS = (f":{EXTERNAL} ", f":{NODE_PORTS} ")
"""Chains that only this mode makes: ipvs mode has a KUBE-SERVICES, too."""
OWN_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")

_NEW = "-m conntrack --ctstate NEW "
_PORTALS = '-m comment --comment "kubernetes service portals"'
_VISIBLE = '-m comment --comment "kubernetes externally-visible service portals"'
_GUARD = '-m comment --comment "kubernetes load balancer firewall"'

JUMPS: tuple[tuple[str, str, str, str], ...] = (
    ("filter", "INPUT", EXTERNAL, f"{_NEW}{_VISIBLE}"),
    ("filter", "FORWARD", EXTERNAL, f"{_NEW}{_VISIBLE}"),
    ("filter", "INPUT", NODE_PORTS, '-m comment --comment "kubernetes health check service ports"'),
    ("filter", "FORWARD", SERVICES, f"{_NEW}{_PORTALS}"),
    ("filter", "OUTPUT", SERVICES, f"{_NEW}{_PORTALS}"),
    ("filter", "FORWARD", FORWARD, '-m comment --comment "kubernetes forwarding rules"'),
    ("filter", "INPUT", PROXY_FIREWALL, f"{_NEW}{_GUARD}"),
    ("filter", "OUTPUT", PROXY_FIREWALL, f"{_NEW}{_GUARD}"),
    ("filter", "FORWARD", PROXY_FIREWALL, f"{_NEW}{_GUARD}"),
    ("nat", "OUTPUT", SERVICES, _PORTALS),
    ("nat", "PREROUTING", SERVICES, _PORTALS),
    ("nat", "POSTROUTING", POSTROUTING, '-m comment --comment "kubernetes postrouting rules"'),
    ("filter", "INPUT", KUBELET_FIREWALL, ""),
    ("filter", "OUTPUT", KUBELET_FIREWALL, ""),
)
"""(table, from, to, match): each is inserted at the head, so the last of a chain comes first."""


def jump_text(saved: Mapping[str, Sequence[str]]) -> str:
    """Input that adds the jumps and canaries that ``saved`` (lines per table) lacks, or ""."""
    out: list[str] = []
    for table in CANARY_TABLES:
        lines = saved.get(table, ())
        chains = chains_of(lines)
        missing = [CANARY] if CANARY not in chains else []
        rules = []
        for of, source, target, match in JUMPS:
            if of != table or _jumps(lines, source, target):
                continue
            if target not in chains and target not in missing:
                missing.append(target)
            rules.append(f"-I {source} {match} -j {target}".replace("  ", " "))
        if missing or rules:
            out.extend((f"*{table}", *(f":{c} - [0:0]" for c in missing), *rules, "COMMIT"))
    return "\n".join(out) + "\n" if out else ""


def _jumps(lines: Sequence[str], source: str, target: str) -> bool:
    return any(line.startswith(f"-A {source} ") and line.endswith(f"-j {target}") for line in lines)


def restore_text(
    pieces: Sequence[Piece],
    changed: Sequence[Piece],
    stale: Sequence[str],
    settings: Settings,
    node_port_ips: Sequence[str],
) -> str:
    """One restore input: top-level chains always, own chains of ``changed`` only, ``stale``
    chains emptied and deleted.
    """
    return "".join((
        _filter_head(settings),
        *[piece.filter for piece in pieces],
        _filter_tail(settings),
        _nat_head(),
        *[piece.declared for piece in changed],
        *(f":{chain} - [0:0]\n" for chain in stale),
        _lines(masquerading(settings.mark, random_fully=settings.random_fully)),
        *[piece.top for piece in pieces],
        *[piece.rules for piece in changed],
        *(f"-X {chain}\n" for chain in stale),
        _node_port_jump(settings, node_port_ips),
        "COMMIT\n",
    ))  # fmt: skip


def fixed_rules(settings: Settings, node_port_ips: Sequence[str]) -> tuple[int, int]:
    """How many rules every input carries besides those of the service ports: filter, nat."""
    own = int(settings.localhost_node_ports) + int(not settings.tcp_be_liberal) + 2
    return own, 4 + (1 if settings.node_port_cidrs is None else len(node_port_ips))


def _filter_head(settings: Settings) -> str:
    chains = [SERVICES, EXTERNAL, FORWARD, NODE_PORTS, PROXY_FIREWALL]
    guard = ""
    if settings.localhost_node_ports:
        chains.append(KUBELET_FIREWALL)
        guard = (
            f'-A {KUBELET_FIREWALL} -m comment --comment "block incoming localnet connections" '
            "-d 127.0.0.0/8 ! -s 127.0.0.0/8 "
            "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
        )
    return "*filter\n" + "".join(f":{chain} - [0:0]\n" for chain in chains) + guard


def _filter_tail(settings: Settings) -> str:
    counter = "-m nfacct --nfacct-name ct_state_invalid_dropped_pkts " if settings.nfacct else ""
    invalid = f"-A {FORWARD} -m conntrack --ctstate INVALID {counter}-j DROP\n"
    guard = "" if settings.tcp_be_liberal else invalid
    return f"{guard}{_lines(forwarding(settings.mark))}COMMIT\n"


def _nat_head() -> str:
    chains = (SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ)
    return "*nat\n" + "".join(f":{chain} - [0:0]\n" for chain in chains)


def _lines(rules: Sequence[str]) -> str:
    return "".join(f"{rule}\n" for rule in rules)


def _node_port_jump(settings: Settings, ips: Sequence[str]) -> str:
    head = (
        f'-A {SERVICES} -m comment --comment "kubernetes service nodeports; NOTE: '
        'this must be the last rule in this chain"'
    )
    if settings.node_port_cidrs is None:
        loopback = f" {settings.not_loopback}" if settings.not_loopback else ""
        return f"{head} -m addrtype --dst-type LOCAL{loopback} -j {NODE_PORTS}\n"
    return "".join(f"{head} -d {ip} -j {NODE_PORTS}\n" for ip in ips)


def cleanup_text(saved: Mapping[str, Sequence[str]]) -> str:
    """Input that takes away all this mode made, or "" when nothing of it is there.

    Source: CleanupLeftovers. The chains are emptied and deleted with the jumps to them;
    KUBE-FIREWALL, which kubelet makes too, loses nothing but kube-proxy's rule.
    """
    everything = [line for lines in saved.values() for line in lines]
    if not any(line.startswith(_MARKERS) for line in everything):
        return ""
    out: list[str] = []
    for table in CANARY_TABLES:
        lines = saved.get(table, ())
        chains = chains_of(lines)
        own = [c for c in chains if c in OWN_CHAINS or c.startswith(OWN_PREFIXES)]
        if not own:
            continue
        rules = [line for line in lines if line.startswith("-A ")]
        jumps = [
            line for line in rules if line.split(" ", 2)[1] not in own and _target(line) in own
        ]
        out.append(f"*{table}")
        out.extend(f":{chain} - [0:0]" for chain in own)
        out.extend("-D " + line.removeprefix("-A ") for line in jumps)
        out.extend(f"-X {chain}" for chain in own)
        out.append("COMMIT")
    return "\n".join(out) + "\n" if out else ""


def _target(rule: str) -> str:
    words = rule.rsplit(" -j ", 1)
    return words[1].split(" ", 1)[0] if len(words) == 2 else ""
