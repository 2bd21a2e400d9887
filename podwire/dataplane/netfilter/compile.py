"""Chains made fast: closures per rule, and an index over destination and port.

The index only leaves out rules that cannot match; those that may are tried in their order by the
same tests, so the outcome (verdict, counters, draws) equals that of ``interpret``. So does the
account (``cost``): the rules left out are those that a kernel tries in vain, and count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane.addr import Prefix, ip_int, ip_text
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.interpret import Verdict, note
from podwire.dataplane.netfilter.lines import Key, Rules
from podwire.dataplane.netfilter.rule import Rule
from podwire.dataplane.skb import Skb

if TYPE_CHECKING:
    from podwire.dataplane.emit import Recorder
    from podwire.dataplane.netfilter.tables import Chain, Netfilter

Test = Callable[[Skb, Env], bool]

INDEX_FROM = 6
"""Chains shorter than this are walked without an index."""
PLAIN, JUMP, RETURN, END = range(4)


class Op(NamedTuple):
    """A rule ready to run."""

    tests: tuple[Test, ...]
    kind: int
    rule: Rule


def _prefix_test(prefix: Prefix, field: str, *, inverted: bool) -> Test:
    if prefix.single:
        text = ip_text(prefix.network, prefix.bits)
        if field == "src":
            return lambda skb, _: (skb.packet.src == text) != inverted
        return lambda skb, _: (skb.packet.dst == text) != inverted
    network, shift = prefix.network, prefix.bits - prefix.length
    if field == "src":
        return lambda skb, _: ((ip_int(skb.packet.src) ^ network) >> shift == 0) != inverted
    return lambda skb, _: ((ip_int(skb.packet.dst) ^ network) >> shift == 0) != inverted


def _tests(rule: Rule) -> tuple[Test, ...]:
    tests: list[Test] = []
    if rule.src is not None:
        tests.append(_prefix_test(rule.src, "src", inverted=rule.not_src))
    if rule.dst is not None:
        tests.append(_prefix_test(rule.dst, "dst", inverted=rule.not_dst))
    if rule.in_dev:
        dev_in, not_in = rule.in_dev, rule.not_in
        tests.append(lambda skb, _: m.device(dev_in, skb.in_dev) != not_in)
    if rule.out_dev:
        dev_out, not_out = rule.out_dev, rule.not_out
        tests.append(lambda skb, _: m.device(dev_out, skb.out_dev) != not_out)
    if rule.protocol:
        protocol, not_protocol = rule.protocol, rule.not_protocol
        tests.append(lambda skb, _: (skb.packet.protocol == protocol) != not_protocol)
    tests += [match.test for match in rule.matches if not isinstance(match, m.Comment)]
    return tuple(tests)


def _kind(rule: Rule) -> int:
    if rule.target is None:
        return JUMP if rule.jump else PLAIN
    if rule.target.name == "RETURN":
        return RETURN
    return END if rule.target.TERMINAL else PLAIN


def _port_key(rule: Rule) -> tuple[str, int] | None:
    """The (protocol, port) without which a rule cannot match, if it has one.

    Only when nothing with a memory or a draw comes before: leaving the rule out must not skip it.
    """
    for match in rule.matches:
        if isinstance(match, m.Ports) and match.dport is not None and not match.not_dport:
            return (match.protocol, match.dport[0]) if match.dport[0] == match.dport[1] else None
        if not match.PURE:
            return None
    return None


class Compiled:
    """The program of one chain. ``choices`` counts the outcomes of its random rules."""

    __slots__ = (
        "_all",
        "_by_dst",
        "_by_port",
        "_rest",
        "_rules",
        "choices",
        "name",
        "ops",
        "steady",
    )

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self._rules = rules
        self.ops: list[Op | None] = [None] * len(rules)
        """Made when a packet first comes to them (``op``)."""
        self.choices = choices(rules)
        self.steady: bool | None = None
        """Whether ``dataplane.paths`` may keep what it decides; None: not yet asked."""
        self._all: tuple[int, ...] = tuple(range(len(rules)))
        self._by_dst: dict[str, tuple[int, ...]] = {}
        self._by_port: dict[tuple[str, int], tuple[int, ...]] = {}
        self._rest: tuple[int, ...] = ()
        if len(rules) >= INDEX_FROM:
            self._index(rules)

    def op(self, index: int) -> Op:
        """A rule ready to run."""
        found = self.ops[index]
        if found is None:
            rule = self._rules[index]
            found = self.ops[index] = Op(_tests(rule), _kind(rule), rule)
        return found

    def _index(self, rules: Rules) -> None:
        by_dst: dict[str, list[int]] = {}
        by_port: dict[tuple[str, int], list[int]] = {}
        rest = []
        for i, key in enumerate(rules.keys()):
            dst, port = key if key is not None else _key(rules[i])
            if dst:
                by_dst.setdefault(dst, []).append(i)
            elif port is not None:
                by_port.setdefault(port, []).append(i)
            else:
                rest.append(i)
        if len(by_dst) + len(by_port) > 1:
            self._by_dst = {key: tuple(found) for key, found in by_dst.items()}
            self._by_port = {key: tuple(found) for key, found in by_port.items()}
            self._rest = tuple(rest)

    def candidates(self, skb: Skb) -> tuple[int, ...]:
        """The rules that could match, in order."""
        if not self._by_dst and not self._by_port:
            return self._all
        packet = skb.packet
        found = self._by_dst.get(packet.dst, ())
        if self._by_port:
            found += self._by_port.get((packet.protocol, packet.dst_port), ())
        return tuple(sorted(found + self._rest)) if found else self._rest


def _key(rule: Rule) -> Key:
    if rule.dst is not None and rule.dst.single and not rule.not_dst:
        return Key(ip_text(rule.dst.network, rule.dst.bits))
    return Key(port=_port_key(rule))


def choices(rules: Rules) -> int:
    """How many outcomes the random rules of a chain have together."""
    random = sum(
        1
        for rule in rules.about(" statistic ")
        for match in rule.matches
        if isinstance(match, m.Statistic) and 0 < match.probability < 1
    )
    return random + 1


def _all(tests: tuple[Test, ...], skb: Skb, env: Env) -> bool:
    for test in tests:  # noqa: SIM110  # a generator costs more than the tests
        if not test(skb, env):
            return False
    return True


def walk(
    nf: Netfilter, table: str, base: str, skb: Skb, env: Env, recorder: Recorder | None
) -> Verdict:
    """Walk a packet through a table from a base chain (ipt_do_table)."""
    chains = nf.tables[table]
    chain = chains[base]
    size = skb.packet.size_bytes
    order, at = chain.code.candidates(skb), 0
    stack: list[tuple[Chain, tuple[int, ...], int, int]] = []
    env.chain = chain.code
    meter, since = env.meter, 0  # the first rule of the chain that is not accounted for yet
    while True:
        if at == len(order):
            if meter is not None:
                meter.walked("iptables rule", len(chain.rules) - since)
            if not stack:
                nf.hit_policy(table, base, size)
                return Verdict(chains[base].policy, None, base)
            chain, order, at, since = stack.pop()
            env.chain = chain.code
            continue
        index = order[at]
        at += 1
        code = chain.code
        op = code.ops[index] or code.op(index)
        try:
            if not _all(op.tests, skb, env):
                continue
            nf.hit(table, chain, index, size)
            if meter is not None:
                meter.walked("iptables rule", index + 1 - since)
            since = index + 1
            if recorder is not None:
                note(recorder, env, table, chain.name, op.rule)
            if op.kind == PLAIN:
                if op.rule.target is not None:
                    op.rule.target.act(skb, env)
                continue
        except UnknownModelError as unknown:
            if meter is not None:
                meter.walked("iptables rule", index + 1 - since)
            return Verdict("UNKNOWN", op.rule, chain.name, str(unknown))
        if op.kind == END:
            assert op.rule.target is not None
            return Verdict(op.rule.target.name, op.rule, chain.name)
        if op.kind == RETURN:
            at, since = len(order), len(chain.rules)
            continue
        if not op.rule.goto:
            stack.append((chain, order, at, since))
        chain = chains[op.rule.jump]
        env.chain = chain.code
        order, at, since = chain.code.candidates(skb), 0, 0
