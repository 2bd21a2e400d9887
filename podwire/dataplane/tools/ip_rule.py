"""``ip rule``: policy rules as iproute2 6.1 prints them, and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.dataplane import commands as c
from podwire.dataplane.addr import ALL_ONES, Prefix
from podwire.dataplane.fib import TERMINAL_TYPES, PolicyRule
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import Words, not_modelled, verb_of

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

ACTIONS = (*TERMINAL_TYPES, "nop")
_WORDS = {
    "from": "src",
    "to": "dst",
    "iif": "iif",
    "dev": "iif",
    "oif": "oif",
    "table": "table",
    "lookup": "table",
    "ipproto": "protocol",
    "sport": "sport",
    "dport": "dport",
}
_NUMBERS = {
    "pref": "priority",
    "preference": "priority",
    "order": "priority",
    "priority": "priority",
    "suppress_prefixlength": "suppress_prefixlength",
}


def rules(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip rule [show]``, ``add``, ``del``."""
    verb = verb_of(words, "show", "list", "lst", "add", "delete", "flush")
    family = "ipv6" if options.family == "6" else "ipv4"
    if verb in {"add", "delete"}:
        kernel.execute(_change(ns, verb, words, family), now_ns)
        return ""
    if verb == "flush" or words:
        raise not_modelled(f"ip rule {verb} with a filter")
    fib = ns.fib6 if family == "ipv6" else ns.fib
    known = {rule.priority for rule in fib.rules}
    return "".join(line(rule, known) + "\n" for rule in fib.rules)


def line(rule: PolicyRule, priorities: set[int]) -> str:
    """One rule; ``priorities`` tells whether a goto leads anywhere."""
    if rule.unknown:
        return f"{rule.priority}:\t{rule.unknown}"
    words = ["not"] if rule.inverted else []
    words.append(f"from {_end(rule.src)}")
    if rule.dst is not None:
        words.append(f"to {_end(rule.dst)}")
    if rule.mask:
        mask = "" if rule.mask == ALL_ONES else f"/{rule.mask:#x}"
        words.append(f"fwmark {rule.mark:#x}{mask}")
    words += [f"iif {rule.iif}"] if rule.iif else []
    words += [f"oif {rule.oif}"] if rule.oif else []
    words += [f"ipproto {rule.protocol}"] if rule.protocol else []
    for word, ports in (("sport", rule.sport), ("dport", rule.dport)):
        if ports is not None:
            low, high = ports
            words.append(f"{word} {low}" if low == high else f"{word} {low}-{high}")
    if rule.action == "lookup":
        words.append(f"lookup {rule.table}")
        if rule.suppress_prefixlength >= 0:
            words.append(f"suppress_prefixlength {rule.suppress_prefixlength}")
    elif rule.action == "goto":
        there = "" if rule.target in priorities else " [unresolved]"
        words.append(f"goto {rule.target}{there}")
    else:
        words.append(rule.action)
    words += [rule.more] if rule.more else []
    return f"{rule.priority}:\t{' '.join(words)}"


def _end(prefix: Prefix | None) -> str:
    return "all" if prefix is None else prefix.shown


def _change(ns: Netns, verb: str, words: Words, family: str) -> c.RuleAdd | c.RuleDel:
    given: dict[str, Any] = {}
    for word in words:
        if word == "not":
            given["inverted"] = True
        elif word in ACTIONS:
            given["action"] = word
        elif word == "goto":
            given["action"], given["target"] = "goto", int(words.next())
        elif word == "fwmark":
            mark, _, mask = words.next().partition("/")
            given["mark"], given["mask"] = int(mark, 0), int(mask, 0) if mask else ALL_ONES
        elif word in _NUMBERS:
            given[_NUMBERS[word]] = int(words.next())
        elif word in _WORDS:
            value = words.next()
            if value not in {"all", "any"} or _WORDS[word] not in {"src", "dst"}:
                given[_WORDS[word]] = value
        else:
            raise not_modelled(f"ip rule {verb} {word}")
    if ":" in given.get("src", "") + given.get("dst", ""):
        family = "ipv6"
    if verb == "add":
        return c.RuleAdd(netns=ns.name, family=family, **given)
    unknown = [word for word in given if word not in c.RuleDel.__struct_fields__]
    if unknown:
        raise not_modelled(f"ip rule del {unknown[0]}")
    return c.RuleDel(netns=ns.name, family=family, **given)
