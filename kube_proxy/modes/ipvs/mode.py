"""The IPVS mode as the proxier's shell knows it."""

from __future__ import annotations

from podwire.dataplane.commands import (
    AnyCommand,
    IpsetRestore,
    IpvsRestore,
    LinkDel,
    RulesRestore,
    SysctlSet,
)
from podwire.kube_proxy import addresses
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.iptables import SAVE, saved_tables
from podwire.kube_proxy.mode import Answers, Argv, Chore, Done, Mode, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes.ipvs import kernel, rules, sets
from podwire.kube_proxy.modes.ipvs.account import Programmed
from podwire.kube_proxy.modes.ipvs.plan import dirty_servers, plan_sync
from podwire.kube_proxy.modes.ipvs.settings import Settings, settings_of

CHECK_LEAVING_S = 60.0
"""rsCheckDeleteInterval."""


class IpvsMode(Mode):
    """See ``podwire.kube_proxy.mode.Mode``."""

    name = "ipvs"
    title = "ipvs"
    restore_base_s = 0.010
    restore_per_change_s = 0.000_2
    """A guess: upstream starts one ipset per entry, and asks netlink for each server. No kernel
    with IPVS was at hand to measure.
    """
    restore_source = "guess"

    def settings(self, config: Config, node: NodeFacts, family: str) -> Settings:
        """What shapes the state. Raises ConfigError."""
        return settings_of(config, node, family)

    def prepare(self, settings: Settings) -> tuple[AnyCommand, ...]:
        """The sysctls that the mode needs; strictARP; timeouts. conn_reuse_mode stays as it is
        (kernels since 5.9).
        """
        values = {
            "net.ipv4.vs.conntrack": "1",
            "net.ipv4.vs.expire_nodest_conn": "1",
            "net.ipv4.vs.expire_quiescent_template": "1",
            "net.ipv4.ip_forward": "1",
        }
        if settings.strict_arp:
            values["net.ipv4.conf.all.arp_ignore"] = "1"
            values["net.ipv4.conf.all.arp_announce"] = "2"
        commands: list[AnyCommand] = [SysctlSet(key=k, value=v) for k, v in values.items()]
        if any(settings.timeouts_s):
            words = " ".join(str(seconds) for seconds in settings.timeouts_s)
            commands.append(IpvsRestore(text=f"--set {words}\n"))
        return tuple(commands)

    def questions(self, state: Proxier, *, full: bool) -> tuple[Argv, ...]:
        """Everything on a full sync; else the connections of what changes."""
        if full:
            return ((SAVE[state.family],), kernel.LIST, kernel.SETS, addresses.QUESTION)
        return tuple((*kernel.LIST, *option.split()) for option in dirty_servers(state))

    def plan(
        self,
        state: Proxier,
        *,
        full: bool,
        existing: Answers,
        now_ns: int,  # noqa: ARG002  other modes' plans need the time
    ) -> Sync | None:
        """The next transaction."""
        return plan_sync(state, existing, full=full)

    # ------------------------------------------------------------ chores

    def chores(self, state: Proxier) -> tuple[Chore, ...]:
        """Look each syncPeriod whether device, sets and chains still stand; each minute whether
        real servers that fade may go.
        """
        return (
            Chore("look", state.sync_period_s, _standing_questions, _look),
            Chore("graceful", CHECK_LEAVING_S, _leaving_questions, _fade),
        )

    # ------------------------------------------------------------ leftovers

    def leftover_questions(self, family: str) -> tuple[Argv, ...]:
        """Rules, sets, devices, virtual servers."""
        return ((SAVE[family],), kernel.NAMES, kernel.LINKS, kernel.LIST)

    def leftovers(self, family: str, existing: Answers) -> tuple[AnyCommand, ...]:
        """All the mode made (cleanupLeftovers): virtual servers, device, chains, then sets. Where
        its device never was, its virtual servers are somebody else's.
        """
        commands: list[AnyCommand] = []
        if f" {kernel.DEVICE}: " in existing.get(kernel.LINKS, ""):
            if kernel.virtual_servers(existing.get(kernel.LIST, "")):
                commands.append(IpvsRestore(text="-C\n"))
            commands.append(LinkDel(name=kernel.DEVICE))
        text = rules.cleanup_text(saved_tables(existing.get((SAVE[family],), "")))
        if text:
            commands.append(RulesRestore(text=text, family=family))
        names = dict.fromkeys(existing.get(kernel.NAMES, "").split())
        own = [sets.name_of(name, family) for name in sets.SETS]
        gone = "".join(f"destroy {name}\n" for name in own if name in names)
        if gone:
            commands.append(IpsetRestore(text=gone))
        return tuple(commands)


def _standing_questions(state: Proxier) -> tuple[Argv, ...]:
    return (SAVE[state.family], "-t", "nat"), kernel.NAMES, kernel.LINKS


def _look(state: Proxier, answers: Answers) -> Done:
    """Everything anew once the device, a set or a jump is gone."""
    if state.programmed is None:
        return Done()
    save, names, links = (answers[question] for question in _standing_questions(state))
    jumps = rules.jump_text(saved_tables(save))
    standing = sets.name_of(sets.CLUSTER_IP, state.family) in names.split()
    if "*nat" in jumps or not standing or f" {kernel.DEVICE}: " not in links:
        return Done(resync="Syncing ipvs proxier rules anew: something was removed")
    return Done()


def _leaving_questions(state: Proxier) -> tuple[Argv, ...]:
    held: Programmed | None = state.programmed
    options = dict.fromkeys(option for option, _ in held.leaving) if held is not None else {}
    return tuple((*kernel.LIST, *option.split()) for option in options)


def _fade(state: Proxier, answers: Answers) -> Done:
    """Delete real servers whose last connection ended (tryDeleteRs)."""
    held: Programmed | None = state.programmed
    if held is None:
        return Done()
    lines = []
    for option, dest in list(held.leaving):
        answer = answers.get((*kernel.LIST, *option.split()), "")
        server = kernel.virtual_servers(answer).get(option)
        known = server.dests.get(dest) if server is not None else None
        if known is None:
            del held.leaving[option, dest]
        elif not known.connections:
            del held.leaving[option, dest]
            lines.append(f"-d {option} -r {dest}\n")
    return Done((IpvsRestore(text="".join(lines)),) if lines else ())
