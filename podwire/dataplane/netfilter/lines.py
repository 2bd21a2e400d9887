"""Rules that are kept as the lines they came in until somebody wants to know them.

Programs write a hundred thousand rules in a handful of forms, and packets meet a few of them. A
line of a form that ``FORMS`` knows is certain to be a rule, and which chains it joins shows in it;
``rule.parse`` reads it when a packet comes by or somebody looks. All other lines are read at once,
by ``rule.parse`` too: whatever is refused is refused in its words. What ``FORMS`` takes must be
what ``rule.parse`` takes (tests/property/test_dataplane_lines.py holds them together).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from podwire.dataplane.addr import canonical
from podwire.dataplane.netfilter import match_state
from podwire.dataplane.netfilter.rule import Rule, parse

Item = Rule | str
"""A rule, or the line (``-A CHAIN ...``) of one that nobody asked for yet."""

_NAME = r"[A-Za-z][A-Za-z0-9_-]*+"
_OCTET = r"(?:1\d?\d?|2(?:[0-4]\d?|5[0-5]?|[6-9]|)|[3-9]\d?|0)"
_GROUP = r"[0-9a-f]{1,4}"
_PORT = (
    r"(?:[1-9]\d{0,3}(?!\d)|[1-5]\d{4}|6(?:[0-4]\d{3}|5(?:[0-4]\d\d|5(?:[0-2]\d|3[0-5]))))(?!\d)"
)
_HEX = r"0x[0-9a-f]{1,8}"
_STATE = f"(?:{'|'.join(match_state.STATES)})"
_PROTOCOL = r"(?:tcp|udp|sctp)"
_ADDRESS = {
    "ipv4": rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}",
    "ipv6": "(?:{})".format("|".join((
        rf"(?:{_GROUP}:){{7}}{_GROUP}",
        *(rf"(?:{_GROUP}:){{{n}}}(?::{_GROUP}){{1,{7 - n}}}" for n in range(6, 0, -1)),
        rf"(?:{_GROUP}:){{1,7}}:",
    ))),
}  # fmt: skip
_LENGTH = {"ipv4": r"(?:3[0-2]|[12]?\d)", "ipv6": r"(?:12[0-8]|1[01]\d|[1-9]?\d)"}
_REJECT = {"ipv4": "icmp-port-unreachable", "ipv6": "icmp6-port-unreachable"}
_END = r"(?![^ \n])"
_COMMENT = (
    rf'comment --comment (?:"[ !#-\[\]-~]{{1,255}}"|[A-Za-z0-9][A-Za-z0-9_./:-]{{0,254}}{_END})'
)
BARE = ("ACCEPT", "DROP", "MASQUERADE", "REJECT", "RETURN")
"""Targets that a line may end with; what else it ends with is a chain, or not for ``FORMS``."""


class Forms(NamedTuple):
    """How rules look that are taken by their line."""

    line: re.Pattern[str]
    """A whole line with its end. Groups: the chain; what follows a ``-j`` that has no options."""
    key: re.Pattern[str]
    """The head of a line. Groups: an early ``-d`` of one address; the protocol of a match; a later
    ``-d``; a port.
    """


def _forms(family: str) -> Forms:
    address = _ADDRESS[family]
    net = rf"{address}(?:/{_LENGTH[family]}|){_END}"
    device = rf"[A-Za-z][\w.-]{{0,14}}\+?{_END}"
    where = rf"\[{address}\]:{_PORT}|{address}" if family == "ipv6" else rf"{address}(?::{_PORT}|)"
    # alternatives share their beginnings so that the first characters choose
    match = "|".join((
        _COMMENT,
        # a port belongs to the latest match of a protocol
        rf"{_PROTOCOL}(?: -p {_PROTOCOL}|)(?: -d {net}|)(?: --dport {_PORT}|){_END}",
        r"statistic --mode random --probability (?:0\.\d{1,11}|1\.0{1,11})",
        rf"mark (?:! |)--mark {_HEX}(?:/{_HEX}|)",
        r"addrtype (?:! |)--(?:dst|src)-type LOCAL",
        rf"conntrack (?:! |)--ctstate {_STATE}(?:,{_STATE})*+",
        rf"recent --name {_NAME} (?:--set|--rcheck --seconds [1-9]\d{{0,8}} --reap)",
    ))  # fmt: skip
    option = (
        rf" (?:-(?:m (?:{match})|[sd] {net}|[io] {device}|p {_PROTOCOL})"
        rf"|! -(?:[sd] {net}|[io] {device})){_END}"
    )
    target = "|".join((
        rf"DNAT --to-destination (?:{where})",
        rf"MARK --(?:(?:or|xor|and)-mark {_HEX}|set-xmark {_HEX}/{_HEX})",
        "MASQUERADE --random-fully",
        f"REJECT --reject-with {_REJECT[family]}",
        rf"({_NAME})",
    ))  # fmt: skip
    line = rf"^-A ({_NAME})(?:{option})*+(?: -j (?:{target})|)\n"
    one = rf"(?: -d ({address})(?:/{32 if family == 'ipv4' else 128}|)(?= )|)"
    protocol = rf"(?: -p {_PROTOCOL}|)"
    key = (
        rf"-A {_NAME}{one}{protocol}(?: -m {_COMMENT}|)(?: -m ({_PROTOCOL})|){protocol}{one}"
        rf"(?: --dport ({_PORT})|)"
    )
    return Forms(re.compile(line, re.ASCII | re.MULTILINE), re.compile(key, re.ASCII))


FORMS = {family: _forms(family) for family in _ADDRESS}


def read(item: Item, family: str) -> Rule:
    """The rule of an item."""
    if isinstance(item, Rule):
        return item
    return parse(item.split(" ", 2)[2] if item.count(" ") > 1 else "", family)


def jump(item: Item) -> str:
    """The chain that a rule leads to; "" if none."""
    if isinstance(item, Rule):
        return item.jump
    head, _, name = item.rpartition(" ")
    return name if head.endswith(" -j") and name not in BARE and name[-1] != '"' else ""


class Rules(Sequence[Rule]):
    """The rules of a chain, each made when it is asked for. Never changed."""

    __slots__ = ("_family", "items")

    def __init__(self, items: list[Item], family: str) -> None:
        self.items = items
        """Some do with the lines; a line gives way to its rule."""
        self._family = family

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Rule: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rule]: ...
    def __getitem__(self, index: int | slice) -> Rule | list[Rule]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self.items)))]
        item = self.items[index]
        if isinstance(item, str):
            item = self.items[index] = read(item, self._family)
        return item

    def __iter__(self) -> Iterator[Rule]:
        return (self[i] for i in range(len(self.items)))

    def about(self, word: str) -> Iterator[Rule]:
        """At least the rules whose text has a word: the others need not be made for it."""
        for i, item in enumerate(self.items):
            if isinstance(item, Rule) or word in item:
                yield self[i]

    def keys(self) -> Iterator[Key | None]:
        """What a packet must have to match each rule; None: the rule itself has to tell."""
        for item in self.items:
            yield key(item, self._family) if isinstance(item, str) else None


class Key(NamedTuple):
    """What a packet must have, or a rule cannot match."""

    dst: str = ""
    port: tuple[str, int] | None = None


def key(line: str, family: str) -> Key | None:
    """The key of a rule that nobody read yet; None: it has to be read to tell."""
    if " -d " not in line and " --dport " not in line:
        return Key()
    found = FORMS[family].key.match(line)
    if found is None:
        return None
    rest = line[found.end() :]
    if " -d " in rest or " --dport " in rest:
        return None
    early, protocol, late, port = found.groups()
    if early and late:
        return None
    if early or late:
        address = early or late
        return Key(address if family == "ipv4" else canonical(address))
    return Key(port=(protocol, int(port))) if protocol and port else None
