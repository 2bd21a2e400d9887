"""The plain interpreter: rules one after another, as iptables' manual tells it.

The compiled form (``compile``) must agree with it packet for packet; tests hold the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane.addr import Prefix, ip_int
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.rule import Rule
from podwire.dataplane.skb import Skb

if TYPE_CHECKING:
    from podwire.dataplane.emit import Recorder
    from podwire.dataplane.netfilter.tables import Chain, Netfilter


class Verdict(NamedTuple):
    """How a table decided: a target's name, or a policy; ``rule`` None means the policy.

    ``kind`` UNKNOWN: the packet met something not modelled, which ``what`` names.
    """

    kind: str
    rule: Rule | None
    chain: str
    what: str = ""


def note(recorder: Recorder, env: Env, table: str, chain: str, rule: Rule) -> None:
    """Record a matched rule as a step."""
    if not rule.verb:
        return
    result = "goto" if rule.goto else "jump" if rule.jump else rule.verb.lower()
    detail = rule.jump or (rule.target.show() if rule.target is not None else "")
    for match in rule.matches:
        if isinstance(match, m.Statistic) and match.mode == "random":
            detail += f"  p {match.probability:.3f}"
    recorder.step(table, chain, result, detail, netns=env.ns.name, rule=f"-A {chain} {rule.text}")


def _inside(prefix: Prefix | None, address: str, *, inverted: bool) -> bool:
    return prefix is None or prefix.holds(ip_int(address)) != inverted


def _matches(rule: Rule, skb: Skb, env: Env) -> bool:
    packet = skb.packet
    if not _inside(rule.src, packet.src, inverted=rule.not_src):
        return False
    if not _inside(rule.dst, packet.dst, inverted=rule.not_dst):
        return False
    if rule.in_dev and m.device(rule.in_dev, skb.in_dev) == rule.not_in:
        return False
    if rule.out_dev and m.device(rule.out_dev, skb.out_dev) == rule.not_out:
        return False
    if rule.protocol and (packet.protocol == rule.protocol) == rule.not_protocol:
        return False
    return all(match.test(skb, env) for match in rule.matches)


def _chain(
    nf: Netfilter, table: str, chain: Chain, skb: Skb, env: Env, recorder: Recorder | None
) -> Verdict | None:
    """A verdict, or None when the chain returns to its caller."""
    chains = nf.tables[table]
    for index, rule in enumerate(chain.rules):
        env.chain = chain.code
        if env.meter is not None:
            env.meter.walked("iptables rule", 1)
        try:
            if not _matches(rule, skb, env):
                continue
            nf.hit(table, chain, index, skb.packet.size_bytes)
            if recorder is not None:
                note(recorder, env, table, chain.name, rule)
            if rule.target is not None and not rule.target.TERMINAL:
                rule.target.act(skb, env)
        except UnknownModelError as unknown:
            return Verdict("UNKNOWN", rule, chain.name, str(unknown))
        if rule.jump:
            verdict = _chain(nf, table, chains[rule.jump], skb, env, recorder)
            if verdict is not None or rule.goto:
                return verdict
        elif rule.target is not None and rule.target.TERMINAL:
            if rule.target.name == "RETURN":
                return None
            return Verdict(rule.target.name, rule, chain.name)
    return None


def walk(
    nf: Netfilter, table: str, base: str, skb: Skb, env: Env, recorder: Recorder | None
) -> Verdict:
    """Walk a packet through a table from a base chain."""
    chain = nf.tables[table][base]
    verdict = _chain(nf, table, chain, skb, env, recorder)
    if verdict is not None:
        return verdict
    nf.hit_policy(table, base, skb.packet.size_bytes)
    return Verdict(chain.policy, None, base)
