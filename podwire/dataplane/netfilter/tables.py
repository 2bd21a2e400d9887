"""The netfilter state of a namespace: tables of chains, counters, recent lists.

Chains are immutable and shared by all namespaces that loaded the same rules; what differs per
namespace (counters) is kept apart and only where something was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

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


class Table(Mapping[str, Chain]):
    """The chains of a table by name. Replaced, never changed; shared by namespaces."""

    __slots__ = ("_references", "chains")

    def __init__(self, chains: Layers) -> None:
        self.chains = chains
        self._references: Layers | None = None

    def __getitem__(self, name: str) -> Chain:
        found: Chain = self.chains[name]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.chains)

    def __len__(self) -> int:
        return len(self.chains)

    def __contains__(self, name: object) -> bool:
        return name in self.chains

    @property
    def counted(self) -> bool:
        """Whether ``references`` are known already."""
        return self._references is not None

    @property
    def references(self) -> Layers:
        """How many rules of the table jump to a chain; chains that none leads to are left out."""
        if self._references is None:
            found = Counter(
                name for chain in self.values() for name in map(jump, chain.items) if name
            )
            self._references = NONE.changed(found)
        return self._references

    def count(self, before: Table, more: Mapping[str, int]) -> None:
        """Tell its references from those of the table that it was made of."""
        known = before.references
        totals = {name: known.get(name, 0) + number for name, number in more.items() if number}
        self._references = known.changed({
            name: total or GONE
            for name, total in totals.items()
            if total or name in known
        })  # fmt: skip


@cache
def fresh_table(name: str) -> Table:
    """A table as the kernel makes it: empty base chains that accept."""
    return Table(NONE.changed({c: Chain(c, "ACCEPT", [], "") for c in BASE_CHAINS[name]}))


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
