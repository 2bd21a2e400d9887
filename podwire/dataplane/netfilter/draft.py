"""A table while it is changed: all or nothing, and only what is touched is copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podwire.dataplane.layers import GONE
from podwire.dataplane.netfilter.lines import BARE, Item, jump, read
from podwire.dataplane.netfilter.rule import Rule
from podwire.dataplane.netfilter.tables import BASE_CHAINS, Chain, Netfilter, Table, fresh_table
from podwire.dataplane.netfilter.targets import NAMES
from podwire.dataplane.netfilter.text import RuleError
from podwire.dataplane.netfilter.transitions import Parts

_ZERO = (0, 0)
_MANY_JUMPS = 256
"""From this many new jumps on, one search of all is cheaper than one each."""
_COMPLETE = frozenset((*BARE, ""))
_WITH_OPTIONS = NAMES - _COMPLETE


class Draft:
    """A table being changed. Chains are copied when first touched."""

    def __init__(self, nf: Netfilter, name: str, *, empty: bool = False) -> None:
        self.nf = nf
        self.name = name
        self._base = fresh_table(name) if empty or name not in nf.tables else nf.tables[name]
        self._fresh = empty or name not in nf.tables
        self.changed: dict[str, Chain] = {}
        self.deleted: dict[str, None] = {}
        self._unlinked: dict[str, None] = {}
        """Chains that nothing could jump to when they were deleted; some may be there anew."""
        self.counts: dict[str, list[tuple[int, int]]] = {}
        """What the first rules of a chain counted; the others counted nothing."""
        self.policies: dict[str, tuple[int, int]] = {}
        self._edges: list[tuple[str, str]] = []
        """New jumps, from and to; some may be gone again."""
        self._references: dict[str, int] | None = None
        """How many more rules than before jump to a chain, once somebody asked."""
        self._same: dict[str, Chain] = {}
        """Chains that were emptied and filled as they had been: those of the base remain."""
        self.kept: dict[str, None] = {}
        """Chains that are changed but not emptied: their rules keep what they counted."""
        self.plain = True
        """Whether the outcome depends on text and base alone: no counters are kept or given, no
        ipset is named.
        """
        self.whole = False
        """Whether the input asked which chains there are."""

    def has(self, chain: str) -> bool:
        """Whether a chain exists."""
        return chain in self.changed or (chain in self._base and chain not in self.deleted)

    def chain(self, name: str) -> Chain:
        """A chain to change. Raises RuleError."""
        found = self.changed.get(name)
        if found is not None:
            return found
        if not self.has(name):
            raise RuleError("No chain/target/match by that name.")
        counted = not self._fresh and (self.name, name) in self.nf.counters
        self.plain = self.plain and (self.name, name) not in self.nf.counters
        self.kept[name] = None
        old = self._base[name]
        found = self.changed[name] = Chain(name, old.policy, list(old.items), self.nf.family)
        if counted:
            self.counts[name] = [self.nf.counts(self.name, name, i) for i in range(len(old.items))]
        return found

    # ------------------------------------------------------------ chains

    def declare(self, name: str, policy: str, counts: tuple[int, int]) -> None:
        """A ``:CHAIN POLICY [p:b]`` line: make the chain, or empty it if it is a user's."""
        if name in BASE_CHAINS[self.name]:
            if policy not in {"ACCEPT", "DROP"}:
                raise RuleError(f"Can't set policy `{policy}' on `{name}'")
            self.chain(name).policy = policy
            self.policies[name] = counts
            self.plain = self.plain and counts == _ZERO
            return
        if policy != "-":
            raise RuleError(f"Can't set policy `{policy}' on `{name}'")
        self.declare_all((name,))

    def declare_all(self, names: Sequence[str]) -> None:
        """User's chains are made, or emptied."""
        if self._references is not None:
            for name in dict.fromkeys(names):
                if self.has(name):
                    self._refer(self.items_of(name), -1)
        if self.deleted:
            for name in names:
                self.deleted.pop(name, None)
        if self.counts:
            for name in names:
                self.counts.pop(name, None)
        family = self.nf.family
        self.changed.update({name: Chain(name, "", [], family) for name in names})

    def new(self, name: str) -> None:
        """``-N``."""
        if self.has(name):
            raise RuleError("Chain already exists.")
        if not name or len(name) > 28:
            raise RuleError(f"chain name `{name}' too long (must be under 29 chars)")
        self.declare_all((name,))

    def flush(self, chain: str) -> None:
        """``-F CHAIN``."""
        draft = self.chain(chain)
        self._refer(draft.items, -1)
        draft.items.clear()
        self.counts.pop(chain, None)

    def delete(self, name: str) -> None:
        """``-X CHAIN``: an empty user chain that nothing jumps to."""
        if name in BASE_CHAINS[self.name] or not self.has(name):
            raise RuleError("No chain/target/match by that name.")
        if self.chain(name).items:
            raise RuleError("Directory not empty.")
        if self.references(name):
            raise RuleError("Too many links.")
        del self.changed[name]
        self.deleted[name] = self._unlinked[name] = None

    def names(self) -> list[str]:
        """All chains, the base chains first."""
        self.whole = True
        kept = [name for name in self._base if name not in self.deleted]
        return kept + [name for name in self.changed if name not in self._base]

    def items_of(self, name: str) -> list[Item]:
        """The rules of a chain, for reading."""
        changed = self.changed.get(name)
        return changed.items if changed is not None else self._base[name].items

    # ------------------------------------------------------------ rules

    def append(self, chain: str, rule: Rule, counts: tuple[int, int] = (0, 0)) -> None:
        """``-A``."""
        self._check(rule)
        draft = self.chain(chain)
        if counts != _ZERO:
            self._settled(draft).append(counts)
        draft.items.append(rule)
        self._come(chain, rule)
        self.plain = self.plain and counts == _ZERO and not rule.set_names

    def append_lines(self, ends: list[tuple[str, str]], lines: list[str]) -> bool:
        """``-A`` for lines of which ``lines.FORMS`` told chain and end; False, and nothing done,
        when one of them may be wrong.
        """
        chains, targets = zip(*ends, strict=True)
        jumps = dict.fromkeys(targets).keys() - _COMPLETE
        if not jumps.isdisjoint(_WITH_OPTIONS) or not jumps.isdisjoint(BASE_CHAINS[self.name]):
            return False
        changed = self.changed
        untouched = [name for name in dict.fromkeys(chains) if name not in changed]
        if not all(map(self.has, (*(jumps - changed.keys()), *untouched))):
            return False
        for name in untouched:
            self.chain(name)
        last = ""
        for name, line in zip(chains, lines, strict=True):
            if name != last:
                last, append = name, changed[name].items.append
            append(line)
        self._edges += [edge for edge in ends if edge[1] in jumps]
        if self._references is not None:
            self._refer(lines, 1)
        return True

    def _settled(self, chain: Chain) -> list[tuple[int, int]]:
        """The counters of all rules of a chain."""
        counts = self.counts.setdefault(chain.name, [])
        counts += [_ZERO] * (len(chain.items) - len(counts))
        return counts

    def touched(self) -> tuple[str, ...] | None:
        """The chains whose counters begin anew; None: those of the whole table."""
        return None if self._fresh else (*self.changed, *self._same, *self.deleted)

    def insert(self, chain: str, number: int, rule: Rule) -> None:
        """``-I CHAIN NUMBER`` (from 1)."""
        self._check(rule)
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.items) + 1:
            raise RuleError("Index of insertion too big.")
        self._settled(draft).insert(number - 1, _ZERO)
        draft.items.insert(number - 1, rule)
        self._come(chain, rule)

    def replace(self, chain: str, number: int, rule: Rule) -> None:
        """``-R CHAIN NUMBER``."""
        self._check(rule)
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.items):
            raise RuleError("Index of replacement too big.")
        self._refer((draft.items[number - 1],), -1)
        self._settled(draft)[number - 1] = _ZERO
        draft.items[number - 1] = rule
        self._come(chain, rule)

    def find(self, chain: str, rule: Rule) -> int:
        """The number of a rule, from 1. Raises RuleError as ``-C`` and ``-D`` do."""
        if self.has(chain) and chain not in self.changed:
            list(self._base[chain].rules)  # read there, they are read for all who share them
        items = self.chain(chain).items if self.has(chain) else []
        for i, item in enumerate(items):
            items[i] = read(item, self.nf.family)
            if items[i] is rule:
                return i + 1
        raise RuleError("Bad rule (does a matching rule exist in that chain?).")

    def delete_number(self, chain: str, number: int) -> None:
        """``-D CHAIN NUMBER``."""
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.items):
            raise RuleError("Index of deletion too big.")
        self._refer((draft.items[number - 1],), -1)
        del self._settled(draft)[number - 1]
        del draft.items[number - 1]

    def _check(self, rule: Rule) -> None:
        for name in rule.set_names:
            sets = self.nf.ipsets
            if sets is None or (name not in sets and not sets.untold):
                raise RuleError(f"Set {name} doesn't exist.")
        if rule.jump and (not self.has(rule.jump) or rule.jump in BASE_CHAINS[self.name]):
            raise RuleError(f"Couldn't load target `{rule.jump}':No such file or directory")

    def _come(self, chain: str, rule: Rule) -> None:
        if rule.jump:
            self._edges.append((chain, rule.jump))
            self._refer((rule,), 1)

    # ------------------------------------------------------------ who jumps where

    def references(self, name: str) -> int:
        """How many rules jump to a chain."""
        if self._references is None:
            self._references = {}
            for chain, draft in self.changed.items():
                self._refer(draft.items, 1)
                self._refer(self._old(chain), -1)
            for chain in self.deleted:
                self._refer(self._old(chain), -1)
        more = self._references.get(name, 0)
        return self._base.referred(name) + more

    def _old(self, name: str) -> list[Item]:
        return self._base[name].items if name in self._base else []

    def _refer(self, items: Iterable[Item], by: int) -> None:
        references = self._references
        if references is None:
            return
        for name in map(jump, items):
            if name:
                references[name] = references.get(name, 0) + by

    def keep_same(self) -> None:
        """Programs write chains anew that do not change: what was there may stay, uncounted."""
        base, counts = self._base, self.counts
        for name, draft in self.changed.items():
            before = base.get(name)
            if (
                before is not None
                and before.items == draft.items
                and before.policy == draft.policy
                and name not in self.kept
                and name not in counts
                and name not in self._unlinked
            ):
                self._same[name] = before
        same = self._same
        if same:
            self.changed = {n: chain for n, chain in self.changed.items() if n not in same}
            self._edges = [edge for edge in self._edges if edge[0] not in same]

    def check_loops(self) -> None:
        """Raises RuleError when a chain can reach itself by jumps.

        The table had no loop before, so one must lead through a jump that is new.
        """
        if self._peeled():
            return
        new: list[tuple[str, str]] = []
        for name in self.changed:
            before = self._base[name].jumps if name in self._base else {}
            new += [(name, jump) for jump in self._jumps(name) if jump not in before]
        if len(new) > _MANY_JUMPS:
            self._search(dict.fromkeys(name for name, _ in new))
            return
        for start, target in new:
            seen, todo = {target: None}, [target]
            while todo:
                name = todo.pop()
                if name == start:
                    raise RuleError("Too many levels of symbolic links")
                for following in self._jumps(name):
                    if following not in seen:
                        seen[following] = None
                        todo.append(following)

    def _peeled(self) -> bool:
        """Whether the new jumps fall away when those to chains without jumps are taken off again
        and again: then there is no loop.
        """
        edges, base = self._edges, self._base
        names: Iterable[str] = base
        if len(base) > len(edges):
            names = dict.fromkeys([target for _, target in edges if target in base])
        older = [
            name
            for name in names
            if (name not in self.changed or name in self.kept) and base[name].jumps
        ]
        while edges:
            lead = dict.fromkeys([*older, *(source for source, _ in edges)])
            left = [edge for edge in edges if edge[1] in lead]
            if len(left) == len(edges):
                return False
            edges = left
        return True

    def _search(self, starts: Iterable[str]) -> None:
        """Depth first from all of them, each chain once."""
        done: dict[str, None] = {}
        for start in starts:
            path: list[tuple[str, list[str]]] = [(start, list(self._jumps(start)))]
            on_path = {start: None}
            while path:
                name, todo = path[-1]
                if not todo:
                    path.pop()
                    del on_path[name]
                    done[name] = None
                    continue
                following = todo.pop()
                if following in on_path:
                    raise RuleError("Too many levels of symbolic links")
                if following not in done:
                    on_path[following] = None
                    path.append((following, list(self._jumps(following))))

    def _jumps(self, name: str) -> Mapping[str, None]:
        draft = self.changed.get(name)
        if draft is None:
            return self._base[name].jumps
        return {target: None for target in map(jump, draft.items) if target}

    # ------------------------------------------------------------ done

    def _changes(self) -> dict[str, Any]:
        """What differs from the base: chains, and ``GONE`` for those that went."""
        delta: dict[str, Any] = dict.fromkeys((n for n in self.deleted if n in self._base), GONE)
        delta.update(self.changed)
        return delta

    def depends(self) -> dict[str, Chain | None]:
        """The chains of the base whose being as they are decided what became of the input: those
        that it changed, those that its new jumps lead to (they exist), and where these lead (no
        loop). A jump that the changed chain had before leads to what is there in any table.
        """
        base = self._base
        found: dict[str, Chain | None] = dict(self._same)
        found.update((name, base.get(name)) for name in (*self.changed, *self.deleted))
        todo: list[str] = []
        for name, draft in self.changed.items():
            old = found[name]
            before = old.jumps if old is not None else {}
            todo += [to for to in map(jump, draft.items) if to and to not in before]
        seen: dict[str, None] = {}
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen[name] = None
            if name not in found:
                found[name] = base.get(name)
            todo += [to for to in self._jumps(name) if to not in seen]
        return found

    def parts(self) -> Parts | None:
        """The change chain by chain, for tables that are the same in what counts."""
        if self.whole:
            return None
        return Parts(
            self.depends(), self._changes(),
            dict.fromkeys(n for n in self._unlinked if n in self._base), self._references,
        )  # fmt: skip

    def commit(self) -> Table:
        """Put the changed table in place; it is returned, too."""
        known = self._base.counted or self._references is not None
        table, changes = self._base, self._changes()
        if changes:
            table = table.changed(changes, self._delta() if known else None)
        self._commit_counters()
        self.nf.tables[self.name] = table
        return table

    def _delta(self) -> dict[str, int]:
        self.references("")
        assert self._references is not None
        return self._references

    def _commit_counters(self) -> None:
        nf = self.nf
        if self._fresh:
            self.forget_counters()
        counters = nf.counters
        if counters:
            for name in (*self.deleted, *self._same, *self.changed):
                counters.pop((self.name, name), None)
        for name, counts in self.counts.items():
            if name in self.changed and any(packets for packets, _ in counts):
                settled = self._settled(self.changed[name])
                counters[self.name, name] = [n for pair in settled for n in pair]
        for name, both in self.policies.items():
            if any(both):
                nf.policy_counters[self.name, name] = list(both)

    def forget_counters(self) -> None:
        """Whatever the table counted so far."""
        for key in [k for k in self.nf.counters if k[0] == self.name]:
            del self.nf.counters[key]
        for key in [k for k in self.nf.policy_counters if k[0] == self.name]:
            del self.nf.policy_counters[key]
