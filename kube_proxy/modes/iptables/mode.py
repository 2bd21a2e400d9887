"""The iptables mode: one restore input per sync, and jumps, canaries and clean-up around it."""

from __future__ import annotations

from podwire.dataplane.commands import AnyCommand, RulesRestore, SysctlSet
from podwire.kube_proxy import addresses
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.iptables import SAVE, saved_tables
from podwire.kube_proxy.mode import Answers, Argv, Chore, Done, Mode, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes.iptables.plan import Programmed, plan_restore
from podwire.kube_proxy.modes.iptables.settings import Settings, node_port_ips, settings_of
from podwire.kube_proxy.modes.iptables.text import CANARY, cleanup_text, jump_text


class IptablesMode(Mode):
    """See ``podwire.kube_proxy.mode.Mode``."""

    name = "iptables"
    title = "iptables"
    restore_base_s = 0.010
    restore_per_change_s = 0.000_15
    """iptables-nft took 1.64 s for 1000 Services of three endpoints, about 11,000 rules."""
    restore_source = "iptables-nft 1.8.9 at 1,000 Services"

    def settings(self, config: Config, node: NodeFacts, family: str) -> Settings:
        """What shapes the rules. Raises ConfigError."""
        return settings_of(config, node, family)

    def prepare(self, settings: Settings) -> tuple[AnyCommand, ...]:
        """route_localnet, where localhost takes NodePorts."""
        if settings.family == "ipv4" and settings.localhost_node_ports:
            return (SysctlSet(key="net.ipv4.conf.all.route_localnet", value="1"),)
        return ()

    def questions(self, state: Proxier, *, full: bool) -> tuple[Argv, ...]:
        """The rules on a full sync; own addresses while NodePorts are bound to some of them."""
        asked: list[Argv] = [(SAVE[state.family],)] if full else []
        if state.settings.node_port_cidrs is not None:
            asked.append(addresses.QUESTION)
        return tuple(asked)

    def plan(self, state: Proxier, *, full: bool, existing: Answers, now_ns: int) -> Sync | None:
        """Jumps and canaries where they are missing, then one restore input. Who does not tell
        what iptables-save printed is taken to have the jumps.
        """
        question = (SAVE[state.family],)
        saved = saved_tables(existing.get(question, ""))
        ips: tuple[str, ...] = ()
        if state.settings.node_port_cidrs is not None:
            own = addresses.own_addresses(existing.get(addresses.QUESTION, ""))
            ips = node_port_ips(state.settings, own)
        jumps = jump_text(saved) if full and question in existing else ""
        before = (RulesRestore(text=jumps, family=state.family),) if jumps else ()
        return plan_restore(state, before, saved.get("nat", ()), ips, full=full, now_ns=now_ns)

    def plans_alike(self, state: Proxier) -> bool:
        """Unless NodePorts are bound to some of the node's addresses."""
        return state.settings.node_port_cidrs is None

    def alike(self, one: Programmed, other: Programmed) -> bool:
        """Whether the same rules and the same stale chains are told; when these were looked for
        last may differ.
        """
        return one.stale == other.stale and one.account.alike(other.account)

    def chores(self, state: Proxier) -> tuple[Chore, ...]:
        """Each syncPeriod, look whether someone flushed the rules (iptables.Monitor)."""
        return (Chore("canary", state.sync_period_s, _canary_questions, _look_for_canary),)

    def leftover_questions(self, family: str) -> tuple[Argv, ...]:
        """The rules."""
        return ((SAVE[family],),)

    def leftovers(self, family: str, existing: Answers) -> tuple[AnyCommand, ...]:
        """All chains, and the jumps to them."""
        text = cleanup_text(saved_tables(existing[SAVE[family],]))
        return (RulesRestore(text=text, family=family),) if text else ()


def _canary_questions(state: Proxier) -> tuple[Argv, ...]:
    return ((SAVE[state.family], "-t", "mangle"),)


def _look_for_canary(state: Proxier, answers: Answers) -> Done:
    """Everything anew once the canary is gone."""
    (question,) = _canary_questions(state)
    present = any(line.startswith(f":{CANARY} ") for line in answers[question].splitlines())
    if present or state.programmed is None:
        return Done()
    return Done(resync="Reloading after iptables flush")
