"""The nftables mode: one ``nft -f`` transaction per sync."""

from __future__ import annotations

import re

from podwire.dataplane.commands import AnyCommand, NftApply
from podwire.kube_proxy import addresses
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.mode import Answers, Argv, Mode, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes.nftables.plan import Programmed, plan_apply
from podwire.kube_proxy.modes.nftables.rules import TABLE
from podwire.kube_proxy.modes.nftables.settings import Settings, node_port_ips, settings_of

_WORD = {"ipv4": "ip", "ipv6": "ip6"}
_ITEM = re.compile(r"(?m)^\t(?:chain|set) (\S+) \{")


class NftablesMode(Mode):
    """See ``podwire.kube_proxy.mode.Mode``. Nothing is prepared: the first transaction makes the
    table. There are no chores: nobody else touches it (upstream watches nothing either).
    """

    name = "nftables"
    title = "nftables"
    restore_base_s = 0.010
    restore_per_change_s = 0.000_065
    """nft took 0.92 s for 1000 Services of three endpoints, about 14,000 changes."""
    restore_source = "nft 1.0.6 at 1,000 Services"

    knows_service_cidrs = True

    def settings(self, config: Config, node: NodeFacts, family: str) -> Settings:
        """What shapes the rules. Raises ConfigError."""
        return settings_of(config, node, family)

    def questions(self, state: Proxier, *, full: bool) -> tuple[Argv, ...]:
        """On a full sync: the chains and sets there are, and the node's own addresses."""
        if not full:
            return ()
        word = _WORD[state.family]
        asked: tuple[Argv, ...] = (("nft", "list", "chains", word), ("nft", "list", "sets", word))
        return asked if state.settings.all_node_ips else (*asked, addresses.QUESTION)

    def plan(self, state: Proxier, *, full: bool, existing: Answers, now_ns: int) -> Sync | None:
        """One transaction, and one before it that deletes chains which became stale earlier."""
        word = _WORD[state.family]
        held = None
        if full:
            held = (
                _names(existing.get(("nft", "list", "chains", word), ""), word),
                _names(existing.get(("nft", "list", "sets", word), ""), word),
            )
        ips: tuple[str, ...] = ()
        if not state.settings.all_node_ips:
            own = addresses.own_addresses(existing.get(addresses.QUESTION, ""))
            ips = node_port_ips(state.settings, own)
        cidrs = tuple(c for c in state.service_cidrs if (":" in c) == (word == "ip6"))
        return plan_apply(state, held, ips, cidrs, full=full, now_ns=now_ns)

    def plans_alike(self, state: Proxier) -> bool:  # noqa: ARG002  whatever is set
        """The node's addresses are asked for full syncs only."""
        return True

    def alike(self, one: Programmed, other: Programmed) -> bool:
        """Whether the same is told of Services, and of stale chains since when they are."""
        return (
            one.stale == other.stale
            and one.common.pieces == other.common.pieces
            and one.own.pieces == other.own.pieces
        )

    def leftover_questions(self, family: str) -> tuple[Argv, ...]:
        """Whether the table is there."""
        return (("nft", "list", "tables", _WORD[family]),)

    def leftovers(self, family: str, existing: Answers) -> tuple[AnyCommand, ...]:
        """The table goes (CleanupLeftovers)."""
        word = _WORD[family]
        lines = existing[self.leftover_questions(family)[0]].splitlines()
        if f"table {word} {TABLE}" not in lines:
            return ()
        return (NftApply(text=f"delete table {word} {TABLE}\n"),)


def _names(listing: str, word: str) -> tuple[str, ...]:
    """The chains or sets that ``nft list`` names in kube-proxy's table."""
    start = listing.find(f"table {word} {TABLE} {{\n")
    if start < 0:
        return ()
    end = listing.find("\n}\n", start)
    return tuple(_ITEM.findall(listing[start:end]))
