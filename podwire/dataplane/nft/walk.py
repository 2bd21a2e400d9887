"""Walking a packet through a base chain (nft_do_chain): chains as tuples of ready functions.

Verdict maps are dicts and jumps are by name, so a packet pays for the rules it meets, not for the
Services there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.dataplane.netfilter.env import UnknownModelError
from podwire.dataplane.nft.elements import Element, show_data, show_key
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.model import Base, Chain, Rule, Table
from podwire.dataplane.nft.stmt import BREAK
from podwire.dataplane.skb import Skb

if TYPE_CHECKING:
    from podwire.dataplane.emit import Recorder

MAX_JUMPS = 16
ENDS = ("drop", "reject")
"""Verdicts whose step the drop itself records."""


class Decision(NamedTuple):
    """How a base chain ended. ``kind``: accept, drop, reject, nat, unknown.

    ``rule`` None is the chain's policy; ``data`` what reject or nat need, or what is not modelled;
    ``picks`` the map elements on the way, latest last.
    """

    kind: str
    table: Table
    chain: str
    rule: Rule | None = None
    data: Any = None
    picks: tuple[tuple[str, Element], ...] = ()


def walk(base: Base, table: Table, skb: Skb, env: Env, recorder: Recorder | None) -> Decision:
    """Walk a packet through a base chain."""
    chains = table.chains
    chain: Chain = chains[base.chain]
    env.size = skb.packet.size_bytes
    env.chain = chain.name
    stack: list[tuple[Chain, int]] = []
    picks: tuple[tuple[str, Element], ...] = ()
    at = 0
    while True:
        rules = chain.rules
        if at == len(rules):
            if not stack:
                return Decision(chains[base.chain].policy, table, base.chain, picks=picks)
            chain, at = stack.pop()
            env.chain = chain.name
            continue
        rule = rules[at]
        env.rule, env.picked = chain.handles[at], None
        at += 1
        if env.meter is not None:
            env.meter.walked("nft rule", 1)
        try:
            verdict = None
            for code in rule.code:
                verdict = code(skb, env)
                if verdict is not None:
                    break
        except UnknownModelError as unknown:
            return Decision("unknown", table, chain.name, rule, str(unknown), picks)
        if verdict is BREAK:
            continue
        if env.picked is not None:
            picks = (*picks, env.picked)
        if recorder is not None and (verdict is None or verdict[0] not in ENDS):
            note(recorder, env, table, chain.name, rule, verdict)
        if verdict is None:
            continue
        kind, data = verdict
        if kind in {"jump", "goto"}:
            if kind == "jump":
                if len(stack) == MAX_JUMPS:
                    return Decision("unknown", table, chain.name, rule, "deep jumps", picks)
                stack.append((chain, at))
            chain, at = chains[data], 0
            env.chain = chain.name
        elif kind == "return":
            at = len(rules)
        elif kind == "queue":
            return Decision("unknown", table, chain.name, rule, "queue", picks)
        else:
            return Decision(kind, table, chain.name, rule, data, picks)


def words(verdict: tuple[str, Any] | None) -> str:
    """A verdict as ``nft monitor trace`` names it."""
    if verdict is None:
        return "continue"
    kind, data = verdict
    if kind in {"jump", "goto"}:
        return f"{kind} {data}"
    return {"reject": "drop", "nat": "accept"}.get(kind, kind)


def element_words(table: Table, name: str, element: Element) -> str:
    """The element that a verdict came from: ``@service-ips { 10.96.0.10 . tcp . 80 : goto x }``."""
    if not name:
        return ""
    spec = table.specs[name]
    comment = f' comment "{element.comment}"' if element.comment else ""
    key = show_key(spec.kinds, element.key)
    return f"@{name} {{ {key}{comment} : {show_data(spec.data, element.data)} }}"


def note(
    recorder: Recorder, env: Env, table: Table, chain: str, rule: Rule,
    verdict: tuple[str, Any] | None,
) -> None:  # fmt: skip
    """Record a rule that was carried out, as ``nft monitor trace`` tells it."""
    said = words(verdict)
    detail = said if verdict is not None else rule.show()
    if verdict is not None and verdict[0] in {"reject", "nat"}:
        detail = rule.stmts[-1].show()
    if env.picked is not None:
        found = element_words(table, *env.picked)
        detail = f"{said}  by {found}" if found else said
    recorder.step(
        f"{table.family} {table.name}",
        chain,
        said.split(" ")[0],
        detail,
        netns=env.ns.name,
        rule=f"{table.family} {table.name} {chain} {rule.show()}",
    )
