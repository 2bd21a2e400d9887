"""From changed Services to commands: what is added, changed, left to fade, taken away.

Source: pkg/proxy/ipvs/proxier.go (syncProxyRules, syncService, syncEndpoint, cleanLegacyService),
graceful_termination.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwire.dataplane.commands import (
    AddrAdd,
    AddrDel,
    AnyCommand,
    IpsetRestore,
    IpvsRestore,
    LinkAdd,
    RulesRestore,
)
from podwire.kube_proxy import addresses
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.iptables import SAVE, saved_tables
from podwire.kube_proxy.mode import Answers, Sync
from podwire.kube_proxy.modes.ipvs import kernel, rules, sets
from podwire.kube_proxy.modes.ipvs.account import (
    EMPTY,
    Programmed,
    Step,
    all_pieces,
    find_changes,
    step_from,
    step_to_all,
)
from podwire.kube_proxy.modes.ipvs.kernel import DEVICE, Listed
from podwire.kube_proxy.modes.ipvs.pieces import Piece, Server
from podwire.kube_proxy.modes.ipvs.settings import Settings, node_port_ips
from podwire.kube_proxy.pieces import no_local_gauges, udp_wanted

GRACEFUL = "-t"
"""Only TCP's real servers fade; UDP's and SCTP's go at once (IsRsGracefulTerminationNeeded)."""


def plan_sync(state: Proxier, existing: Answers, *, full: bool) -> Sync | None:
    """The next transaction; None when nothing changed."""
    held: Programmed = state.programmed or Programmed(EMPTY)
    found = all_pieces(state) if full else find_changes(state, held.account)
    state.dirty.clear()
    if not full and not found:
        return None
    step = step_to_all(state, found) if full else step_from(state, held.account, found)
    work = _Work(state, held, step, existing, full=full)
    return work.sync()


class _Work:
    """One node's sync."""

    def __init__(
        self, state: Proxier, held: Programmed, step: Step, existing: Answers, *, full: bool
    ) -> None:
        self.state, self.held, self.step, self.existing, self.full = (
            state, held, step, existing, full,
        )  # fmt: skip
        self.settings: Settings = state.settings
        self.family = state.family
        self.changes = 0
        self.bound, own = kernel.addresses(existing.get(addresses.QUESTION, ""), state.family)
        self.node_ips = tuple(own) if full else held.node_ips
        if full and addresses.QUESTION not in existing:
            self.node_ips = state.node.addresses_of(state.family)
        self.ports_on = node_port_ips(self.settings, self.node_ips)
        self.loops = self._loops()
        self.leaving: dict[tuple[str, str], None] = dict(held.leaving) if not full else {}

    def sync(self) -> Sync:
        """All commands in upstream's order."""
        servers, goes = self._servers()
        entries = self._entries()
        adds, dels = self._binds()
        text, n_rules = rules.restore_text(self.settings, self._has, self.step.after.guarded)
        commands: list[AnyCommand] = []
        if self.full:
            commands.append(LinkAdd(name=DEVICE, kind="dummy", exist=True))
        commands += [IpvsRestore(text=servers)] if servers else []
        unseen = self.full and addresses.QUESTION not in self.existing
        commands += [AddrAdd(dev=DEVICE, cidr=_cidr(ip), replace=unseen) for ip in adds]
        commands += [IpsetRestore(text=entries, exist=True)] if entries else []
        commands += self._rules(text, n_rules)
        commands += [AddrDel(dev=DEVICE, cidr=_cidr(ip)) for ip in dels]
        commands += [IpvsRestore(text=goes)] if goes else []
        self.changes += len(adds) + len(dels)
        return Sync(
            commands=tuple(commands),
            changes=self.changes,
            full=self.full,
            programmed=Programmed(self.step.after, self.loops, self.node_ips, self.leaving, text),
            udp=udp_wanted(self.step.changed),
            gauges=no_local_gauges(self.step.after.no_local),
        )

    # ------------------------------------------------------------ iptables

    def _has(self, name: str) -> bool:
        if name == sets.LOOP_BACK:
            return bool(self.loops)
        members = self.step.after.members.get(name)
        if name in {sets.NODE_PORT["sctp"], sets.NODE_PORT_LOCAL["sctp"]} and not self.ports_on:
            return False
        return bool(members)

    def _rules(self, text: str, n_rules: int) -> list[AnyCommand]:
        commands: list[AnyCommand] = []
        question = (SAVE[self.family],)
        if self.full and question in self.existing:
            jumps = rules.jump_text(saved_tables(self.existing[question]))
            if jumps:
                commands.append(RulesRestore(text=jumps, family=self.family))
        if self.full or text != self.held.text:
            commands.append(RulesRestore(text=text, family=self.family))
            self.changes += n_rules
        return commands

    # ------------------------------------------------------------ sets and addresses

    def _loops(self) -> dict[str, int]:
        """KUBE-LOOP-BACK of this node after the step."""
        loops = {} if self.full else dict(self.held.loops)
        here = self.state.node.name
        for group, sign in ((self.step.gone, -1), (self.step.changed, 1)):
            for piece in group:
                for entry in piece.loops.get(here, ()):
                    loops[entry] = loops.get(entry, 0) + sign
        return {entry: count for entry, count in loops.items() if count > 0}

    def _spread(self, entries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Entries for every one of the node's addresses."""
        found = []
        for name, entry in entries:
            if entry.startswith(sets.NODE):
                tail = entry.removeprefix(sets.NODE)
                found += [(name, f"{ip}{tail}") for ip in self.ports_on]
            else:
                found.append((name, entry))
        return found

    def _external(self, ips: Iterable[str]) -> list[str]:
        """External addresses that no other device of the node holds, nor a cluster IP."""
        own = dict.fromkeys(self.node_ips)
        return [ip for ip in ips if ip not in own]

    def _entries(self) -> str:
        added = self._spread(self.step.added)
        removed = self._spread(self.step.removed)
        added += [(sets.IPVS_IPS, ip) for ip in self._external(self.step.bound)]
        removed += [(sets.IPVS_IPS, ip) for ip in self._external(self.step.unbound)]
        added += [(sets.LOOP_BACK, e) for e in self.loops if e not in self.held.loops or self.full]
        if not self.full:
            removed += [(sets.LOOP_BACK, e) for e in self.held.loops if e not in self.loops]
            lines = [f"del {self._name(n)} {e}\n" for n, e in removed if sets.addable(e)]
            lines += [f"add {self._name(n)} {e}\n" for n, e in added if sets.addable(e)]
            self.changes += len(lines)
            return "".join(lines)
        return self._all_entries(added)

    def _name(self, name: str) -> str:
        return sets.name_of(name, self.family)

    def _all_entries(self, wanted: list[tuple[str, str]]) -> str:
        """Every set, compared with what the kernel holds."""
        existing = kernel.set_entries(self.existing.get(kernel.SETS, ""))
        by_set: dict[str, dict[str, None]] = {name: {} for name in sets.SETS}
        for name, entry in wanted:
            if sets.addable(entry):
                by_set[name][entry] = None
        lines = []
        for name, entries in by_set.items():
            real = self._name(name)
            have = existing.get(real, {})
            lines.append(sets.create(name, self.family))
            lines += [f"del {real} {entry}\n" for entry in have if entry not in entries]
            lines += [f"add {real} {entry}\n" for entry in entries if entry not in have]
        self.changes += len(lines)
        return "".join(lines)

    def _binds(self) -> tuple[list[str], list[str]]:
        """Addresses to put on the device, and to take off."""
        adds = [e for n, e in self.step.added if n == sets.IPVS_IPS]
        adds += self._external(self.step.bound)
        if not self.full:
            dels = [e for n, e in self.step.removed if n == sets.IPVS_IPS]
            return list(dict.fromkeys(adds)), dels + self._external(self.step.unbound)
        wanted = dict.fromkeys(adds)
        return (
            [ip for ip in wanted if ip not in self.bound],
            [ip for ip in self.bound if ip not in wanted],
        )

    # ------------------------------------------------------------ virtual servers

    def _expand(self, servers: Iterable[Server]) -> dict[str, Server]:
        """Virtual servers by option; a NodePort's on each of the node's addresses."""
        found: dict[str, Server] = {}
        for server in servers:
            if server.ip == sets.NODE:
                found.update({server.option(ip): server for ip in self.ports_on})
            else:
                found[server.option()] = server
        return found

    def _servers(self) -> tuple[str, str]:
        """Text for ipvsadm -R: what comes and changes, and (later) which services go."""
        wanted = self._expand(self.step.servers)
        listed = kernel.virtual_servers(self.existing.get(kernel.LIST, ""))
        if not self.full:
            listed = self._former()
        lines: list[str] = []
        if self.full and kernel.LIST not in self.existing:
            lines.append("-C\n")  # who does not tell what there is starts anew
        for option, server in wanted.items():
            old = listed.get(option)
            if old is None:
                lines.append(f"-A {option} {server.flags}\n")
            elif old.flags != server.flags:
                lines.append(f"-E {option} {server.flags}\n")
            lines += self._dests(option, server, old)
        goes = [
            option for option in listed
            if option not in wanted and self._ours(option)
        ]  # fmt: skip
        for option in goes:
            for pair in [pair for pair in self.leaving if pair[0] == option]:
                del self.leaving[pair]
        self.changes += len(lines) + len(goes)
        return "".join(lines), "".join(f"-D {option}\n" for option in goes)

    def _ours(self, option: str) -> bool:
        ip = kernel.ip_of(option)
        return (":" in ip) == (self.family == "ipv6") and not self.settings.excludes(ip)

    def _former(self) -> dict[str, Listed]:
        """The virtual servers of the Services that changed, as they were programmed; with the
        connections of their real servers where the kernel was asked.
        """
        found: dict[str, Listed] = {}
        for option, server in self._expand(self.step.former).items():
            answer = self.existing.get((*kernel.LIST, *option.split()), "")
            known = kernel.virtual_servers(answer).get(option)
            found[option] = known or Listed(
                server.flags, {d: kernel.RealServer(1, 0) for d in server.dests}
            )
        return found

    def _dests(self, option: str, server: Server, old: Listed | None) -> list[str]:
        lines = []
        have = old.dests if old is not None else {}
        for dest in server.dests:
            pair = (option, dest)
            if dest not in have:
                lines.append(_add(option, dest))
            elif pair in self.leaving:
                # it comes back while it fades: deleted at once and added anew
                del self.leaving[pair]
                lines += [f"-d {option} -r {dest}\n", _add(option, dest)]
            elif self.full and have[dest].weight != 1:
                lines.append(f"-e {option} -r {dest} -m -w 1\n")
        for dest in [dest for dest in have if dest not in server.dests]:
            pair = (option, dest)
            if pair in self.leaving:
                continue
            if option.startswith(GRACEFUL) and have[dest].connections:
                lines.append(f"-e {option} -r {dest} -m -w 0\n")
                self.leaving[pair] = None
            else:
                lines.append(f"-d {option} -r {dest}\n")
        return lines


def _add(option: str, dest: str) -> str:
    return f"-a {option} -r {dest} -m -w 1\n"


def _cidr(ip: str) -> str:
    return f"{ip}/{128 if ':' in ip else 32}"


def dirty_servers(state: Proxier) -> list[str]:
    """The TCP virtual servers of Services that changed: their real servers' connections decide
    whether one may go at once.
    """
    held: Programmed | None = state.programmed
    if held is None:
        return []
    ips = node_port_ips(state.settings, held.node_ips)
    found: list[str] = []
    for key in state.dirty:
        for piece in held.account.pieces.get(key, ()):
            found += _options(piece, ips)
    return found


def _options(piece: Piece, ips: tuple[str, ...]) -> list[str]:
    if piece.port.protocol != "tcp":
        return []
    found = []
    for server in piece.servers:
        found += [server.option(ip) for ip in ips] if server.ip == sets.NODE else [server.option()]
    return found
