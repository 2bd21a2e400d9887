"""What a restore input made of tables, remembered: kernels that hold the same tables and get the
same text get the same tables, without reading a line. So equal rules are shared between nodes.

Tables that differ elsewhere (a CNI's chains name the node's own subnet) get the same chains, as
long as all that the outcome depends on is the same (``Draft.depends``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from podwire.dataplane.netfilter.lines import read
from podwire.dataplane.netfilter.tables import Chain, Netfilter, Table

_KEEP = 64
_TEXTS = 512
_SHORT = 32
_KEEP_CHARACTERS = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One table before and after. Held as objects, so that identity tells what is the same."""

    table: str
    before: Table | None
    after: Table
    touched: tuple[str, ...] | None
    """Chains whose counters begin anew; None: those of the whole table."""
    kept: tuple[str, ...]
    """Chains whose rules keep what they counted: nothing, or the transition is another."""
    parts: Parts | None = None
    """The same chain by chain; None: it holds for these tables only."""

    def starts_from(self, nf: Netfilter) -> bool:
        """Whether ``nf`` is where this change begins."""
        if nf.tables.get(self.table) is not self.before:
            return False
        return self._uncounted(nf)

    def holds_in(self, nf: Netfilter) -> bool:
        """Whether it does the same to the table of ``nf``, which is another one."""
        table = nf.tables.get(self.table)
        if table is self.before:
            return self._uncounted(nf)
        if table is None or self.before is None or self.parts is None:
            return False
        return self.parts.hold_in(table, self.before) and self._uncounted(nf)

    def of(self, table: Table | None) -> Table:
        """What it makes of a table in which it holds."""
        if table is self.before or table is None or self.parts is None:
            return self.after
        assert self.before is not None
        return self.parts.applied(table, self.before, self.after)

    def _uncounted(self, nf: Netfilter) -> bool:
        return not nf.counters or not any((self.table, c) in nf.counters for c in self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A change chain by chain."""

    depends: dict[str, Chain | None]
    """The chains that decided about it as they were before; None: there must be none."""
    delta: dict[str, Any]
    """The chains that it puts, or takes away (``layers.GONE``)."""
    unlinked: dict[str, None]
    """Those were deleted (and maybe made anew), so other tables' rules must not jump to them."""
    references: dict[str, int] | None
    """How many more rules jump to each chain, where it is known."""

    def hold_in(self, table: Table, like: Table) -> bool:
        """Whether all that counts in ``table`` is as it was in ``like``."""
        names: Iterable[str] = self.depends
        same = table.common is like.common
        if same:  # they differ in what is their own only
            names = [name for name in (*table.own, *like.own) if name in self.depends]
        for name in names:
            found, chain = table.get(name), self.depends[name]
            if found is not chain and not _equal(found, chain):
                return False
        if same:
            one, other = table.more, like.more
            if one is other or not self.unlinked:
                return True
            told = [name for name in (*one, *other) if name in self.unlinked]
            return all(one.get(name, 0) == other.get(name, 0) for name in told)
        return all(table.referred(name) == like.referred(name) for name in self.unlinked)

    def applied(self, table: Table, before: Table, after: Table) -> Table:
        """The table afterwards. What it has in common with ``before`` it has in common with
        ``after``: kernels that differ in a few chains rest on the same ones.
        """
        if not self.delta:
            return table
        resting = table.resting_on(before.common)
        if resting is None:
            return table.changed(self.delta, self.references)
        return resting.over(after.common, self.delta)


def _equal(one: Chain | None, other: Chain | None) -> bool:
    """Whether chains that were made apart are the same; of long ones it is not asked."""
    if one is None or other is None or one.policy != other.policy:
        return False
    if len(one.items) != len(other.items) or len(one.items) > _SHORT:
        return False
    return all(
        a == b or read(a, one.family) == read(b, one.family)
        for a, b in zip(one.items, other.items, strict=True)
    )


def _hold(changes: tuple[Change, ...], nf: Netfilter) -> bool:
    for change in changes:  # noqa: SIM110  a generator costs more than what it asks
        if not change.holds_in(nf):
            return False
    return True


class Memory:
    """The latest transitions, by family and text."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], list[tuple[Change, ...]]] = OrderedDict()
        self._characters = 0
        self._latest: tuple[tuple[str, str], tuple[Change, ...]] = (("", ""), ())
        """What was found last: kernels are told the same one after the other."""

    def find(self, nf: Netfilter, text: str) -> tuple[Change, ...] | None:
        """The transition that starts from the very tables of ``nf``, or from such as do not
        differ in what counts.
        """
        key = (nf.family, text)
        if self._latest[0] == key and _hold(self._latest[1], nf):
            return self._latest[1]
        known = self._known.get(key, ())
        found = next((each for each in known if all(c.starts_from(nf) for c in each)), None)
        if found is None:
            found = next((each for each in reversed(known) if _hold(each, nf)), None)
        if found is not None:
            self._latest = (key, found)
        return found

    def keep(self, family: str, text: str, changes: tuple[Change, ...]) -> None:
        """Remember one more; the oldest go when there are many."""
        key = (family, text)
        if key not in self._known:
            self._known[key] = []
            self._characters += len(text)
        self._known[key].append(changes)
        self._known.move_to_end(key)
        while len(self._known) > 1 and (
            len(self._known) > _TEXTS or self._characters > _KEEP_CHARACTERS
        ):
            (_, old), _ = self._known.popitem(last=False)
            self._characters -= len(old)
        del self._known[key][:-_KEEP]


MEMORY = Memory()


def replay(nf: Netfilter, text: str) -> bool:
    """Do to ``nf`` what the text did to equal tables before; False when nobody saw that yet."""
    changes = MEMORY.find(nf, text)
    if changes is None:
        return False
    for change in changes:
        nf.tables[change.table] = change.of(nf.tables.get(change.table))
        _forget(nf, change)
    nf.replan()
    return True


def remember(nf: Netfilter, text: str, changes: tuple[Change, ...]) -> None:
    """What a text, whose outcome depends on nothing but the tables, has done."""
    MEMORY.keep(nf.family, text, changes)


def _forget(nf: Netfilter, change: Change) -> None:
    if not nf.counters and not nf.policy_counters:
        return
    if change.touched is None:
        for counters in (nf.counters, nf.policy_counters):
            for key in [k for k in counters if k[0] == change.table]:
                del counters[key]
        return
    if len(change.touched) < len(nf.counters):
        for chain in change.touched:
            nf.counters.pop((change.table, chain), None)
        return
    touched = dict.fromkeys(change.touched)
    for key in [k for k in nf.counters if k[0] == change.table and k[1] in touched]:
        del nf.counters[key]
