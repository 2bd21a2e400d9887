"""What it means that an nft rule ended a packet: told from chains, comments and map elements."""

from __future__ import annotations

from podwire.dataplane.netfilter.fates import (
    EGRESS_CHAINS,
    INGRESS_CHAINS,
    POLICY_COMMENT,
)
from podwire.dataplane.nft.expr import Constant, Simple
from podwire.dataplane.nft.model import Rule
from podwire.dataplane.nft.stmt import Match
from podwire.dataplane.nft.walk import Decision, element_words
from podwire.dataplane.verdict import Fate

NO_ENDPOINT_MAPS = "no-endpoint-"
"""kube-proxy's maps of Services that have nobody to answer begin so."""

ICMP = {
    "net-unreachable": "icmp-net-unreachable",
    "host-unreachable": "icmp-host-unreachable",
    "prot-unreachable": "icmp-proto-unreachable",
    "port-unreachable": "icmp-port-unreachable",
    "net-prohibited": "icmp-net-prohibited",
    "host-prohibited": "icmp-host-prohibited",
    "admin-prohibited": "icmp-admin-prohibited",
    "no-route": "icmp-net-unreachable",
}
ICMP6 = {
    "no-route": "icmp6-no-route",
    "admin-prohibited": "icmp6-adm-prohibited",
    "addr-unreachable": "icmp6-addr-unreachable",
    "host-unreachable": "icmp6-addr-unreachable",
    "port-unreachable": "icmp6-port-unreachable",
    "policy-fail": "icmp6-policy-fail",
    "reject-route": "icmp6-reject-route",
}
"""What nft calls an answer, and what iptables calls it (the hooks know those names)."""


def fate(decision: Decision) -> Fate:
    """The fate of a packet that a base chain did not let pass."""
    if decision.kind == "unknown":
        return Fate.UNKNOWN
    if decision.picks and decision.picks[-1][0].startswith(NO_ENDPOINT_MAPS):
        return Fate.NO_ENDPOINTS
    rule, chain = decision.rule, decision.chain
    if chain.startswith(EGRESS_CHAINS):
        return Fate.DENIED_OUT
    if chain.startswith(INGRESS_CHAINS):
        return Fate.DENIED_IN
    if rule is not None and rule.comment.startswith(POLICY_COMMENT):
        return Fate.DENIED_OUT if "egress" in rule.comment.split() else Fate.DENIED_IN
    if decision.kind == "reject":
        return Fate.REFUSED
    return Fate.CT_INVALID if rule is not None and _invalid(rule) else Fate.DROPPED_BY_RULE


def _invalid(rule: Rule) -> bool:
    for stmt in rule.stmts:
        if isinstance(stmt, Match) and isinstance(stmt.left, Simple):
            invalid = isinstance(stmt.right, Constant) and stmt.right.value == 1
            if stmt.left.text == "ct state" and invalid and not stmt.operator:
                return True
    return False


def text(decision: Decision) -> str:
    """The rule that decided, in full, with the map element that led to it."""
    table, rule = decision.table, decision.rule
    head = f"{table.family} {table.name} {decision.chain}"
    said = f"{head} {rule.show()}" if rule is not None else f"{head} policy {decision.kind}"
    found = element_words(table, *decision.picks[-1]) if decision.picks else ""
    return f"{said}  by {found}" if found else said


def reason(decision: Decision) -> str:
    """What happened, for people."""
    table = f"{decision.table.family} {decision.table.name}"
    if decision.kind == "unknown":
        return f"not modelled: {decision.data}"
    if decision.kind == "reject":
        return f"rejected in {table} {decision.chain}"
    return f"dropped in {table} {decision.chain}"


def answer(decision: Decision, family: str) -> str:
    """How a reject answers, as iptables names it."""
    _, name = decision.data
    if name == "tcp-reset":
        return str(name)
    return (ICMP6 if family == "ip6" else ICMP)[name]
