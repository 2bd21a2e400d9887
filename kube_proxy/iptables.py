"""What iptables and ipvs mode share: their reading of iptables-save, chains that both make.

Source: kubernetes pkg/proxy/iptables and pkg/proxy/ipvs (proxier.go), pkg/util/iptables.
"""

from __future__ import annotations

from collections.abc import Sequence

SAVE = {"ipv4": "iptables-save", "ipv6": "ip6tables-save"}

SERVICES = "KUBE-SERVICES"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"


def saved_tables(text: str) -> dict[str, list[str]]:
    """The lines of chains and rules that iptables-save printed, by table."""
    tables: dict[str, list[str]] = {}
    table: list[str] = []
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], [])
        elif line.startswith((":", "-A")):
            table.append(line)
    return tables


def chains_of(lines: Sequence[str]) -> list[str]:
    """The chains of a table's lines."""
    return [line[1:].split(" ", 1)[0] for line in lines if line.startswith(":")]


def local_match(kind: str, value: str) -> str:
    """The match of traffic that ``Config.local_match`` tells (``-s 10.244.0.0/16``), "" if none."""
    if kind == "cidr":
        return f"-s {value}"
    if kind == "interface":
        return f"-i {value}"
    return f"-i {value}+" if kind == "prefix" else ""


def masquerading(mark: str, *, random_fully: bool) -> list[str]:
    """The rules of KUBE-POSTROUTING and KUBE-MARK-MASQ."""
    comment = '-m comment --comment "kubernetes service traffic requiring SNAT"'
    random = " --random-fully" if random_fully else ""
    return [
        f"-A {POSTROUTING} -m mark ! --mark {mark}/{mark} -j RETURN",
        f"-A {POSTROUTING} -j MARK --xor-mark {mark}",
        f"-A {POSTROUTING} {comment} -j MASQUERADE{random}",
        f"-A {MARK_MASQ} -j MARK --or-mark {mark}",
    ]


def forwarding(mark: str) -> list[str]:
    """The rules of KUBE-FORWARD that let marked and known traffic through."""
    marked = '-m comment --comment "kubernetes forwarding rules"'
    known = '-m comment --comment "kubernetes forwarding conntrack rule"'
    return [
        f"-A {FORWARD} {marked} -m mark --mark {mark}/{mark} -j ACCEPT",
        f"-A {FORWARD} {known} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
