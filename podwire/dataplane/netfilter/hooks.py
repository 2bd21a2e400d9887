"""The five hooks of the IP stacks: who sees packets where (``stages``, the one list), and how."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from podwire.dataplane.addr import family_of
from podwire.dataplane.netfilter import compile as program
from podwire.dataplane.netfilter import fates, nat
from podwire.dataplane.netfilter.env import Env
from podwire.dataplane.netfilter.interpret import Verdict
from podwire.dataplane.netfilter.tables import BASE_CHAINS
from podwire.dataplane.netfilter.targets import REJECTS, Nat, Reject
from podwire.dataplane.netns import Netns
from podwire.dataplane.nft import chains, priorities
from podwire.dataplane.nft.model import Base
from podwire.dataplane.packet import Packet
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate

Step = Callable[[Run, Netns, Skb, str], bool]


class Stage(NamedTuple):
    """Something that sees packets at a hook; ``run`` is False when the packet ended there."""

    priority: int
    name: str
    run: Step


TABLES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""The priorities of iptables' tables but nat (include/uapi/linux/netfilter_ipv4.h)."""
CONNTRACK, LAST = -200, (1 << 31) - 1
NAT = {"PREROUTING": -100, "OUTPUT": -100, "POSTROUTING": 100, "INPUT": 100}
IPVS = {
    "INPUT": ((98, "out"), (99, "in")),
    "OUTPUT": ((-99, "out"), (-98, "in")),
    "FORWARD": ((100, "out"),),
}
"""ip_vs_ops4 of net/netfilter/ipvs/ip_vs_core.c: answers and requests."""


def run(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    """Pass a packet through a hook; False when it ended there.

    Accepted by one, it goes on to the next; dropped by one, it ends.
    """
    if run.notes is not None:
        run.notes.hook(ns)
    for stage in _plan(ns, skb.packet.dst)[hook]:  # noqa: SIM110  # a generator costs a tenth
        if not stage.run(run, ns, skb, hook):
            return False
    return True


class _Plan(NamedTuple):
    of: tuple[object, object, object]
    hooks: dict[str, tuple[Stage, ...]]


def _plan(ns: Netns, address: str) -> dict[str, tuple[Stage, ...]]:
    nf, ruleset = ns.netfilter6 if ":" in address else ns.netfilter, ns.nft.ruleset
    known: _Plan | None = ns.plans.get(nf.family)
    if known is not None:
        version, bases, tracks = known.of
        if version is nf.version and bases is ruleset.bases and tracks is ruleset.tracks:
            return known.hooks
    made = _Plan(
        (nf.version, ruleset.bases, ruleset.tracks),
        {hook: tuple(stages(ns, nf.family, hook)) for hook in priorities.HOOKS.values()},
    )
    ns.plans[nf.family] = made
    return made.hooks


def stages(ns: Netns, family: str, hook: str) -> list[Stage]:
    """Who sees packets of a family (ipv4, ipv6) at a hook, in order: the one list.

    Of two with one priority the later registered comes first, as in nf_hook_entries_grow; tables of
    iptables count as registered before any chain of nft.
    """
    nf = ns.netfilter6 if family == "ipv6" else ns.netfilter
    own = "ip6" if family == "ipv6" else "ip"
    ruleset = ns.nft.ruleset
    bases = [
        base
        for base in reversed(ruleset.bases)
        if priorities.HOOKS[base.hook] == hook and base.table[0] in {own, "inet"}
    ]
    bases.sort(key=lambda base: -base.order)
    found = [
        Stage(base.priority, f"{base.table[0]} {base.table[1]} {base.chain}", chains.step(base))
        for base in bases
        if base.type != "nat"
    ]
    found += [
        Stage(priority, table, partial(_table, table=table))
        for table, priority in TABLES.items()
        if table in nf.tables and hook in BASE_CHAINS[table]
    ]
    translating = sorted((b for b in bases if b.type == "nat"), key=lambda base: base.priority)
    natted = any(b.type == "nat" and b.table[0] in {own, "inet"} for b in ruleset.bases)
    if hook in NAT and ("nat" in nf.tables or natted):  # one chain makes all four hooks translate
        found.append(Stage(NAT[hook], "nat", partial(_nat, bases=tuple(translating))))
    if nf.tracks or own in ruleset.tracks:
        if hook in {"PREROUTING", "OUTPUT"}:
            found.append(Stage(CONNTRACK, "conntrack", _conntrack))
        if hook in {"INPUT", "POSTROUTING"}:
            found.append(Stage(LAST, "confirm", _confirm))
    if nf.ipvs:
        found += [
            Stage(priority, f"ipvs_{way}", partial(_ipvs, way=way))
            for priority, way in IPVS.get(hook, ())
        ]
    return sorted(found, key=lambda stage: stage.priority)


def _ipvs(run: Run, ns: Netns, skb: Skb, hook: str, *, way: str) -> bool:
    from podwire.dataplane.stack import ipvs  # noqa: PLC0415  # the stack calls the hooks

    ask = ipvs.incoming if way == "in" else ipvs.outgoing
    return ask(run, ns, skb, hook)


def bridged(ns: Netns, address: str) -> bool:
    """Whether bridged packets of an address' family pass the hooks too (br_netfilter)."""
    key = _CALL_IP6TABLES if ":" in address else _CALL_IPTABLES
    return ns.sysctls.number(key) == 1


_CALL_IPTABLES = "net.bridge.bridge-nf-call-iptables"
_CALL_IP6TABLES = "net.bridge.bridge-nf-call-ip6tables"


def _walk(run: Run, ns: Netns, skb: Skb, table: str, hook: str) -> Verdict:
    nf = ns.netfilter_of(skb.packet.dst)
    chain = nf.tables[table][hook]
    if run.notes is not None:
        run.notes.table(nf, table, hook)
    if not chain.items and chain.policy == "ACCEPT":
        nf.hit_policy(table, hook, skb.packet.size_bytes)
        return _ACCEPT
    meter = run.recorder.meter if run.recorder is not None else None
    env = Env(ns, run.now_ns, run.kernel.chance, table, nf, meter)
    return program.walk(nf, table, hook, skb, env, run.recorder)


_ACCEPT = Verdict("ACCEPT", None, "")


def _table(run: Run, ns: Netns, skb: Skb, hook: str, *, table: str) -> bool:
    """A filtering table (raw, mangle, filter, security)."""
    verdict = _walk(run, ns, skb, table, hook)
    return verdict.kind == "ACCEPT" or _end(run, ns, skb, table, verdict)


def _end(run: Run, ns: Netns, skb: Skb, table: str, verdict: Verdict) -> bool:
    """A verdict other than ACCEPT: the packet ends here. Always False."""
    rule, chain = verdict.rule, verdict.chain
    text = f"-A {chain} {rule.text}" if rule is not None else f"-P {chain} {verdict.kind}"
    if verdict.kind == "REJECT":
        assert rule is not None
        assert isinstance(rule.target, Reject)
        fate, reason = fates.of_reject(rule, chain), f"rejected with {rule.target.kind}"
    elif verdict.kind == "DROP":
        fate, reason = fates.of_drop(rule, chain), f"dropped in {table} {chain}"
    else:
        what = verdict.what or f"{verdict.kind} in table {table}"
        fate, reason = Fate.UNKNOWN, f"not modelled: {what}"
    run.drop(ns, fate, skb.packet, reason, stage=table, object=chain, rule=text, chain=chain)
    if verdict.kind == "REJECT":
        assert rule is not None
        assert isinstance(rule.target, Reject)
        reject(run, ns, skb, rule.target.kind)
    return False


def reject(run: Run, ns: Netns, skb: Skb, kind: str) -> None:
    """Tell a packet's sender that it was refused; ``kind`` as after ``--reject-with``."""
    from podwire.dataplane.stack import icmp, ip  # noqa: PLC0415  # the stack calls the hooks

    if kind == "tcp-reset":
        if skb.packet.protocol == "tcp":
            ip.output(run, ns, ip.reset_for(skb.packet))
        return
    icmp.error(run, ns, skb, *REJECTS[family_of(skb.packet.dst)][kind])


def _conntrack(run: Run, ns: Netns, skb: Skb, _hook: str) -> bool:
    if skb.ct_state:
        return True  # looped back: tracked at OUTPUT already
    if ns.netfilter.ipvs:
        ns.expire_ipvs(run.now_ns)  # a connection's end takes its entry along
    if run.notes is not None:
        run.notes.tracking(ns, skb)
    found = ns.conntrack.track(skb.packet, ns.sysctls, run.now_ns, skb.zone)
    if run.notes is not None:
        run.notes.tracked(skb, found)
    if found.full:
        run.drop(
            ns,
            Fate.CT_FULL,
            skb.packet,
            "nf_conntrack: table full, dropping packet",
            stage="conntrack",
            object="nf_conntrack",
        )
        return False
    skb.ct, skb.ct_reply, skb.ct_state = found.entry, found.reply, found.state
    if run.recorder is not None:
        run.recorder.meter.asked("conntrack")
        number = f" #{found.entry.id}" if found.entry is not None else ""
        detail = f"{found.state.lower()}{number}{' reply' if found.reply else ''}"
        run.recorder.step("conntrack", "nf_conntrack", found.state.lower(), detail, netns=ns.name)
    return True


def _confirm(run: Run, ns: Netns, skb: Skb, _hook: str) -> bool:
    if skb.ct is None or skb.ct.confirmed:
        return True
    fresh, skb.ct = skb.ct, ns.conntrack.confirm(skb.ct, run.now_ns)
    if run.recorder is not None:
        run.recorder.meter.asked("conntrack insertion", 2)
    if run.notes is not None:
        run.notes.confirm(fresh, skb.ct)
    if skb.ct is not None:
        return True
    run.drop(
        ns,
        Fate.LOST,
        skb.packet,
        "conntrack insert failed: another packet of this flow was faster",
        stage="conntrack",
        object="nf_conntrack",
    )
    return False


def _nat(run: Run, ns: Netns, skb: Skb, hook: str, *, bases: tuple[Base, ...]) -> bool:
    """Translate: nft's chains and iptables' table in turn, until one of them has an opinion."""
    entry = skb.ct
    if entry is None:
        return True
    source = hook in nat.SOURCE_HOOKS
    if skb.ct_state == "NEW" and not nat.bound(entry, source=source):
        late = [base for base in bases if base.priority > NAT[hook]]
        early = [base for base in bases if base.priority <= NAT[hook]]
        passed = (
            _nat_chains(run, ns, skb, hook, early)
            and _nat_table(run, ns, skb, hook)
            and _nat_chains(run, ns, skb, hook, late)
        )
        if not passed:
            return False
        if not nat.bound(entry, source=source):
            to = entry.reply[3] if source else entry.reply[1]
            _bind(run, ns, skb, None, to, source=source)
    before = skb.packet
    nat.translate(skb, source=source)
    if run.recorder is not None and skb.packet is not before:
        _record(run, ns, skb, hook, before)
    return True


def _nat_chains(run: Run, ns: Netns, skb: Skb, hook: str, bases: list[Base]) -> bool:
    for base in bases:
        assert skb.ct is not None
        if nat.bound(skb.ct, source=hook in nat.SOURCE_HOOKS):
            return True
        decision = chains.decide(run, ns, skb, base)
        if decision.kind == "nat":
            if not _translate_to(run, ns, skb, hook, decision.data):
                return False
        elif decision.kind != "accept":
            return chains.end(run, ns, skb, decision, reject)
    return True


def _nat_table(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    source = hook in nat.SOURCE_HOOKS
    assert skb.ct is not None
    if nat.bound(skb.ct, source=source) or "nat" not in ns.netfilter_of(skb.packet.dst).tables:
        return True
    verdict = _walk(run, ns, skb, "nat", hook)
    if verdict.kind not in {"ACCEPT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT"}:
        return _end(run, ns, skb, "nat", verdict)
    target = verdict.rule.target if verdict.rule is not None else None
    if not isinstance(target, Nat):
        return True
    if source == (target.name in {"DNAT", "REDIRECT"}):
        return _end(run, ns, skb, "nat", verdict._replace(what=f"{target.name} in {hook}"))
    return _translate_to(run, ns, skb, hook, target)


def _translate_to(run: Run, ns: Netns, skb: Skb, hook: str, target: Nat) -> bool:
    to = _new_address(ns, skb, target)
    if not to:
        way = "incoming" if target.name == "REDIRECT" else "outgoing"
        lost = f"{target.name}: the {way} device has no address"
        run.drop(ns, Fate.DROPPED_BY_RULE, skb.packet, lost, stage="nat", object=hook)
        return False
    _bind(run, ns, skb, target, to, source=hook in nat.SOURCE_HOOKS)
    return True


def _new_address(ns: Netns, skb: Skb, target: Nat) -> str:
    """What a translation leads to. A redirect: this machine, by the device the packet came in."""
    assert skb.ct is not None
    if target.name == "REDIRECT":
        if not skb.in_dev:
            return "::1" if ":" in skb.packet.dst else "127.0.0.1"
        return ns.primary_address(skb.in_dev, skb.packet.src)
    if target.name != "MASQUERADE":
        return nat.pick_address(target, skb.ct)
    if ":" in skb.packet.dst:  # nf_nat_masquerade_ipv6 looks at the destination itself
        return ns.primary_address(skb.out_dev, skb.packet.dst)
    route = ns.fib.route(skb.packet)
    hop = route.via if route is not None and route.via else skb.packet.dst
    return ns.primary_address(skb.out_dev, hop)


def _bind(run: Run, ns: Netns, skb: Skb, target: Nat | None, to: str, *, source: bool) -> None:
    assert skb.ct is not None
    nat.bind(ns, skb.ct, target, source=source, rng=run.kernel.rng, now_ns=run.now_ns, to=to)


def _record(run: Run, ns: Netns, skb: Skb, hook: str, packet: Packet) -> None:
    """Note what became of a packet."""
    assert run.recorder is not None
    assert skb.ct is not None
    source = hook in nat.SOURCE_HOOKS
    result = ("snat" if source else "dnat") if not skb.ct_reply else "undo"
    before, after = packet.flow, skb.packet.flow
    run.recorder.step(
        "nat",
        hook,
        result,
        f"{before} -> {after}  ct #{skb.ct.id}",
        netns=ns.name,
        before=before,
        after=after,
    )
