"""Base chains of nft at the hooks: a packet walks through one, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from podwire.dataplane.nft import fates
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.model import Base
from podwire.dataplane.nft.walk import Decision, walk

if TYPE_CHECKING:
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.run import Run
    from podwire.dataplane.skb import Skb

Reject = Callable[["Run", "Netns", "Skb", str], None]


def decide(run: Run, ns: Netns, skb: Skb, base: Base) -> Decision:
    """How a base chain decides about a packet."""
    nft = ns.nft
    table = nft.ruleset.tables[base.table]
    chain = table.chains[base.chain]
    if not chain.rules:
        return Decision(chain.policy, table, base.chain)
    family = "ip6" if ":" in skb.packet.dst else "ip"
    meter = run.recorder.meter if run.recorder is not None else None
    env = Env(ns, nft, table, run.kernel.chance, run.now_ns, family, base.hook, meter)
    return walk(base, table, skb, env, run.recorder)


def end(run: Run, ns: Netns, skb: Skb, decision: Decision, reject: Reject) -> bool:
    """A decision other than to let pass: the packet ends here. Always False."""
    table = decision.table
    packet = skb.packet
    run.drop(
        ns,
        fates.fate(decision),
        packet,
        fates.reason(decision),
        stage=f"{table.family} {table.name}",
        object=decision.chain,
        rule=fates.text(decision),
        chain=decision.chain,
    )
    if decision.kind == "reject":
        family = "ip6" if ":" in packet.dst else "ip"
        reject(run, ns, skb, fates.answer(decision, family))
    return False


def _step(run: Run, ns: Netns, skb: Skb, hook: str, *, base: Base) -> bool:
    from podwire.dataplane.netfilter.hooks import reject  # noqa: PLC0415  # hooks call chains

    del hook
    decision = decide(run, ns, skb, base)
    if decision.kind == "accept":
        return True
    return end(run, ns, skb, decision, reject)


def step(base: Base) -> Callable[[Run, Netns, Skb, str], bool]:
    """What a filtering base chain does at its hook."""
    return partial(_step, base=base)
