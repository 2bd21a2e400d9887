"""What a table of kube-proxy holds before any Service: base chains, sets, maps, fixed rules.

Source: kubernetes pkg/proxy/nftables/proxier.go (setupNFTables).
"""

from __future__ import annotations

from functools import lru_cache

from podwire.kube_proxy.modes.nftables.rules import CONTAINERS, TABLE
from podwire.kube_proxy.modes.nftables.settings import Settings

BASE_CHAINS = (
    ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
    ("filter-output-pre-dnat", "filter", "output", -110),
    ("filter-input", "filter", "input", 0),
    ("filter-forward", "filter", "forward", 0),
    ("filter-output", "filter", "output", 0),
    ("nat-prerouting", "nat", "prerouting", -100),
    ("nat-output", "nat", "output", -100),
    ("nat-postrouting", "nat", "postrouting", 100),
)
NO_SERVICES_COMMENT = "vmap to drop or reject packets to services with no endpoints"
NO_NODE_PORTS_COMMENT = "vmap to drop or reject packets to service nodeports with no endpoints"
FIREWALL_COMMENT = "destinations that are subject to LoadBalancerSourceRanges"
SERVICES_COMMENT = "ClusterIP, ExternalIP and LoadBalancer IP traffic"
REJECT_COMMENT = "helper for @no-endpoint-services / @no-endpoint-nodeports"
INVALID_COMMENT = "Reject traffic to invalid ports of ClusterIPs"
JUMPS = (
    ("nodeport-endpoints-check", "filter-input", "ct state new "),
    ("service-endpoints-check", "filter-input", "ct state new "),
    ("service-endpoints-check", "filter-forward", "ct state new "),
    ("service-endpoints-check", "filter-output", "ct state new "),
    ("firewall-check", "filter-prerouting-pre-dnat", "ct state new "),
    ("firewall-check", "filter-output-pre-dnat", "ct state new "),
    ("services", "nat-output", ""),
    ("services", "nat-prerouting", ""),
    ("masquerading", "nat-postrouting", ""),
    ("cluster-ips-check", "filter-forward", "ct state new "),
    ("cluster-ips-check", "filter-output", "ct state new "),
)


@lru_cache(maxsize=64)
def setup_text(
    settings: Settings, service_cidrs: tuple[str, ...], *, first: bool
) -> tuple[str, int]:
    """The lines, and how many changes they are. ``first``: base chains are made anew."""
    lines: list[str] = []
    table = f"{settings.ip} {TABLE}"
    lines.append(f'add table {table} {{ comment "rules for kube-proxy" ; }}')
    if first:
        for name, *_ in BASE_CHAINS:
            lines += [f"add chain {table} {name}", f"delete chain {table} {name}"]
    for name, kind, hook, priority in BASE_CHAINS:
        lines.append(
            f"add chain {table} {name} {{ type {kind} hook {hook} priority {priority} ; }}"
        )
        lines.append(f"flush chain {table} {name}")
    made: dict[str, None] = {}
    for chain, base, condition in JUMPS:
        _ensure(lines, table, made, chain)
        lines.append(f"add rule {table} {base} {condition}jump {chain}")
    for chain in ("services", "cluster-ips-check", "masquerading", "mark-for-masquerade"):
        _ensure(lines, table, made, chain)
    lines += _masquerade(table, settings)
    lines += _cluster_ips(table, settings, service_cidrs)
    lines += _maps(table, settings)
    lines += _dispatch(table, settings, made)
    lines += [
        f"flush {'set' if name == 'cluster-ips' else 'map'} {table} {name}" for name in CONTAINERS
    ]
    return "".join(f"{line}\n" for line in lines), len(lines)


def _ensure(lines: list[str], table: str, made: dict[str, None], chain: str) -> None:
    if chain not in made:
        made[chain] = None
        lines += [f"add chain {table} {chain}", f"flush chain {table} {chain}"]


def _masquerade(table: str, settings: Settings) -> list[str]:
    mark = settings.mark
    return [
        f"add rule {table} mark-for-masquerade mark set mark or {mark}",
        f"add rule {table} masquerading mark and {mark} == 0 return",
        f"add rule {table} masquerading mark set mark xor {mark}",
        f"add rule {table} masquerading masquerade fully-random",
    ]


def _cluster_ips(table: str, settings: Settings, service_cidrs: tuple[str, ...]) -> list[str]:
    ip, kind, invalid = settings.ip, _address(settings), INVALID_COMMENT
    lines = [
        f'add set {table} cluster-ips {{ type {kind} ; comment "Active ClusterIPs" ; }}',
        f'add rule {table} cluster-ips-check {ip} daddr @cluster-ips reject comment "{invalid}"',
    ]
    if service_cidrs:
        lines.append(
            f"add rule {table} cluster-ips-check {ip} daddr {{ {','.join(service_cidrs)} }} drop "
            'comment "Drop traffic to unallocated ClusterIPs"'
        )
    lines.append(
        f"add set {table} nodeport-ips {{ type {kind} ; "
        'comment "IPs that accept NodePort traffic" ; }'
    )
    verb = "delete" if settings.all_node_ips else "flush"
    return [*lines, f"{verb} set {table} nodeport-ips"]


def _address(settings: Settings) -> str:
    return "ipv6_addr" if settings.family == "ipv6" else "ipv4_addr"


def _maps(table: str, settings: Settings) -> list[str]:
    three = f"{_address(settings)} . inet_proto . inet_service : verdict"
    two = "inet_proto . inet_service : verdict"
    return [
        _map(table, "no-endpoint-services", three, NO_SERVICES_COMMENT),
        _map(table, "no-endpoint-nodeports", two, NO_NODE_PORTS_COMMENT),
        f'add chain {table} reject-chain {{ comment "{REJECT_COMMENT}" ; }}',
        f"flush chain {table} reject-chain",
        f"add rule {table} reject-chain reject",
        _map(table, "firewall-ips", three, FIREWALL_COMMENT),
        _map(table, "service-ips", three, SERVICES_COMMENT),
        _map(table, "service-nodeports", two, "NodePort traffic"),
    ]


def _map(table: str, name: str, kind: str, comment: str) -> str:
    return f'add map {table} {name} {{ type {kind} ; comment "{comment}" ; }}'


def _dispatch(table: str, settings: Settings, made: dict[str, None]) -> list[str]:
    ip = settings.ip
    key = f"{ip} daddr . meta l4proto . th dport"
    port = "meta l4proto . th dport"
    elsewhere = "ip6 daddr != ::1" if ip == "ip6" else "ip daddr != 127.0.0.0/8"
    checked = elsewhere if settings.all_node_ips else f"{ip} daddr @nodeport-ips"
    local = f"fib daddr type local {elsewhere}" if settings.all_node_ips else checked
    lines = [
        f"add rule {table} service-endpoints-check {key} vmap @no-endpoint-services",
        f"add rule {table} nodeport-endpoints-check {checked} {port} vmap @no-endpoint-nodeports",
    ]
    _ensure(lines, table, made, "firewall-check")
    return [
        *lines,
        f"add rule {table} firewall-check {key} vmap @firewall-ips",
        f"add rule {table} services {key} vmap @service-ips",
        f"add rule {table} services {local} {port} vmap @service-nodeports",
    ]
