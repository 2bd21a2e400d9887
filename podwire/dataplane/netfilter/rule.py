"""One rule: its text parsed once, whoever and however often it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakValueDictionary

from podwire.dataplane.addr import Prefix, parse_prefix
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter import targets
from podwire.dataplane.netfilter.match_set import SetTarget
from podwire.dataplane.netfilter.text import RuleError, split
from podwire.dataplane.packet import PROTOCOL_NUMBERS

KEEP = 1 << 14
ALIASES = {"ipv6-icmp": "icmpv6"}
PRINTED = {"icmpv6": "ipv6-icmp"}
"""Protocols that ip6tables prints by another name than their match has."""
IMPLICIT = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "icmpv6": "icmp6"}
"""The match that ``-p`` loads by itself."""
PROTOCOLS = {str(PROTOCOL_NUMBERS[name]): name for name in IMPLICIT}


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Rule:
    """A parsed rule. Equal texts give the same object, so identity is equality.

    ``target`` is None for a rule that jumps (``jump``, ``goto``) or has no target at all. ``text``
    is what iptables-save prints after ``-A CHAIN``.
    """

    src: Prefix | None
    not_src: bool
    dst: Prefix | None
    not_dst: bool
    in_dev: str
    not_in: bool
    out_dev: str
    not_out: bool
    protocol: str
    not_protocol: bool
    matches: tuple[m.Match, ...]
    target: targets.Target | None
    jump: str
    goto: bool
    text: str
    set_names: tuple[str, ...] = ()
    """The ipsets that its matches and target refer to."""

    @property
    def comment(self) -> str:
        """The text of its comment match, which names the object it comes from; "" if none."""
        return next((x.text for x in self.matches if isinstance(x, m.Comment)), "")

    @property
    def verb(self) -> str:
        """What follows ``-j`` or ``-g``; "" for a rule that only counts."""
        return self.target.name if self.target is not None else self.jump


class _Draft:
    """Words of a rule sorted into header, matches and target."""

    def __init__(self) -> None:
        self.header: dict[str, tuple[str, bool]] = {}
        self.matches: list[tuple[str, list[str]]] = []
        self.verb = ""
        self.goto = False
        self.target_words: list[str] = []


_HEADER = {
    "-s": "src",
    "--source": "src",
    "--src": "src",
    "-d": "dst",
    "--destination": "dst",
    "--dst": "dst",
    "-i": "in",
    "--in-interface": "in",
    "-o": "out",
    "--out-interface": "out",
    "-p": "protocol",
    "--protocol": "protocol",
    "--proto": "protocol",
}
_OF_PROTOCOL = (
    "--dport",
    "--sport",
    "--destination-port",
    "--source-port",
    "--syn",
    "--tcp-flags",
    "--icmp-type",
    "--icmpv6-type",
    "--chunk-types",
)


@lru_cache(maxsize=KEEP)
def parse(text: str, family: str = "ipv4") -> Rule:
    """The rule of the words after ``-A CHAIN`` of iptables or ip6tables. Raises RuleError."""
    return _canonical(_build(_sort(split(text)), family), family)


@lru_cache(maxsize=KEEP)
def from_words(words: tuple[str, ...], family: str = "ipv4") -> Rule:
    """The rule of words as a shell hands them over. Raises RuleError."""
    return _canonical(_build(_sort(list(words)), family), family)


_KNOWN: WeakValueDictionary[tuple[str, str], Rule] = WeakValueDictionary()
"""The one rule of each canonical text, as long as somebody holds it."""


def _canonical(rule: Rule, family: str) -> Rule:
    return _KNOWN.setdefault((rule.text, family), rule)


def _sort(words: list[str]) -> _Draft:
    draft = _Draft()
    bucket: list[str] | None = None
    i = 0
    while i < len(words):
        word = words[i]
        inverted = word == "!"
        if inverted:
            i += 1
            word = words[i] if i < len(words) else ""
        following = words[i + 1] if i + 1 < len(words) else ""
        if word in _HEADER and following:
            if following == "!" and i + 2 < len(words):
                inverted, following, i = True, words[i + 2], i + 1
            draft.header[_HEADER[word]] = (following, inverted)
            i += 2
        elif word in {"-m", "--match"} and following:
            bucket = []
            draft.matches.append((following, bucket))
            i += 2
        elif word in {"-j", "--jump", "-g", "--goto"} and following:
            draft.verb, draft.goto = following, word in {"-g", "--goto"}
            bucket = draft.target_words
            i += 2
        else:
            if word in _OF_PROTOCOL:
                bucket = _protocol_bucket(draft)
            if bucket is None or (word.startswith("-") and not word.startswith("--")):
                raise RuleError(f'unknown option "{word}"')
            i = _take(words, i, bucket, inverted=inverted)
    return draft


def _take(words: list[str], i: int, bucket: list[str], *, inverted: bool) -> int:
    """Copy an option with its arguments into a match's or target's words; where to go on."""
    if inverted:
        bucket.append("!")
    bucket.append(words[i])
    i += 1
    # an argument may look like anything after --comment and the like; options have one at least
    if bucket[-1] in {"--comment", "--log-prefix"} and i < len(words):
        bucket.append(words[i])
        return i + 1
    while i < len(words) and not words[i].startswith("-"):
        if words[i] == "!" and (i + 1 >= len(words) or words[i + 1].startswith("-")):
            break
        bucket.append(words[i])
        i += 1
    return i


def _protocol_bucket(draft: _Draft) -> list[str]:
    """The words of the protocol's own match, which ``-p`` loads without ``-m``."""
    protocol = draft.header.get("protocol", ("", False))[0]
    protocol = PROTOCOLS.get(protocol, ALIASES.get(protocol, protocol))
    for name, words in reversed(draft.matches):
        if name in IMPLICIT.values() or (name not in m.NAMES):
            return words
    if protocol not in IMPLICIT:
        raise RuleError("a port or type needs -p tcp, udp or icmp")
    implied: list[str] = []
    draft.matches.append((IMPLICIT[protocol], implied))
    return implied


def _network(text: str, family: str) -> Prefix | None:
    try:
        prefix = parse_prefix(text, 128 if family == "ipv6" else 32)
    except ValueError:
        raise RuleError(f"host/network `{text}' not found") from None
    return prefix if prefix.length else None


def _build(draft: _Draft, family: str) -> Rule:
    header = draft.header
    src, not_src = header.get("src", ("any", False))
    dst, not_dst = header.get("dst", ("any", False))
    protocol, not_protocol = header.get("protocol", ("all", False))
    protocol = PROTOCOLS.get(protocol, ALIASES.get(protocol.lower(), protocol.lower()))
    found = tuple(m.parse(name, words, family) for name, words in draft.matches)
    target = targets.parse(draft.verb, draft.target_words, family) if draft.verb else None
    if target is None and draft.target_words:
        raise RuleError(f"Couldn't load target `{draft.verb}':No such file or directory")
    if target is not None and draft.goto:
        raise RuleError(f"goto '{draft.verb}' is not a chain")
    in_dev, not_in = header.get("in", ("", False))
    out_dev, not_out = header.get("out", ("", False))
    rule = Rule(
        src=_network(src, family),
        not_src=not_src,
        dst=_network(dst, family),
        not_dst=not_dst,
        in_dev=in_dev,
        not_in=not_in,
        out_dev=out_dev,
        not_out=not_out,
        protocol="" if protocol in {"all", "0"} else protocol,
        not_protocol=not_protocol,
        matches=found,
        target=target,
        jump=draft.verb if target is None else "",
        goto=draft.goto,
        text="",
        set_names=_set_names(found, target),
    )
    object.__setattr__(rule, "text", _save(rule))
    return rule


def _set_names(found: tuple[m.Match, ...], target: targets.Target | None) -> tuple[str, ...]:
    names = tuple(match.set_name for match in found if isinstance(match, m.MatchSet))
    return names + target.set_names if isinstance(target, SetTarget) else names


def _save(rule: Rule) -> str:
    words = []
    for option, value, inverted in (
        ("-s", rule.src, rule.not_src),
        ("-d", rule.dst, rule.not_dst),
        ("-i", rule.in_dev, rule.not_in),
        ("-o", rule.out_dev, rule.not_out),
        ("-p", PRINTED.get(rule.protocol, rule.protocol), rule.not_protocol),
    ):
        if value:
            words.append(f"{'! ' if inverted else ''}{option} {value}")
    words += [match.save() for match in rule.matches]
    if rule.verb:
        words.append(f"{'-g' if rule.goto else '-j'} {rule.verb}")
        options = rule.target.save() if rule.target is not None else ""
        if options:
            words.append(options)
    return " ".join(words)
