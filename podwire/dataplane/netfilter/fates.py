"""What a rule's drop means, told from the rule itself: its chain, its comment, its matches."""

from __future__ import annotations

from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.rule import Rule
from podwire.dataplane.verdict import Fate

POLICY_COMMENT = "podwire:networkpolicy"
EGRESS_CHAINS = ("cali-fw-", "cali-po-", "cali-pro-")
INGRESS_CHAINS = ("cali-tw-", "cali-pi-", "cali-pri-")


def of_drop(rule: Rule | None, chain: str) -> Fate:
    """The fate of a packet that a rule (or a base chain's policy: None) dropped.

    Policy agents name chains as Calico does: from a workload (egress), to a workload (ingress).
    """
    if chain.startswith(EGRESS_CHAINS):
        return Fate.DENIED_OUT
    if chain.startswith(INGRESS_CHAINS):
        return Fate.DENIED_IN
    if rule is None:
        return Fate.DROPPED_BY_RULE
    if rule.comment.startswith(POLICY_COMMENT):
        return Fate.DENIED_OUT if "egress" in rule.comment.split() else Fate.DENIED_IN
    if "has no local endpoints" in rule.comment:
        return Fate.NO_ENDPOINTS
    for match in rule.matches:
        if isinstance(match, m.CtState) and match.states == ("INVALID",) and not match.inverted:
            return Fate.CT_INVALID
    return Fate.DROPPED_BY_RULE


def of_reject(rule: Rule, chain: str) -> Fate:
    """The fate of a packet that was rejected."""
    if "has no endpoints" in rule.comment:
        return Fate.NO_ENDPOINTS
    denied = of_drop(rule, chain)
    return denied if denied in {Fate.DENIED_IN, Fate.DENIED_OUT} else Fate.REFUSED
