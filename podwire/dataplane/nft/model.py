"""What nft keeps: tables of chains, rules, sets, maps and objects. Immutable, shared by nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from podwire.dataplane.layers import NONE, Layers
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.elements import Members
from podwire.dataplane.nft.expr import Anonymous, Binary, Concat, MapValue, Operand, SetRef, Simple
from podwire.dataplane.nft.nat import Nat
from podwire.dataplane.nft.respell import respell
from podwire.dataplane.nft.stmt import (
    Counter,
    Dynset,
    Give,
    Match,
    Object,
    Reject,
    Run,
    SetKey,
    Stmt,
    VMap,
)  # fmt: skip

FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
MODELLED = ("ip", "ip6", "inet")


class Rule:
    """One rule. Rules that differ in addresses and chains only share what was read of the first.

    ``targets``: chains it may jump or go to. ``sets``: named sets it uses, and as what (set, vmap,
    map). ``anonymous``: how many sets of its own it brings (each takes a handle). ``tracks``:
    whether it asks for connections to be tracked. ``nat``: source or destination, if it translates.
    """

    __slots__ = (
        "_code", "_shape", "_stmts", "anonymous", "comment", "counters", "family", "nat", "objects",
        "sets", "targets", "tracks",
    )  # fmt: skip

    def __init__(
        self,
        stmts: tuple[Stmt, ...],
        comment: str = "",
        family: str = "ip",
        targets: tuple[str, ...] = (),
        sets: tuple[tuple[str, str], ...] = (),
        objects: tuple[tuple[str, str], ...] = (),
        anonymous: int = 0,
        tracks: bool = False,
        nat: str = "",
    ) -> None:
        self._stmts: tuple[Stmt, ...] | None = stmts
        self._shape: tuple[Rule, tuple[str, ...], tuple[str, ...]] | None = None
        self._code: tuple[Run, ...] | None = None
        self.comment, self.family, self.targets = comment, family, targets
        self.sets, self.objects, self.anonymous = sets, objects, anonymous
        self.tracks, self.nat = tracks, nat
        self.counters = tuple(stmt for stmt in stmts if isinstance(stmt, Counter))

    def like(
        self, words: tuple[str, ...], others: tuple[str, ...], targets: tuple[str, ...]
    ) -> Rule:
        """A rule of the same shape: ``others`` stand where this one has ``words``."""
        made = Rule.__new__(Rule)
        made._unread(self, words, others)  # noqa: SLF001  # one of its own kind
        made.comment, made.family, made.targets = self.comment, self.family, targets
        made.sets, made.objects, made.anonymous = self.sets, self.objects, self.anonymous
        made.tracks, made.nat, made.counters = self.tracks, self.nat, self.counters
        return made

    def _unread(self, first: Rule, words: tuple[str, ...], others: tuple[str, ...]) -> None:
        self._stmts, self._code = None, None
        self._shape = (first, words, others)

    @property
    def stmts(self) -> tuple[Stmt, ...]:
        """Its statements, made when they are first wanted."""
        found = self._stmts
        if found is None:
            assert self._shape is not None
            first, words, others = self._shape
            found = self._stmts = respell(first.stmts, dict(zip(words, others, strict=True)))
        return found

    @property
    def code(self) -> tuple[Run, ...]:
        """Its statements as functions, made once."""
        found = self._code
        if found is None:
            found = self._code = tuple(stmt.code() for stmt in self.stmts)
        return found

    def show(self, counts: list[tuple[int, int]] | None = None) -> str:
        """As nft prints it; ``counts`` are those of its counters, in order."""
        words = []
        tcp = False
        for index, stmt in enumerate(self.stmts):
            following = self.stmts[index + 1] if index + 1 < len(self.stmts) else None
            if following is not None and _implied(stmt, following, self.family):
                continue
            reset = isinstance(stmt, Reject) and stmt.proto == "tcp"
            if reset and self.family == "inet" and not tcp:
                words.append("meta l4proto tcp")
            tcp = tcp or _tells_tcp(stmt)
            if isinstance(stmt, Counter) and counts is not None:
                packets, size_bytes = counts[stmt.slot]
                words.append(f"counter packets {packets} bytes {size_bytes}")
            else:
                words.append(stmt.show())
        if self.comment:
            words.append(f'comment "{self.comment}"')
        return " ".join(words)


def _implied(stmt: Stmt, following: Stmt, family: str) -> bool:
    """``meta l4proto tcp`` before ``tcp dport``: nft leaves out what follows from the next."""
    if not isinstance(stmt, Match) or stmt.operator or not isinstance(stmt.left, Simple):
        return False
    value = getattr(stmt.right, "value", None)
    own = {"ip": "ip protocol", "ip6": "ip6 nexthdr"}.get(family)
    if stmt.left.text in {"meta l4proto", own}:
        if isinstance(following, Reject):
            return following.proto == "tcp" and value == "tcp"
        protocol = _protocol_of(following)
        return value is not None and t.PROTOCOL_ALIASES.get(protocol, protocol) == value
    if stmt.left.text == "meta nfproto":
        return {2: "ip", 10: "ip6"}.get(value or 0) == _protocol_of(following)
    return False


def _tells_tcp(stmt: Stmt) -> bool:
    """Whether what comes behind a statement sees TCP only."""
    if _protocol_of(stmt) == "tcp":
        return True
    if not isinstance(stmt, Match) or stmt.operator or not isinstance(stmt.left, Simple):
        return False
    protocol = stmt.left.text in {"meta l4proto", "ip protocol", "ip6 nexthdr"}
    return protocol and getattr(stmt.right, "value", None) == "tcp"


def _protocol_of(stmt: Stmt) -> str:
    left: Any = None
    if isinstance(stmt, Match):
        left = stmt.left
    elif isinstance(stmt, VMap):
        left = stmt.key
    if isinstance(left, Binary):
        left = left.left
    return left.protocol if isinstance(left, Simple) else ""


def make_rule(stmts: list[Stmt], comment: str, family: str) -> Rule:
    """A rule with what it refers to."""
    targets: dict[str, None] = {}
    sets: dict[tuple[str, str], None] = {}
    objects: dict[tuple[str, str], None] = {}
    anonymous, tracks, nat = 0, False, ""
    for stmt in stmts:
        if isinstance(stmt, Give) and stmt.chain:
            targets[stmt.chain] = None
        elif isinstance(stmt, Object):
            objects[stmt.kind, stmt.name] = None
        elif isinstance(stmt, Nat):
            tracks = True
            nat = "source" if stmt.kind in {"snat", "masquerade"} else "destination"
        elif isinstance(stmt, SetKey):
            tracks = tracks or stmt.what == "ct"
        elif isinstance(stmt, Dynset):
            sets[stmt.name, "set"] = None
        for use, expr in _expressions(stmt):
            if isinstance(expr, SetRef):
                sets[expr.name, use] = None
            elif isinstance(expr, Anonymous):
                anonymous += 1
                if use == "vmap":
                    targets.update({e.data[1]: None for e in expr.members if e.data[1]})
            elif isinstance(expr, Simple) and expr.text.startswith("ct "):
                tracks = True
    return Rule(
        tuple(stmts), comment, family, tuple(targets), tuple(sets), tuple(objects), anonymous,
        tracks, nat,
    )  # fmt: skip


def _expressions(stmt: Stmt) -> Iterator[tuple[str, Operand]]:
    roots: list[tuple[str, Any]] = []
    if isinstance(stmt, Match):
        roots = [("", stmt.left), ("set", stmt.right)]
    elif isinstance(stmt, VMap):
        roots = [("", stmt.key), ("vmap", stmt.container)]
    elif isinstance(stmt, Nat):
        roots = [("", stmt.address), ("", stmt.port)]
    elif isinstance(stmt, SetKey):
        roots = [("", stmt.value)]
    elif isinstance(stmt, Dynset):
        roots = [("", stmt.key)]
    while roots:
        use, expr = roots.pop(0)
        if expr is None:
            continue
        yield use, expr
        if isinstance(expr, Concat):
            roots += [("", part) for part in expr.parts]
        elif isinstance(expr, Binary):
            roots.append(("", expr.left))
        elif isinstance(expr, MapValue):
            roots += [("", expr.key), ("map", expr.container)]
        elif getattr(expr, "of", None) is not None:
            roots.append(("", expr.of))


class Chain:
    """A chain; ``hook`` "" is one that is only jumped to. Never changed.

    ``order`` tells when a base chain was registered: of two with one priority the later comes
    first.
    """

    __slots__ = (
        "comment", "handle", "handles", "hook", "name", "order", "policy", "priority", "rules",
        "type",
    )  # fmt: skip

    def __init__(
        self, name: str, handle: int, hooked: Hooked, policy: str, comment: str, order: int
    ) -> None:
        self.name, self.handle, self.policy = name, handle, policy
        self.type, self.hook, self.priority = hooked
        self.comment, self.order = comment, order
        self.rules: tuple[Rule, ...] = ()
        self.handles: tuple[int, ...] = ()

    def holding(self, rules: tuple[Rule, ...], handles: tuple[int, ...]) -> Chain:
        """The same chain with other rules."""
        made = Chain(
            self.name, self.handle, (self.type, self.hook, self.priority), self.policy,
            self.comment, self.order,
        )  # fmt: skip
        made.rules, made.handles = rules, handles
        return made

    def ruled(self, policy: str) -> Chain:
        """The same chain with another policy."""
        made = self.holding(self.rules, self.handles)
        made.policy = policy
        return made


Hooked = tuple[str, str, int]
"""A base chain's type, hook and priority."""


@dataclass(frozen=True, eq=False)
class SetSpec:
    """What a set or map is; its elements are kept beside it."""

    name: str
    kinds: tuple[t.DataType, ...]
    data: tuple[t.DataType, ...] = ()
    """What a map gives: types, or VERDICT; () for a set."""
    is_map: bool = False
    type_text: str = ""
    """``type ipv4_addr . inet_service`` or ``typeof ip saddr : verdict``."""
    flags: tuple[str, ...] = ()
    timeout_ms: int = 0
    gc_ms: int = 0
    size: int = 0
    policy: str = ""
    auto_merge: bool = False
    counter: bool = False
    comment: str = ""
    handle: int = 0

    @property
    def interval(self) -> bool:
        """Whether its elements may be ranges."""
        return "interval" in self.flags

    @property
    def dynamic(self) -> bool:
        """Whether elements come and go by themselves, and so belong to one namespace only."""
        return "dynamic" in self.flags or "timeout" in self.flags or self.timeout_ms > 0


@dataclass(frozen=True, eq=False)
class Obj:
    """A named counter, quota or limit. ``body`` is what it is; ``words`` how it prints."""

    kind: str
    name: str
    body: Any = None
    words: str = ""
    comment: str = ""
    handle: int = 0


Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Table:
    """A table of one family."""

    family: str
    name: str
    handle: int = 0
    comment: str = ""
    flags: tuple[str, ...] = ()
    chains: Layers = field(default_factory=lambda: NONE)
    specs: dict[str, SetSpec] = field(default_factory=dict)
    members: dict[str, Members] = field(default_factory=dict)
    objects: dict[tuple[str, str], Obj] = field(default_factory=dict)
    uses: Layers = field(default_factory=lambda: NONE)
    """How many rules and elements lead to each chain."""
    last_handle: int = 0
    tracking: int = 0
    """How many of its rules ask for connections to be tracked."""
    bases: tuple[str, ...] = ()
    """The names of its base chains."""

    @property
    def key(self) -> Key:
        """(family, name)."""
        return self.family, self.name


class Base(NamedTuple):
    """Where a base chain is registered. ``order`` counts registrations."""

    table: Key
    chain: str
    type: str
    hook: str
    priority: int
    order: int


@dataclass(frozen=True, eq=False)
class Ruleset:
    """All tables, and where their base chains are registered."""

    tables: dict[Key, Table] = field(default_factory=dict)
    bases: tuple[Base, ...] = ()
    """Replaced only when a base chain comes, goes or changes."""
    tracks: tuple[str, ...] = ()
    """The families (ip, ip6) whose connections are tracked because of a rule here."""
    last_table: int = 0
    last_order: int = 0


EMPTY = Ruleset()
