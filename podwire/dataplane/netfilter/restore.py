"""Changing tables: what iptables-restore and iptables do to them, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import rule as rules
from podwire.dataplane.netfilter import transitions
from podwire.dataplane.netfilter.rule import Rule
from podwire.dataplane.netfilter.tables import BASE_CHAINS, Chain, Netfilter, Table, fresh_table
from podwire.dataplane.netfilter.text import RuleError, split

_ZERO = (0, 0)
_MANY_JUMPS = 256
"""From this many new jumps on, one search of all is cheaper than one each."""
_KEEP_LINES = 1 << 19
TOOL = {"ipv4": "iptables", "ipv6": "ip6tables"}


class DraftChain:
    """A chain being changed: rules and their counters side by side."""

    __slots__ = ("counts", "policy", "rules")

    def __init__(self, policy: str = "") -> None:
        self.policy = policy
        self.rules: list[Rule] = []
        self.counts: list[tuple[int, int]] = []


class Draft:
    """A table being changed. Chains are copied when first touched."""

    def __init__(self, nf: Netfilter, name: str, *, empty: bool = False) -> None:
        self.nf = nf
        self.name = name
        self._base = fresh_table(name) if empty or name not in nf.tables else nf.tables[name]
        self._fresh = empty or name not in nf.tables
        self.changed: dict[str, DraftChain] = {}
        self.deleted: dict[str, None] = {}
        self.policies: dict[str, tuple[int, int]] = {}
        self._last: tuple[str, Rule]
        self._references: dict[str, int] = {}
        """How many more rules than before jump to a chain."""
        self.kept: dict[str, None] = {}
        """Chains that are changed but not emptied: their rules keep what they counted."""
        self.plain = True
        """Whether the outcome depends on text and base alone: no counters are kept or given, no
        ipset is named.
        """

    def _refer(self, rules: Iterable[Rule], by: int) -> None:
        references = self._references
        for rule in rules:
            if rule.jump:
                references[rule.jump] = references.get(rule.jump, 0) + by

    def has(self, chain: str) -> bool:
        """Whether a chain exists."""
        return chain in self.changed or (chain in self._base and chain not in self.deleted)

    def chain(self, name: str) -> DraftChain:
        """A chain to change. Raises RuleError."""
        found = self.changed.get(name)
        if found is not None:
            return found
        if not self.has(name):
            raise RuleError("No chain/target/match by that name.")
        self.plain = self.plain and (self.name, name) not in self.nf.counters
        self.kept[name] = None
        old = self._base[name]
        found = self.changed[name] = DraftChain(old.policy)
        found.rules = list(old.rules)
        if self._fresh:
            found.counts = [(0, 0)] * len(old.rules)
        else:
            found.counts = [self.nf.counts(self.name, name, i) for i in range(len(old.rules))]
        return found

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
        if self.has(name):
            self._refer(self.rules_of(name), -1)
        self.deleted.pop(name, None)
        self.changed[name] = DraftChain()

    def new(self, name: str) -> None:
        """``-N``."""
        if self.has(name):
            raise RuleError("Chain already exists.")
        if not name or len(name) > 28:
            raise RuleError(f"chain name `{name}' too long (must be under 29 chars)")
        self.deleted.pop(name, None)
        self.changed[name] = DraftChain()

    def append(self, chain: str, rule: Rule, counts: tuple[int, int] = (0, 0)) -> None:
        """``-A``."""
        self._check(rule)
        draft = self.chain(chain)
        draft.rules.append(rule)
        draft.counts.append(counts)
        self._refer((rule,), 1)
        self._last = (chain, rule)
        self.plain = self.plain and counts == _ZERO and not rule.set_names

    def take(self, chain: str, rule: Rule) -> bool:
        """``append`` for a rule that was read before, if the chain is one being written and the
        rule's own jump is in order; False leaves all to ``append``.
        """
        draft = self.changed.get(chain)
        jump = rule.jump
        if draft is None or rule.set_names:
            return False
        if jump:
            if jump not in self.changed and not self.has(jump):
                return False
            if jump in BASE_CHAINS[self.name]:
                return False
            self._references[jump] = self._references.get(jump, 0) + 1
        draft.rules.append(rule)
        draft.counts.append(_ZERO)
        return True

    @property
    def last(self) -> tuple[str, Rule]:
        """Chain and rule of the latest ``append``."""
        return self._last

    def touched(self) -> tuple[str, ...] | None:
        """The chains whose counters begin anew; None: those of the whole table."""
        return None if self._fresh else (*self.changed, *self.deleted)

    def insert(self, chain: str, number: int, rule: Rule) -> None:
        """``-I CHAIN NUMBER`` (from 1)."""
        self._check(rule)
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.rules) + 1:
            raise RuleError("Index of insertion too big.")
        draft.rules.insert(number - 1, rule)
        self._refer((rule,), 1)
        draft.counts.insert(number - 1, (0, 0))

    def replace(self, chain: str, number: int, rule: Rule) -> None:
        """``-R CHAIN NUMBER``."""
        self._check(rule)
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.rules):
            raise RuleError("Index of replacement too big.")
        self._refer((draft.rules[number - 1],), -1)
        self._refer((rule,), 1)
        draft.rules[number - 1] = rule
        draft.counts[number - 1] = (0, 0)

    def find(self, chain: str, rule: Rule) -> int:
        """The number of a rule, from 1. Raises RuleError as ``-C`` and ``-D`` do."""
        existing = self.chain(chain).rules if self.has(chain) else None
        if existing is None or rule not in existing:
            raise RuleError("Bad rule (does a matching rule exist in that chain?).")
        return existing.index(rule) + 1

    def delete_number(self, chain: str, number: int) -> None:
        """``-D CHAIN NUMBER``."""
        draft = self.chain(chain)
        if not 1 <= number <= len(draft.rules):
            raise RuleError("Index of deletion too big.")
        self._refer((draft.rules[number - 1],), -1)
        del draft.rules[number - 1], draft.counts[number - 1]

    def flush(self, chain: str) -> None:
        """``-F CHAIN``."""
        draft = self.chain(chain)
        self._refer(draft.rules, -1)
        draft.rules, draft.counts = [], []

    def delete(self, name: str) -> None:
        """``-X CHAIN``: an empty user chain that nothing jumps to."""
        if name in BASE_CHAINS[self.name] or not self.has(name):
            raise RuleError("No chain/target/match by that name.")
        if self.chain(name).rules:
            raise RuleError("Directory not empty.")
        if self.references(name):
            raise RuleError("Too many links.")
        del self.changed[name]
        self.deleted[name] = None

    def names(self) -> list[str]:
        """All chains, the base chains first."""
        kept = [name for name in self._base if name not in self.deleted]
        return kept + [name for name in self.changed if name not in self._base]

    def rules_of(self, name: str) -> tuple[Rule, ...] | list[Rule]:
        """The rules of a chain, for reading."""
        changed = self.changed.get(name)
        return changed.rules if changed is not None else self._base[name].rules

    def references(self, name: str) -> int:
        """How many rules jump to a chain."""
        return self._base.references.get(name, 0) + self._references.get(name, 0)

    def _check(self, rule: Rule) -> None:
        for name in rule.set_names:
            if self.nf.ipsets is None or name not in self.nf.ipsets:
                raise RuleError(f"Set {name} doesn't exist.")
        if rule.jump and (not self.has(rule.jump) or rule.jump in BASE_CHAINS[self.name]):
            raise RuleError(f"Couldn't load target `{rule.jump}':No such file or directory")

    def check_loops(self) -> None:
        """Raises RuleError when a chain can reach itself by jumps.

        The table had no loop before, so one must lead through a jump that is new.
        """
        new: list[tuple[str, str]] = []
        for name in self.changed:
            before = self._base[name].jumps if name in self._base else {}
            new += [(name, jump) for jump in self._jumps(name) if jump not in before]
        if len(new) > _MANY_JUMPS:
            self._search(dict.fromkeys(name for name, _ in new))
            return
        for start, jump in new:
            seen, todo = {jump: None}, [jump]
            while todo:
                name = todo.pop()
                if name == start:
                    raise RuleError("Too many levels of symbolic links")
                for following in self._jumps(name):
                    if following not in seen:
                        seen[following] = None
                        todo.append(following)

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
        return {rule.jump: None for rule in draft.rules if rule.jump}

    def commit(self) -> Table:
        """Put the changed table in place; it is returned, too."""
        table = Table(self._base, _summed(self._base.references, self._references))
        for name in self.deleted:
            table.pop(name, None)
            self.nf.counters.pop((self.name, name), None)
        if self._fresh:
            self.forget_counters()
        for name, draft in self.changed.items():
            table[name] = Chain(name, draft.policy, tuple(draft.rules))
            key = (self.name, name)
            if any(packets for packets, _ in draft.counts):
                self.nf.counters[key] = [n for pair in draft.counts for n in pair]
            else:
                self.nf.counters.pop(key, None)
        for name, counts in self.policies.items():
            if any(counts):
                self.nf.policy_counters[self.name, name] = list(counts)
        self.nf.tables[self.name] = table
        return table

    def forget_counters(self) -> None:
        """Whatever the table counted so far."""
        for key in [k for k in self.nf.counters if k[0] == self.name]:
            del self.nf.counters[key]
        for key in [k for k in self.nf.policy_counters if k[0] == self.name]:
            del self.nf.policy_counters[key]


def _summed(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """References after a change."""
    after = dict(before)
    for name, count in more.items():
        total = after.get(name, 0) + count
        if total:
            after[name] = total
        else:
            after.pop(name, None)
    return after


class _FailedError(Exception):
    """A line that cannot be carried out."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def restore(nf: Netfilter, text: str, *, noflush: bool) -> None:
    """Load iptables-restore text. All tables in it change together, or none does.

    Raises CommandError ("iptables-restore: line N failed").
    """
    if noflush and transitions.replay(nf, text):
        return
    try:
        drafts = _read(nf, text, noflush=noflush)
    except _FailedError as failed:
        why = f": {failed}" if str(failed) else ""
        tool = TOOL[nf.family]
        raise CommandError(f"{tool}-restore: line {failed.line} failed{why}") from None
    changes = []
    for draft in drafts:
        base = nf.tables.get(draft.name)
        after = draft.commit()
        kept = tuple(draft.kept)
        changes.append(transitions.Change(draft.name, base, after, draft.touched(), kept))
    if noflush and all(draft.plain for draft in drafts):
        transitions.remember(nf, text, tuple(changes))
    nf.replan()


def _read(nf: Netfilter, text: str, *, noflush: bool) -> list[Draft]:
    drafts: list[Draft] = []
    draft: Draft | None = None
    known = _known_lines(nf.family)
    number = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if draft is not None and (found := known.get(raw)) is not None and draft.take(*found):
            continue
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        try:
            if line[0] == "*":
                draft = _open(nf, line[1:].strip(), draft, drafts, noflush=noflush)
            else:
                draft = _line(draft, line, drafts)
        except RuleError as error:
            raise _FailedError(number, str(error)) from None
        if draft is not None and line.startswith("-A "):
            known[raw] = draft.last
    if draft is not None:
        raise _FailedError(number + 1, "COMMIT expected")
    return drafts


@cache
def _known_lines(family: str) -> dict[str, tuple[str, Rule]]:
    """Chain and rule of lines that were read before: most inputs repeat what others had."""
    del family
    return BoundedLines()


class BoundedLines(dict[str, tuple[str, Rule]]):
    """Forgets its older half when it is full."""

    def __setitem__(self, line: str, found: tuple[str, Rule]) -> None:
        """Keep one more."""
        if len(self) >= _KEEP_LINES:
            for old in list(self)[: _KEEP_LINES // 2]:
                del self[old]
        super().__setitem__(line, found)


def _line(draft: Draft | None, line: str, done: list[Draft]) -> Draft | None:
    """One line inside a table; the table that is open afterwards."""
    if draft is None:
        raise RuleError("no table is open")
    if line == "COMMIT":
        draft.check_loops()
        done.append(draft)
        return None
    if line[0] == ":":
        _declare(draft, line)
    else:
        _command(draft, line)
    return draft


def _open(
    nf: Netfilter, name: str, open_draft: Draft | None, drafts: list[Draft], *, noflush: bool
) -> Draft:
    if open_draft is not None or name not in BASE_CHAINS:
        raise RuleError(f"can't initialize {TOOL[nf.family]} table `{name}': Table does not exist")
    if any(draft.name == name for draft in drafts):
        raise RuleError(f"not modelled: table {name} twice in one input")
    return Draft(nf, name, empty=not noflush)


def _declare(draft: Draft, line: str) -> None:
    words = line[1:].split()
    if len(words) < 2:
        raise RuleError("chain and policy expected")
    counts = _counts(words[2]) if len(words) > 2 else (0, 0)
    draft.declare(words[0], words[1], counts)


def _counts(text: str) -> tuple[int, int]:
    packets, _, size = text.strip("[]").partition(":")
    if not (packets.isdigit() and size.isdigit()):
        raise RuleError(f"invalid counters {text}")
    return int(packets), int(size)


def _command(draft: Draft, line: str) -> None:
    counts = (0, 0)
    if line[0] == "[":
        head, _, line = line.partition(" ")
        counts = _counts(head)
    verb, _, rest = line.partition(" ")
    chain, _, text = rest.strip().partition(" ")
    if verb in {"-A", "--append"}:
        draft.append(chain, rules.parse(text.strip(), draft.nf.family), counts)
    else:
        edit(draft, verb, chain, tuple(split(text)))


def edit(draft: Draft, verb: str, chain: str, words: tuple[str, ...]) -> None:
    """One iptables command (-A -I -D -R -F -X -N -P) on a table. Raises RuleError."""
    number = int(words[0]) if words and words[0].isdigit() else 0
    family = draft.nf.family
    if verb in {"-A", "--append"}:
        draft.append(chain, rules.from_words(words, family))
    elif verb in {"-I", "--insert"}:
        draft.insert(chain, number or 1, rules.from_words(words[1:] if number else words, family))
    elif verb in {"-R", "--replace"}:
        draft.replace(chain, number, rules.from_words(words[1:], family))
    elif verb in {"-D", "--delete"}:
        if number and len(words) == 1:
            draft.delete_number(chain, number)
        else:
            draft.delete_number(chain, draft.find(chain, rules.from_words(words, family)))
    elif verb in {"-F", "--flush"}:
        for name in [chain] if chain else draft.names():
            draft.flush(name)
    elif verb in {"-X", "--delete-chain"}:
        unused = [n for n in draft.names() if n not in BASE_CHAINS[draft.name]]
        for name in [chain] if chain else unused:
            draft.delete(name)
    elif verb in {"-N", "--new-chain"}:
        draft.new(chain)
    elif verb in {"-P", "--policy"} and words:
        if chain not in BASE_CHAINS[draft.name] or words[0] not in {"ACCEPT", "DROP"}:
            raise RuleError("Bad built-in chain name or policy.")
        draft.chain(chain).policy = words[0]
    else:
        raise RuleError(f'unknown option "{verb}"')
