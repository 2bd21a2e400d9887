"""The netfilter state of a namespace: tables of chains, counters, recent lists.

Chains are immutable and shared by all namespaces that loaded the same rules; what differs per
namespace (counters) is kept apart and only where something was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from podwire.dataplane.ipset.sets import IpSets
from podwire.dataplane.layers import GONE, NONE, Layers
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.compile import Compiled
from podwire.dataplane.netfilter.lines import Item, Rules, jump

if TYPE_CHECKING:
    from podwire.dataplane.paths.notes import Hit, Tally

SECOND_NS = 1_000_000_000
RECENT_LIST_LENGTH = 100
RECENT_STAMPS = 20

BASE_CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class Chain:
    """A chain of a table. ``policy`` is "" for a user's chain. Changed only while it is new."""

    __slots__ = ("_code", "_jumps", "family", "items", "name", "policy")

    def __init__(self, name: str, policy: str, items: list[Item], family: str) -> None:
        self.name = name
        self.policy = policy
        self.items = items
        self.family = family
        self._code: Compiled | None = None
        self._jumps: dict[str, None] | None = None

    @property
    def rules(self) -> Rules:
        """Its rules, each read when it is asked for."""
        return Rules(self.items, self.family)

    @property
    def code(self) -> Compiled:
        """The chain ready to walk: made when the first packet comes, for most never see one."""
        if self._code is None:
            self._code = Compiled(self.name, self.rules)
        return self._code

    @property
    def jumps(self) -> dict[str, None]:
        """The chains that its rules lead to, in order."""
        if self._jumps is None:
            self._jumps = {name: None for name in map(jump, self.items) if name}
        return self._jumps


class Chains:
    """Chains by name that tables rest on together, and who jumps to whom in them."""

    __slots__ = ("layers", "references")

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.references: Layers | None = None
        """How many of the rules jump to a chain, once somebody asked."""

    def counted(self) -> Layers:
        """``references``, counted if they are not known."""
        if self.references is None:
            found = Counter(
                name for chain in self.layers.values() for name in map(jump, chain.items) if name
            )
            self.references = NONE.changed(found)
        return self.references

    def changed(
        self, delta: Mapping[str, Any], more: Mapping[str, int] | None, own: Mapping[str, Any]
    ) -> Chains:
        """With chains put or taken away. ``more``: how many more rules jump to each chain in a
        table that had ``own`` instead of some of these chains; None when nobody knows.
        """
        after = Chains(self.layers.changed(delta))
        if self.references is not None and more is not None:
            hidden = _jumps_of({name: own[name] for name in own if name in delta}, self.layers)
            total = dict(more)
            for name, number in hidden.items():
                total[name] = total.get(name, 0) + number
            after.references = _added(self.references, total)
        return after


def _added(known: Layers, more: Mapping[str, int]) -> Layers:
    totals = {name: known.get(name, 0) + number for name, number in more.items() if number}
    return known.changed({
        name: total or GONE for name, total in totals.items() if total or name in known
    })  # fmt: skip


def _jumps_of(own: Mapping[str, Any], instead_of: Mapping[str, Chain]) -> dict[str, int]:
    """How many more rules of ``own`` jump to each chain than of the chains they stand for."""
    found: dict[str, int] = {}
    for name, chain in own.items():
        before = instead_of.get(name)
        for items, by in ((getattr(chain, "items", ()), 1), (before.items if before else (), -1)):
            for target in map(jump, items):
                if target:
                    found[target] = found.get(target, 0) + by
    return found


_NO_CHAINS: dict[str, Any] = {}


class Table(Mapping[str, Chain]):
    """The chains of a table by name: ``common``, but those of ``own`` (``GONE``: there is none).
    Replaced, never changed; shared by namespaces.
    """

    __slots__ = ("_more", "common", "own")

    def __init__(
        self,
        common: Chains,
        own: dict[str, Any] = _NO_CHAINS,
        more: Mapping[str, int] | None = None,
    ) -> None:
        self.common, self.own = common, own
        self._more = more

    def __getitem__(self, name: str) -> Chain:
        found: Chain | None = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """A chain, or ``default``."""
        found = self.own.get(name)
        if found is None:
            return self.common.layers.get(name, default)
        return default if found is GONE else found

    def __contains__(self, name: object) -> bool:
        return self.get(name) is not None  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        own, layers = self.own, self.common.layers
        if not own:
            yield from layers
            return
        for name in layers:
            if own.get(name) is not GONE:
                yield name
        for name, chain in own.items():
            if chain is not GONE and name not in layers:
                yield name

    def __len__(self) -> int:
        layers = self.common.layers
        return len(layers) + sum(
            (chain is not GONE) - (name in layers) for name, chain in self.own.items()
        )

    @property
    def more(self) -> Mapping[str, int]:
        """How many more rules jump to each chain than in ``common``."""
        if self._more is None:
            self._more = _jumps_of(self.own, self.common.layers)
        return self._more

    @property
    def counted(self) -> bool:
        """Whether ``references`` are known already."""
        return self.common.references is not None

    @property
    def references(self) -> Layers:
        """How many rules of the table jump to a chain; chains that none leads to are left out."""
        known = self.common.counted()
        return _added(known, self.more) if self.own else known

    def referred(self, name: str) -> int:
        """How many rules jump to one chain."""
        return int(self.common.counted().get(name, 0)) + self.more.get(name, 0)

    def changed(self, delta: Mapping[str, Any], more: Mapping[str, int] | None) -> Table:
        """With chains put or taken away, and how many more rules jump to each, if that is known."""
        return self.over(self.common.changed(delta, more, self.own), delta)

    def over(self, common: Chains, delta: Mapping[str, Any]) -> Table:
        """What is one's own over other chains, which differ from one's common ones by ``delta``."""
        own = self.own
        if not own or own.keys().isdisjoint(delta.keys()):
            return Table(common, own, self._more)
        return Table(common, {name: chain for name, chain in own.items() if name not in delta})

    def resting_on(self, common: Chains) -> Table | None:
        """The same table told by what it has besides ``common``; None when that is much."""
        if common is self.common:
            return self
        mine, others = self.common.layers, common.layers
        if mine.base is others.base:
            names = {**mine.over, **others.over, **self.own}
        elif abs(len(self) - len(others)) > _FEW_CHAINS:
            return None
        else:
            names = {**dict.fromkeys(others), **dict.fromkeys(self)}
        own: dict[str, Any] = {}
        for name in names:
            chain = self.get(name)
            if chain is not others.get(name):
                own[name] = GONE if chain is None else chain
                if len(own) > _FEW_CHAINS:
                    return None
        return Table(common, own)


_FEW_CHAINS = 64


@cache
def fresh_table(name: str) -> Table:
    """A table as the kernel makes it: empty base chains that accept."""
    return Table(Chains(NONE.changed({c: Chain(c, "ACCEPT", [], "") for c in BASE_CHAINS[name]})))


class Netfilter:
    """All iptables (or ip6tables) tables of a namespace, replaced and never changed."""

    __slots__ = (
        "_counters",
        "_policy_counters",
        "family",
        "ipsets",
        "ipvs",
        "notes",
        "nth",
        "owed",
        "recents",
        "tables",
        "tracks",
        "version",
    )

    def __init__(self, family: str = "ipv4") -> None:
        self.family = family
        self.tables: dict[str, Table] = {}
        self._counters: dict[tuple[str, str], list[int]] = {}
        self._policy_counters: dict[tuple[str, str], list[int]] = {}
        self.owed: list[Tally] = []
        """What kept paths (``dataplane.paths``) counted and nobody looked at yet."""
        self.notes: list[Hit] | None = None
        """Where hits are told to while a path is learnt."""
        self.recents: dict[str, dict[str, tuple[int, ...]]] = {}
        self.nth: dict[tuple[str, str, m.Statistic], int] = {}
        self.ipvs = False
        """Whether there are virtual servers (or were: their connections)."""
        self.ipsets: IpSets | None = None
        """The namespace's sets, which rules may name only while they exist."""
        self.tracks = False
        """Whether connections are tracked: a nat table, or a rule that asks for their state."""
        self.version = object()
        """Another object whenever tables came or went (what hooks do depends on it)."""

    def clone(self) -> Netfilter:
        """An independent copy; chains are shared."""
        copy = Netfilter(self.family)
        copy.tables = dict(self.tables)
        copy._counters = {key: list(values) for key, values in self.counters.items()}
        copy._policy_counters = {k: list(v) for k, v in self.policy_counters.items()}
        copy.recents = {name: dict(seen) for name, seen in self.recents.items()}
        copy.nth = dict(self.nth)
        copy.version = self.version
        copy.tracks = self.tracks
        copy.ipvs = self.ipvs
        return copy

    def replan(self) -> None:
        """Say that tables changed: whether connections are tracked, what hooks do."""
        if not self.tracks:
            self.tracks = "nat" in self.tables or any(
                isinstance(match, m.CtState)
                for table in self.tables.values()
                for chain in table.values()
                for rule in chain.rules.about("state")
                for match in rule.matches
            )
        self.version = object()

    # ------------------------------------------------------------ counting

    @property
    def counters(self) -> dict[tuple[str, str], list[int]]:
        """(table, chain) -> packets, bytes, packets, bytes ... of its rules, once one matched."""
        if self.owed:
            self.settle()
        return self._counters

    @property
    def policy_counters(self) -> dict[tuple[str, str], list[int]]:
        """(table, base chain) -> packets and bytes that came to its end."""
        if self.owed:
            self.settle()
        return self._policy_counters

    def settle(self) -> None:
        """Write down what kept paths counted."""
        owed, self.owed = self.owed, []
        for tally in owed:
            tally.settle()

    def add(self, table: str, chain: str, index: int, packets: int, size_bytes: int) -> None:
        """Count more packets for a rule, or the policy (index -1), that counted before."""
        if index < 0:
            counts, index = self._policy_counters[table, chain], 0
        else:
            counts = self._counters[table, chain]
        counts[2 * index] += packets
        counts[2 * index + 1] += size_bytes

    def hit(self, table: str, chain: Chain, index: int, size_bytes: int) -> None:
        """A rule matched a packet."""
        if self.notes is not None:
            self.notes.append((self, table, chain.name, index, size_bytes))
        key = (table, chain.name)
        counts = self._counters.get(key)
        if counts is None:
            counts = self._counters[key] = [0] * (2 * len(chain.items))
        counts[2 * index] += 1
        counts[2 * index + 1] += size_bytes

    def hit_policy(self, table: str, chain: str, size_bytes: int) -> None:
        """A packet came to the end of a base chain."""
        if self.notes is not None:
            self.notes.append((self, table, chain, -1, size_bytes))
        counts = self._policy_counters.setdefault((table, chain), [0, 0])
        counts[0] += 1
        counts[1] += size_bytes

    def counts(self, table: str, chain: str, index: int) -> tuple[int, int]:
        """Packets and bytes of a rule."""
        counts = self.counters.get((table, chain))
        return (counts[2 * index], counts[2 * index + 1]) if counts else (0, 0)

    # ------------------------------------------------------------ matches that remember

    def count_nth(self, table: str, chain: str, statistic: m.Statistic) -> bool:
        """``statistic --mode nth``: whether this packet's turn has come (xt_statistic)."""
        key = (table, chain, statistic)
        last = self.nth.get(key, statistic.packet)
        now = 0 if last == statistic.every - 1 else last + 1
        self.nth[key] = now
        return now == 0

    def recent(self, match: m.Recent, address: str, now_ns: int) -> bool:
        """``-m recent``: check or update a list (xt_recent; the order of the dict is its LRU)."""
        seen = self.recents.setdefault(match.list_name, {})
        stamps = seen.get(address)
        if match.verb == "set":
            _touch(seen, address, now_ns)
            return True
        if stamps is None:
            return False
        if match.verb == "remove":
            del seen[address]
            return True
        since = now_ns - match.seconds * SECOND_NS
        hits = sum(1 for stamp in stamps if not match.seconds or stamp >= since)
        found = hits >= max(match.hitcount, 1)
        if match.reap:
            oldest = next(iter(seen))
            if seen[oldest][-1] < since:
                del seen[oldest]
        if match.verb == "update" and found:
            _touch(seen, address, now_ns)
        return found

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        return [
            [
                (table, [(c.name, c.policy, [r.text for r in c.rules]) for c in chains.values()])
                for table, chains in sorted(self.tables.items())
            ],
            sorted(self.counters.items()),
            sorted(self.policy_counters.items()),
            [(name, list(seen.items())) for name, seen in sorted(self.recents.items())],
            sorted((t, c, s.save(), n) for (t, c, s), n in self.nth.items()),
        ]


def _touch(seen: dict[str, tuple[int, ...]], address: str, now_ns: int) -> None:
    stamps = seen.pop(address, ())
    if not stamps and len(seen) >= RECENT_LIST_LENGTH:
        del seen[next(iter(seen))]
    seen[address] = (*stamps, now_ns)[-RECENT_STAMPS:]
