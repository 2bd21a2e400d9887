"""One table while a transaction changes it: what changed beside what is shared with others."""

from __future__ import annotations

from typing import Any

from podwire.dataplane.layers import GONE, NONE
from podwire.dataplane.nft.elements import Element, Members, members, merged
from podwire.dataplane.nft.model import Chain, Obj, Rule, SetSpec, Table


class Content:
    """The rules of a chain, being changed."""

    __slots__ = ("handles", "rules")

    def __init__(self, chain: Chain) -> None:
        self.rules = list(chain.rules)
        self.handles = list(chain.handles)


class Draft:
    """A table that is being changed. Nothing of ``table`` itself is touched."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.key = table.key
        self.comment, self.flags = table.comment, table.flags
        self.chains: dict[str, Any] = {}
        self.content: dict[str, Content] = {}
        self.uses: dict[str, int] = {}
        self.specs = table.specs
        self.objects = table.objects
        self.elements: dict[str, dict[Any, Any]] = {}
        self.fresh: dict[str, Members] = {}
        """Sets whose elements no longer build on the old ones: new and flushed ones."""
        self.last_handle = table.last_handle
        self.tracking = table.tracking
        self.bases: tuple[str, ...] = table.bases
        self.gone_counters: list[tuple[int, int]] = []
        """Handles of removed rules and the slots of their counters, which are to be forgotten."""

    def handle(self) -> int:
        """The next handle."""
        self.last_handle += 1
        return self.last_handle

    # ------------------------------------------------------------ chains

    def chain(self, name: str) -> Chain | None:
        """A chain as it is now; its rules may be newer in ``content``."""
        found = self.chains.get(name)
        if found is None:
            base: Chain | None = self.table.chains.get(name)
            return base
        return None if found is GONE else found

    def put_chain(self, chain: Chain) -> None:
        """A chain comes or changes."""
        self.chains[chain.name] = chain
        if chain.hook and chain.name not in self.bases:
            self.bases = (*self.bases, chain.name)

    def drop_chain(self, name: str) -> None:
        """A chain goes, with its rules."""
        self.flush_chain(name)
        self.chains[name] = GONE
        self.content.pop(name, None)
        self.uses.pop(name, None)
        if name in self.bases:
            self.bases = tuple(base for base in self.bases if base != name)

    def rules(self, name: str) -> Content:
        """The rules of a chain, to be changed."""
        found = self.content.get(name)
        if found is None:
            chain = self.chain(name)
            assert chain is not None
            found = self.content[name] = Content(chain)
        return found

    def use(self, name: str, by: int) -> None:
        """A chain (or ``@set``) gains or loses users."""
        self.uses[name] = self.used(name) + by

    def used(self, name: str) -> int:
        """How many rules and elements lead to a chain (or use a ``@set``)."""
        found = self.uses.get(name)
        if found is None:
            found = self.table.uses.get(name, 0)
        return int(found)

    def count_rule(self, rule: Rule, by: int) -> None:
        """Note what a rule that comes (1) or goes (-1) uses."""
        for target in rule.targets:
            self.use(target, by)
        for name, _ in rule.sets:
            self.use(f"@{name}", by)
        self.tracking += by * rule.tracks

    def drop_rule(self, rule: Rule, handle: int) -> None:
        """A rule goes: what it used, what it counted."""
        self.count_rule(rule, -1)
        self.gone_counters += [(handle, counter.slot) for counter in rule.counters]

    def flush_chain(self, name: str) -> None:
        """All rules of a chain go."""
        chain = self.chain(name)
        if name not in self.content and (chain is None or not chain.rules):
            return
        content = self.rules(name)
        for rule, handle in zip(content.rules, content.handles, strict=True):
            self.drop_rule(rule, handle)
        content.rules, content.handles = [], []

    def chain_names(self) -> list[str]:
        """The names of all chains."""
        names = [name for name in self.table.chains if self.chains.get(name) is not GONE]
        return names + [
            name
            for name, chain in self.chains.items()
            if chain is not GONE and name not in self.table.chains
        ]

    # ------------------------------------------------------------ sets and elements

    def put_spec(self, spec: SetSpec) -> None:
        """A set comes."""
        self.specs = {**self.specs, spec.name: spec}
        self.fresh[spec.name] = Members(spec.kinds, NONE)
        self.elements.pop(spec.name, None)

    def drop_spec(self, name: str) -> None:
        """A set goes."""
        self.flush_set(name)
        self.specs = {key: spec for key, spec in self.specs.items() if key != name}
        self.fresh.pop(name, None)
        self.elements.pop(name, None)
        self.uses.pop(f"@{name}", None)

    def members(self, name: str) -> Members:
        """The elements of a set before what ``elements`` changes."""
        found = self.fresh.get(name)
        return found if found is not None else self.table.members[name]

    def element(self, name: str, key: Any) -> Element | None:
        """The element of a key as it is now."""
        found = self.elements.get(name, {}).get(key)
        if found is None:
            return self.members(name).get(key)
        return None if found is GONE else found

    def put_element(self, spec: SetSpec, element: Element) -> None:
        """An element comes."""
        self.elements.setdefault(spec.name, {})[element.key] = element
        self._count_element(spec, element, 1)

    def drop_element(self, spec: SetSpec, element: Element) -> None:
        """An element goes."""
        self.elements.setdefault(spec.name, {})[element.key] = GONE
        self._count_element(spec, element, -1)

    def _count_element(self, spec: SetSpec, element: Element, by: int) -> None:
        if spec.is_map and spec.data[0].name == "verdict" and isinstance(element.data, tuple):
            chain = element.data[1]
            if chain:
                self.use(chain, by)

    def flush_set(self, name: str) -> None:
        """All elements of a set go."""
        spec = self.specs[name]
        if spec.is_map and spec.data[0].name == "verdict":
            for element in self.settled(name):
                self._count_element(spec, element, -1)
        self.fresh[name] = Members(spec.kinds, NONE)
        self.elements.pop(name, None)

    def settled(self, name: str) -> Members:
        """The elements of a set as they are now."""
        return self.members(name).changed(self.elements.get(name, {}))

    def merge(self, name: str) -> None:
        """Make ranges that touch one (auto-merge)."""
        spec = self.specs[name]
        self.fresh[name] = members(spec.kinds, merged(spec.kinds[0], self.settled(name)))
        self.elements.pop(name, None)

    # ------------------------------------------------------------ done

    def finish(self) -> Table:
        """The table as it came out."""
        chains: dict[str, Any] = dict(self.chains)
        for name, content in self.content.items():
            chain = self.chain(name)
            assert chain is not None
            chains[name] = chain.holding(tuple(content.rules), tuple(content.handles))
        return Table(
            family=self.table.family,
            name=self.table.name,
            handle=self.table.handle,
            comment=self.comment,
            flags=self.flags,
            chains=self.table.chains.changed(chains),
            specs=self.specs,
            members=self._members(),
            objects=self.objects,
            uses=self.table.uses.changed(self.uses),
            last_handle=self.last_handle,
            tracking=self.tracking,
            bases=self.bases,
        )

    def _members(self) -> dict[str, Members]:
        if self.specs is self.table.specs and not self.elements and not self.fresh:
            return self.table.members
        found = {}
        for name in self.specs:
            changed = name in self.elements or name in self.fresh
            found[name] = self.settled(name) if changed else self.table.members[name]
        return found

    def put_object(self, made: Obj) -> None:
        """A named counter, quota or limit comes."""
        self.objects = {**self.objects, (made.kind, made.name): made}

    def drop_object(self, kind: str, name: str) -> None:
        """A named object goes."""
        self.objects = {k: v for k, v in self.objects.items() if k != (kind, name)}
