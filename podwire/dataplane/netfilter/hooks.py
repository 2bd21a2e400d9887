"""The five hooks of the IP stacks. What runs at each, in order, is ``tables.HOOKS``."""

from __future__ import annotations

from podwire.dataplane.netfilter import compile as program
from podwire.dataplane.netfilter import fates, nat
from podwire.dataplane.netfilter.env import Env
from podwire.dataplane.netfilter.interpret import Verdict
from podwire.dataplane.netfilter.targets import Nat, Reject
from podwire.dataplane.netns import Netns
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate

REJECTS = {
    "icmp-net-unreachable": (3, 0),
    "icmp-host-unreachable": (3, 1),
    "icmp-proto-unreachable": (3, 2),
    "icmp-port-unreachable": (3, 3),
    "icmp-net-prohibited": (3, 9),
    "icmp-host-prohibited": (3, 10),
    "icmp-admin-prohibited": (3, 13),
    "icmp6-no-route": (1, 0),
    "icmp6-adm-prohibited": (1, 1),
    "icmp6-addr-unreachable": (1, 3),
    "icmp6-port-unreachable": (1, 4),
    "icmp6-policy-fail": (1, 5),
    "icmp6-reject-route": (1, 6),
}
"""ICMP type and code of each ``--reject-with``."""


def run(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    """Pass a packet through a hook; False when it ended there."""
    plan = ns.netfilter_of(skb.packet.dst).plan.get(hook)
    if not plan:
        return True
    for stage in plan:
        if stage == "conntrack":
            passed = _conntrack(run, ns, skb)
        elif stage == "confirm":
            passed = _confirm(run, ns, skb)
        elif stage == "nat":
            passed = _nat(run, ns, skb, hook)
        elif stage in {"ipvs_in", "ipvs_out"}:
            passed = _ipvs(run, ns, skb, stage, hook)
        else:
            passed = _table(run, ns, skb, stage, hook)
        if not passed:
            return False
    return True


def _ipvs(run: Run, ns: Netns, skb: Skb, stage: str, hook: str) -> bool:
    from podwire.dataplane.stack import ipvs  # noqa: PLC0415  # the stack calls the hooks

    ask = ipvs.incoming if stage == "ipvs_in" else ipvs.outgoing
    return ask(run, ns, skb, hook)


def bridged(ns: Netns, address: str) -> bool:
    """Whether bridged packets of an address' family pass the hooks too (br_netfilter)."""
    tool = "ip6tables" if ":" in address else "iptables"
    return ns.sysctls.number(f"net.bridge.bridge-nf-call-{tool}") == 1


def _walk(run: Run, ns: Netns, skb: Skb, table: str, hook: str) -> Verdict:
    nf = ns.netfilter_of(skb.packet.dst)
    chain = nf.tables[table][hook]
    if not chain.rules and chain.policy == "ACCEPT":
        nf.hit_policy(table, hook, skb.packet.size_bytes)
        return _ACCEPT
    env = Env(ns, run.now_ns, run.kernel.chance, table, nf)
    return program.walk(nf, table, hook, skb, env, run.recorder)


_ACCEPT = Verdict("ACCEPT", None, "")


def _table(run: Run, ns: Netns, skb: Skb, table: str, hook: str) -> bool:
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
        _reject(run, ns, skb, rule.target.kind)
    return False


def _reject(run: Run, ns: Netns, skb: Skb, kind: str) -> None:
    from podwire.dataplane.stack import icmp, ip  # noqa: PLC0415  # the stack calls the hooks

    if kind == "tcp-reset":
        if skb.packet.protocol == "tcp":
            ip.output(run, ns, ip.reset_for(skb.packet))
        return
    icmp.error(run, ns, skb, *REJECTS[kind])


def _conntrack(run: Run, ns: Netns, skb: Skb) -> bool:
    if skb.ct_state:
        return True  # looped back: tracked at OUTPUT already
    if ns.netfilter.ipvs:
        ns.expire_ipvs(run.now_ns)  # a connection's end takes its entry along
    found = ns.conntrack.track(skb.packet, ns.sysctls, run.now_ns)
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
        number = f" #{found.entry.id}" if found.entry is not None else ""
        detail = f"{found.state.lower()}{number}{' reply' if found.reply else ''}"
        run.recorder.step("conntrack", "nf_conntrack", found.state.lower(), detail, netns=ns.name)
    return True


def _confirm(run: Run, ns: Netns, skb: Skb) -> bool:
    if skb.ct is None or ns.conntrack.confirm(skb.ct, run.now_ns):
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


def _nat(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    entry = skb.ct
    if entry is None:
        return True
    source = hook in nat.SOURCE_HOOKS
    if skb.ct_state == "NEW" and not nat.bound(entry, source=source):
        verdict = _walk(run, ns, skb, "nat", hook)
        if verdict.kind not in {"ACCEPT", "DNAT", "SNAT", "MASQUERADE"}:
            return _end(run, ns, skb, "nat", verdict)
        target = verdict.rule.target if verdict.rule is not None else None
        if isinstance(target, Nat):
            if source == (target.name == "DNAT"):
                return _end(run, ns, skb, "nat", verdict._replace(what=f"{target.name} in {hook}"))
            to = _new_address(ns, skb, target)
            if not to:
                lost = "MASQUERADE: the outgoing device has no address"
                run.drop(ns, Fate.DROPPED_BY_RULE, skb.packet, lost, stage="nat", object=hook)
                return False
            _bind(run, ns, skb, target, to, source=source)
        else:
            to = entry.reply[3] if source else entry.reply[1]
            _bind(run, ns, skb, None, to, source=source)
    before = skb.packet
    nat.translate(skb, source=source)
    if run.recorder is not None and skb.packet is not before:
        _record(run, ns, skb, hook, before.flow)
    return True


def _new_address(ns: Netns, skb: Skb, target: Nat) -> str:
    assert skb.ct is not None
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


def _record(run: Run, ns: Netns, skb: Skb, hook: str, before: object) -> None:
    from podwire.dataplane.verdict import Flow  # noqa: PLC0415  # only when recording

    assert run.recorder is not None
    assert isinstance(before, Flow)
    assert skb.ct is not None
    source = hook in nat.SOURCE_HOOKS
    result = ("snat" if source else "dnat") if not skb.ct_reply else "undo"
    after = skb.packet.flow
    run.recorder.step(
        "nat",
        hook,
        result,
        f"{before} -> {after}  ct #{skb.ct.id}",
        netns=ns.name,
        before=before,
        after=after,
    )
