"""From pieces to iptables-restore input: the whole rule set, or only what changed.

Source: kubernetes pkg/proxy/iptables/proxier.go (syncProxyRules, jump chains, canaries).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from podwire.kube_proxy.rules import (
    EXTERNAL,
    FORWARD,
    KUBELET_FIREWALL,
    MARK_MASQ,
    NODE_PORTS,
    POSTROUTING,
    PROXY_FIREWALL,
    SERVICES,
    Piece,
    Settings,
)

CANARY = "KUBE-PROXY-CANARY"
CANARY_TABLES = ("mangle", "nat", "filter")
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
        chains = [line[1:].split(" ", 1)[0] for line in lines if line.startswith(":")]
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
    changed: Iterable[Piece],
    stale: Sequence[str],
    settings: Settings,
) -> str:
    """One restore input: top-level chains always, own chains of ``changed`` only, ``stale``
    chains emptied and deleted.
    """
    changed = list(changed)
    return "".join((
        _filter_head(),
        *(piece.filter for piece in pieces),
        _filter_tail(settings),
        _nat_head(),
        *(f":{chain} - [0:0]\n" for piece in changed for chain in piece.chains),
        *(f":{chain} - [0:0]\n" for chain in stale),
        _masquerading(settings),
        *(piece.top for piece in pieces),
        *(piece.rules for piece in changed),
        _node_port_jump(settings),
        *(f"-X {chain}\n" for chain in stale),
        "COMMIT\n",
    ))  # fmt: skip


def _filter_head() -> str:
    chains = (SERVICES, EXTERNAL, FORWARD, NODE_PORTS, PROXY_FIREWALL, KUBELET_FIREWALL)
    return "*filter\n" + "".join(f":{chain} - [0:0]\n" for chain in chains)


def _filter_tail(settings: Settings) -> str:
    guard = ""
    if settings.localhost_node_ports:
        guard = (
            f'-A {KUBELET_FIREWALL} -m comment --comment "block incoming localnet connections" '
            "-d 127.0.0.0/8 ! -s 127.0.0.0/8 "
            "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
        )
    mark = f"{settings.mark}/{settings.mark}"
    return (
        f"{guard}-A {FORWARD} -m conntrack --ctstate INVALID -j DROP\n"
        f'-A {FORWARD} -m comment --comment "kubernetes forwarding rules" '
        f"-m mark --mark {mark} -j ACCEPT\n"
        f'-A {FORWARD} -m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )


def _nat_head() -> str:
    chains = (SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ)
    return "*nat\n" + "".join(f":{chain} - [0:0]\n" for chain in chains)


def _masquerading(settings: Settings) -> str:
    random = " --random-fully" if settings.random_fully else ""
    return (
        f"-A {POSTROUTING} -m mark ! --mark {settings.mark}/{settings.mark} -j RETURN\n"
        f"-A {POSTROUTING} -j MARK --xor-mark {settings.mark}\n"
        f'-A {POSTROUTING} -m comment --comment "kubernetes service traffic requiring SNAT" '
        f"-j MASQUERADE{random}\n"
        f"-A {MARK_MASQ} -j MARK --or-mark {settings.mark}\n"
    )


def _node_port_jump(settings: Settings) -> str:
    comment = (
        '-m comment --comment "kubernetes service nodeports; NOTE: '
        'this must be the last rule in this chain"'
    )
    if settings.node_port_ips is None:
        loopback = "" if settings.localhost_node_ports else " ! -d 127.0.0.0/8"
        return f"-A {SERVICES} {comment} -m addrtype --dst-type LOCAL{loopback} -j {NODE_PORTS}\n"
    return "".join(
        f"-A {SERVICES} {comment} -d {ip} -j {NODE_PORTS}\n" for ip in settings.node_port_ips
    )


FIXED_RULES = 9
"""Rules that every restore input carries besides those of the service ports (about)."""
