"""Transactions: all steps of a file take effect, or none. Pure: rulesets in, rulesets out.

What the kernel refuses is refused here with its errno's words, pointing where nft points.
Source of the rules: net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from podwire.dataplane.nft import priorities
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.draft import Content, Draft
from podwire.dataplane.nft.elements import Element, exact
from podwire.dataplane.nft.literals import many
from podwire.dataplane.nft.loops import check_loops
from podwire.dataplane.nft.model import (
    MODELLED, Base, Chain, Key, Obj, Rule, Ruleset, SetSpec, Table,
)  # fmt: skip
from podwire.dataplane.nft.ops import ChainBody, ElementsBody, Op, RuleBody
from podwire.dataplane.nft.text import NftError

NO_ENTRY = "No such file or directory"
EXISTS = "File exists"
BUSY = "Device or resource busy"
UNSUPPORTED = "Operation not supported"
INVALID = "Invalid argument"
FULL = "Too many open files in system"


class Timed(NamedTuple):
    """A step on elements that belong to one namespace only (those with a timeout)."""

    verb: str
    key: Key
    name: str
    element: Element | None
    spot: tuple[int, int]


class Result(NamedTuple):
    """What a transaction makes of a ruleset."""

    ruleset: Ruleset
    timed: tuple[Timed, ...] = ()
    gone_tables: tuple[Key, ...] = ()
    gone_sets: tuple[tuple[str, str, str], ...] = ()
    gone_rules: tuple[tuple[str, str, int], ...] = ()
    added: tuple[tuple[Op, int], ...] = ()
    """Steps and the handles of what they added, for ``nft -e``."""


def failed(op: Op, words: str, spot: tuple[int, int] | None = None) -> NftError:
    """The kernel refused a step."""
    start, end = spot or op.spot
    return NftError(f"Could not process rule: {words}", start, end)


@lru_cache(maxsize=1 << 13)
def _elements(
    text: str, kinds: tuple[t.DataType, ...], data: tuple[t.DataType, ...]
) -> tuple[Element, ...]:
    return many(text, kinds, data)


class Transaction:
    """Carries out the steps of one file on a ruleset. ``text`` is for finding words in errors."""

    def __init__(self, ruleset: Ruleset, text: str) -> None:
        self.before = ruleset
        self.text = text
        self.drafts: dict[Key, Draft | None] = {}
        self.timed: list[Timed] = []
        self.gone_tables: list[Key] = []
        self.gone_sets: list[tuple[str, str, str]] = []
        self.last_table = ruleset.last_table
        self.last_order = ruleset.last_order
        self.touched: dict[tuple[Key, str], None] = {}
        self.added: list[tuple[Op, int]] = []

    def run(self, ops: Iterable[Op]) -> Result:
        """All steps. Raises NftError; then nothing happened."""
        for op in ops:
            if op.verb in {"list", "reset"}:
                continue
            _STEPS[op.what](self, op)
        return self._finish()

    # ------------------------------------------------------------ finding

    def draft(self, op: Op) -> Draft:
        """The table of a step. Raises NftError."""
        found = self.find(op.family, op.table)
        if found is None:
            start = self.text.find(op.table, op.whole[0])
            spot = (start, start + len(op.table)) if start >= 0 else op.spot
            raise failed(op, NO_ENTRY, spot)
        return found

    def find(self, family: str, name: str) -> Draft | None:
        """A table as it is now."""
        key = (family, name)
        if key in self.drafts:
            return self.drafts[key]
        table = self.before.tables.get(key)
        if table is None:
            return None
        made = self.drafts[key] = Draft(table)
        return made

    def chain(self, op: Op, draft: Draft) -> Chain:
        """The chain of a step. Raises NftError."""
        found = draft.chain(op.name)
        if found is None:
            raise failed(op, NO_ENTRY)
        return found

    # ------------------------------------------------------------ the end

    def _finish(self) -> Result:
        tables = dict(self.before.tables)
        gone_rules: list[tuple[str, str, int]] = []
        for key, draft in self.drafts.items():
            if draft is None:
                tables.pop(key, None)
                continue
            tables[key] = draft.finish()
            gone_rules += [(*key, handle) for handle in draft.gone_rules]
        for key in self.gone_tables:
            if self.drafts.get(key) is not None:
                tables[key] = tables.pop(key)  # made anew: it comes last
        check_loops(tables, self.touched)
        bases = _bases(tables)
        if bases == self.before.bases:
            bases = self.before.bases
        tracks = _tracks(tables)
        if tracks == self.before.tracks:
            tracks = self.before.tracks
        ruleset = Ruleset(tables, bases, tracks, self.last_table, self.last_order)
        return Result(
            ruleset, tuple(self.timed), tuple(self.gone_tables), tuple(self.gone_sets),
            tuple(gone_rules), tuple(self.added),
        )  # fmt: skip


def _bases(tables: dict[Key, Table]) -> tuple[Base, ...]:
    found = []
    for key, table in tables.items():
        if "dormant" not in table.flags:
            for name in table.bases:
                c = table.chains[name]
                found.append(Base(key, name, c.type, c.hook, c.priority, c.order))
    return tuple(found)


def _tracks(tables: dict[Key, Table]) -> tuple[str, ...]:
    families: dict[str, None] = {}
    for table in tables.values():
        if table.tracking > 0:
            both = ("ip", "ip6") if table.family == "inet" else (table.family,)
            families.update(dict.fromkeys(both))
    return tuple(families)


# ---------------------------------------------------------------- tables


def _ruleset(tx: Transaction, op: Op) -> None:
    if op.verb != "flush":
        raise NftError(f"not modelled: {op.verb} ruleset", *op.whole)
    for key in dict.fromkeys((*tx.before.tables, *tx.drafts)):
        if op.family in {"", key[0]} and (tx.drafts.get(key, 0) is not None):
            _drop_table(tx, key)


def _drop_table(tx: Transaction, key: Key) -> None:
    tx.drafts[key] = None
    tx.gone_tables.append(key)


def _table(tx: Transaction, op: Op) -> None:
    key = (op.family, op.table)
    if isinstance(op.body, int):
        key = next((k for k, v in tx.before.tables.items() if v.handle == op.body), key)
    found = tx.find(*key)
    if op.verb in {"add", "create"}:
        if op.family not in MODELLED:
            raise NftError(f"not modelled: tables of family {op.family}", *op.spot)
        if found is not None:
            if op.verb == "create":
                raise failed(op, EXISTS)
            if op.body is not None:
                found.flags = op.body[1]
            return
        tx.last_table += 1
        comment, flags = op.body or ("", ())
        made = Table(op.family, op.table, handle=tx.last_table, comment=comment, flags=flags)
        tx.drafts[key] = Draft(made)
        return
    if found is None:
        if op.verb == "destroy":
            return
        raise failed(op, NO_ENTRY)
    if op.verb == "flush":
        for name in found.chain_names():
            found.flush_chain(name)
        return
    _drop_table(tx, key)


# ---------------------------------------------------------------- chains


def _chain(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    if op.verb in {"add", "create"}:
        _add_chain(tx, op, draft)
        return
    if op.verb == "rename":
        raise NftError("not modelled: rename", *op.whole)
    if isinstance(op.body, int):
        names = [n for n in draft.chain_names() if _handle(draft.chain(n)) == op.body]
        op = op._replace(name=names[0] if names else "")
    if op.verb == "destroy" and draft.chain(op.name) is None:
        return
    tx.chain(op, draft)
    draft.flush_chain(op.name)
    if op.verb == "flush":
        return
    if draft.used(op.name) > 0:
        raise failed(op, BUSY)
    draft.drop_chain(op.name)


def _handle(chain: Chain | None) -> int:
    return chain.handle if chain is not None else 0


def _add_chain(tx: Transaction, op: Op, draft: Draft) -> None:
    body: ChainBody = op.body
    found = draft.chain(op.name)
    if found is not None:
        if op.verb == "create":
            raise failed(op, EXISTS)
        same = not body.hook or (body.type, body.hook, body.priority) == (
            found.type, found.hook, found.priority,
        )  # fmt: skip
        if not same:
            raise failed(op, UNSUPPORTED, op.whole)
        if body.policy is not None and body.policy != found.policy:
            draft.put_chain(replace(found, policy=body.policy))
        return
    if body.hook and body.hook not in priorities.TYPES[body.type]:
        raise failed(op, UNSUPPORTED, op.whole)
    if body.type == "nat" and body.priority <= -200:
        raise failed(op, UNSUPPORTED, op.whole)
    tx.last_order += bool(body.hook)
    made = Chain(
        op.name, draft.handle(), body.type, body.hook, body.priority, body.policy or "accept",
        body.comment, order=tx.last_order,
    )  # fmt: skip
    tx.added.append((op, made.handle))
    draft.put_chain(made)


# ---------------------------------------------------------------- rules


def _rule(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    body: RuleBody = op.body
    if op.verb == "flush" and not op.name:
        return
    chain = tx.chain(op, draft)
    content = draft.rules(op.name)
    if op.verb in {"delete", "destroy"}:
        _delete_rule(op, draft, content)
        return
    rule: Rule = body.rule
    _check_rule(tx, op, draft, chain, rule)
    place = _place(op, content)
    draft.last_handle += rule.anonymous
    handle = draft.handle()
    draft.count_rule(rule, 1)
    if op.verb == "replace":
        draft.count_rule(content.rules[place], -1)
        draft.gone_rules.append(content.handles[place])
        content.rules[place], content.handles[place] = rule, handle
    else:
        content.rules.insert(place, rule)
        content.handles.insert(place, handle)
    tx.added.append((op, handle))
    if rule.targets or any(use == "vmap" for _, use in rule.sets):
        tx.touched[draft.table.key, op.name] = None


def _place(op: Op, content: Content) -> int:
    at = op.body.at
    if at is None:
        if op.verb == "replace":
            raise failed(op, INVALID)
        return 0 if op.verb == "insert" else len(content.rules)
    kind, number = at
    if kind == "index":
        if number >= len(content.rules):
            raise failed(op, NO_ENTRY)
        return number if op.verb == "insert" else number + 1
    if number not in content.handles:
        raise failed(op, NO_ENTRY)
    index = content.handles.index(number)
    return index + (op.verb == "add")


def _delete_rule(op: Op, draft: Draft, content: Content) -> None:
    at = op.body.at
    if at is None:
        raise failed(op, INVALID)
    kind, number = at
    if kind == "handle" and number in content.handles:
        number = content.handles.index(number)
    elif kind == "handle" or number >= len(content.rules):
        if op.verb == "destroy":
            return
        raise failed(op, NO_ENTRY)
    draft.count_rule(content.rules.pop(number), -1)
    draft.gone_rules.append(content.handles.pop(number))


def _check_rule(tx: Transaction, op: Op, draft: Draft, chain: Chain, rule: Rule) -> None:
    for target in rule.targets:
        found = draft.chain(target)
        if found is None:
            raise failed(op, NO_ENTRY, _word(tx, op, target))
        if found.hook:
            raise failed(op, UNSUPPORTED, _word(tx, op, target))
    for name, use in rule.sets:
        spec = draft.specs.get(name)
        if spec is None:
            raise _no_set(tx, op, draft, name)
        gives = spec.data[0].name if spec.is_map else ""
        if use == "vmap" and gives != "verdict":
            message = (
                "datatype mismatch: expected netfilter verdict, expression has type "
                f"{spec.data[0].words}" if gives else "set is not a map"
            )  # fmt: skip
            raise NftError(message, *_word(tx, op, f"@{name}"))
        if use == "map" and not gives:
            raise NftError("set is not a map", *_word(tx, op, f"@{name}"))
    for kind, name in rule.objects:
        if (kind, name) not in draft.objects:
            raise failed(op, NO_ENTRY, _word(tx, op, name))
    if rule.nat and chain.hook:
        hooks = ("prerouting", "output") if rule.nat == "destination" else (
            "postrouting", "input",
        )  # fmt: skip
        if chain.type != "nat" or chain.hook not in hooks:
            raise failed(op, UNSUPPORTED, op.whole)


def _word(tx: Transaction, op: Op, word: str) -> tuple[int, int]:
    """Where a word of a step stands."""
    start = tx.text.rfind(word, op.whole[0], op.whole[1])
    return (start, start + len(word)) if start >= 0 else op.whole


def _no_set(tx: Transaction, op: Op, draft: Draft, name: str) -> NftError:
    alike = get_close_matches(name, list(draft.specs), 1, 0.3)
    hint = ""
    if alike:
        what = "map" if draft.specs[alike[0]].is_map else "set"
        table = draft.table
        hint = f"; did you mean {what} ‘{alike[0]}’ in table {table.family} ‘{table.name}’?"
    return NftError(NO_ENTRY + hint, *_word(tx, op, f"@{name}"))


# ---------------------------------------------------------------- sets, maps and their elements


def _set(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    if op.verb in {"add", "create"}:
        spec = op.body[0] if isinstance(op.body, tuple) else op.body
        if spec is None:
            raise NftError("unqualified type in set definition", *op.spot)
        _add_set(tx, op, draft, spec)
        return
    name = op.name
    if isinstance(op.body, int):
        name = next((n for n, s in draft.specs.items() if s.handle == op.body), "")
    if name not in draft.specs or draft.specs[name].is_map != (op.what == "map"):
        if op.verb == "destroy":
            return
        raise _no_set(tx, op, draft, name) if op.verb == "flush" else failed(op, NO_ENTRY)
    if op.verb == "flush":
        draft.flush_set(name)
        if draft.specs[name].dynamic:
            tx.timed.append(Timed("flush", draft.table.key, name, None, op.spot))
        return
    if draft.used(f"@{name}") > 0:
        raise failed(op, BUSY)
    draft.drop_spec(name)
    tx.gone_sets.append((*draft.table.key, name))


def _add_set(tx: Transaction, op: Op, draft: Draft, spec: SetSpec) -> None:
    known = draft.specs.get(spec.name)
    if known is not None:
        same = (known.kinds, known.data, known.flags, known.is_map) == (
            spec.kinds, spec.data, spec.flags, spec.is_map,
        )  # fmt: skip
        if op.verb == "create" or not same:
            raise failed(op, EXISTS)
        return
    made = replace(spec, handle=draft.handle())
    tx.added.append((op, made.handle))
    draft.put_spec(made)


def _element(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    spec = draft.specs.get(op.name)
    if spec is None:
        raise _no_set(tx, op, draft, op.name)
    body: ElementsBody = op.body
    try:
        elements = _elements(body.text, spec.kinds, spec.data)
    except NftError as error:
        raise error.shifted(body.start) from None
    if spec.dynamic:
        tx.timed += [Timed(op.verb, draft.table.key, spec.name, e, op.spot) for e in elements]
        if spec.is_map:
            _check_targets(op, draft, spec, elements, tx)
        return
    if op.verb in {"delete", "destroy"}:
        _delete_elements(tx, op, draft, spec, elements)
        return
    _check_targets(op, draft, spec, elements, tx)
    for element in elements:
        known = draft.element(spec.name, element.key)
        if known is not None:
            if op.verb == "create" or known.data != element.data:
                raise failed(op, EXISTS, _element_spot(tx, op, spec, element))
            continue
        if not exact(element.key) and not spec.interval:
            start, end = _element_spot(tx, op, spec, element)
            raise NftError("You must add 'flags interval' to your set declaration if you want to "
                           "add prefix elements", start, end)  # fmt: skip
        draft.put_element(spec, element)
    _settle(tx, op, draft, spec)


def _settle(tx: Transaction, op: Op, draft: Draft, spec: SetSpec) -> None:
    """What holds for a set as a whole: its size, and that ranges keep apart."""
    if spec.auto_merge:
        draft.merge(spec.name)
    elif spec.interval and len(spec.kinds) == 1 and spec.kinds[0].name != "ifname":
        clash = _clash(draft, spec)
        if clash is not None:
            raise NftError("conflicting intervals specified", *_element_spot(tx, op, spec, clash))
    if spec.size and len(draft.settled(spec.name)) > spec.size:
        raise failed(op, FULL)


def _clash(draft: Draft, spec: SetSpec) -> Element | None:
    kind = spec.kinds[0]
    spans = sorted(
        (
            (e.key.low, e.key.high, e) if isinstance(e.key, t.Range)
            else (kind.number(e.key), kind.number(e.key), e)
            for e in draft.settled(spec.name)
        ),
        key=lambda span: (span[0], -span[1]),
    )  # fmt: skip
    for one, two in zip(spans, spans[1:], strict=False):
        if two[0] <= one[1]:
            return two[2]
    return None


def _check_targets(
    op: Op, draft: Draft, spec: SetSpec, elements: Iterable[Element], tx: Transaction
) -> None:
    if not spec.is_map:
        for element in elements:
            if element.data is not None:
                raise NftError("set is not a map", *op.spot)
        return
    for element in elements:
        if element.data is None and op.verb in {"add", "create"}:
            raise failed(op, INVALID, _element_spot(tx, op, spec, element))
        if spec.data[0] is t.VERDICT and isinstance(element.data, tuple) and element.data[1]:
            if draft.chain(element.data[1]) is None:
                raise failed(op, NO_ENTRY, _element_spot(tx, op, spec, element))
            tx.touched[draft.table.key, element.data[1]] = None


def _element_spot(tx: Transaction, op: Op, spec: SetSpec, element: Element) -> tuple[int, int]:
    from podwire.dataplane.nft.elements import show_key  # noqa: PLC0415  # only for errors

    body: ElementsBody = op.body
    key = show_key(spec.kinds, element.key)
    start = tx.text.rfind(key, body.start, body.start + len(body.text))
    return (start, start + len(key)) if start >= 0 else op.spot


def _delete_elements(
    tx: Transaction, op: Op, draft: Draft, spec: SetSpec, elements: Iterable[Element]
) -> None:
    for element in elements:
        known = draft.element(spec.name, element.key)
        if known is None:
            if op.verb == "destroy":
                continue
            raise failed(op, NO_ENTRY, _element_spot(tx, op, spec, element))
        draft.drop_element(spec, known)


# ---------------------------------------------------------------- named objects


def _object(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    known = draft.objects.get((op.what, op.name))
    if op.verb in {"add", "create"}:
        if known is not None:
            if op.verb == "create":
                raise failed(op, EXISTS)
            return
        body, words, comment = op.body or ((0, 0), "packets 0 bytes 0", "")
        draft.put_object(Obj(op.what, op.name, body, words, comment, draft.handle()))
        return
    if known is None:
        if op.verb == "destroy":
            return
        raise failed(op, NO_ENTRY)
    draft.drop_object(op.what, op.name)


_STEPS: dict[str, Callable[[Transaction, Op], None]] = {
    "ruleset": _ruleset,
    "table": _table,
    "chain": _chain,
    "rule": _rule,
    "set": _set,
    "map": _set,
    "element": _element,
    "counter": _object,
    "quota": _object,
    "limit": _object,
}


