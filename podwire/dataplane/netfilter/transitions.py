"""What a restore input made of tables, remembered: kernels that hold the same tables and get the
same text get the same tables, without reading a line. So equal rules are shared between nodes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from podwire.dataplane.netfilter.tables import Netfilter, Table

_KEEP = 64
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

    def starts_from(self, nf: Netfilter) -> bool:
        """Whether ``nf`` is where this change begins."""
        if nf.tables.get(self.table) is not self.before:
            return False
        return not nf.counters or not any((self.table, c) in nf.counters for c in self.kept)


class Memory:
    """The latest transitions, by family and text."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], list[tuple[Change, ...]]] = OrderedDict()
        self._characters = 0

    def find(self, nf: Netfilter, text: str) -> tuple[Change, ...] | None:
        """The transition that starts from the very tables of ``nf``."""
        for changes in self._known.get((nf.family, text), ()):
            if all(change.starts_from(nf) for change in changes):
                return changes
        return None

    def keep(self, family: str, text: str, changes: tuple[Change, ...]) -> None:
        """Remember one more; the oldest go when there are many."""
        key = (family, text)
        if key not in self._known:
            self._known[key] = []
            self._characters += len(text)
        self._known[key].append(changes)
        self._known.move_to_end(key)
        while len(self._known) > 1 and (
            len(self._known) > _KEEP or self._characters > _KEEP_CHARACTERS
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
        nf.tables[change.table] = change.after
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
