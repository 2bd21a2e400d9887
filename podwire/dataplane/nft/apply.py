"""Transactions: all steps of a file take effect, or none. Pure: rulesets in, rulesets out.

What the kernel refuses is refused here with its errno's words, pointing where nft points.
Source of the rules: net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from podwire.dataplane.nft import priorities
from podwire.dataplane.nft.apply_sets import (
    Timed,
    change_element,
    change_object,
    change_set,
    no_set,
)  # fmt: skip
from podwire.dataplane.nft.draft import Content, Draft
from podwire.dataplane.nft.loops import looping
from podwire.dataplane.nft.model import MODELLED, Base, Chain, Key, Rule, Ruleset, Table
from podwire.dataplane.nft.ops import ChainBody, Op, RuleBody
from podwire.dataplane.nft.refusals import (
    BUSY,
    EXISTS,
    INVALID,
    LINKS,
    NO_ENTRY,
    UNSUPPORTED,
    failed,
    word,
)  # fmt: skip
from podwire.dataplane.nft.text import NftError


class Result(NamedTuple):
    """What a transaction makes of a ruleset."""

    ruleset: Ruleset
    timed: tuple[Timed, ...] = ()
    gone_tables: tuple[Key, ...] = ()
    gone_sets: tuple[tuple[str, str, str], ...] = ()
    gone_counters: tuple[tuple[str, str, int, int], ...] = ()
    """Tables, handles of rules, slots."""
    added: tuple[tuple[Op, int], ...] = ()
    """Steps and the handles of what they added, for ``nft -e``."""


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
        self.touched: dict[tuple[Key, str], Op] = {}
        """Chains that lead somewhere since this transaction, and the steps that made them."""
        self._last: Draft | None = None
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
        last = self._last
        if last is not None and last.key == (op.family, op.table):
            return last
        found = self._last = self.find(op.family, op.table)
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

    def forget(self, key: Key) -> None:
        """A table goes, with all it holds."""
        self.drafts[key] = None
        self.gone_tables.append(key)
        self._last = None

    def chain(self, op: Op, draft: Draft) -> Chain:
        """The chain of a step. Raises NftError."""
        found = draft.chain(op.name)
        if found is None:
            raise failed(op, NO_ENTRY)
        return found

    # ------------------------------------------------------------ the end

    def _finish(self) -> Result:
        tables = dict(self.before.tables)
        gone_counters: list[tuple[str, str, int, int]] = []
        for key, draft in self.drafts.items():
            if draft is None:
                tables.pop(key, None)
                continue
            tables[key] = draft.finish()
            gone_counters += [(*key, *place) for place in draft.gone_counters]
        for key in self.gone_tables:
            if self.drafts.get(key) is not None:
                tables[key] = tables.pop(key)  # made anew: it comes last
        if looping(tables, self.touched):
            last = max(self.touched.values(), key=lambda op: op.whole)
            raise failed(last, LINKS, (last.whole[0], last.whole[1] + 1))
        bases = _bases(tables)
        if bases == self.before.bases:
            bases = self.before.bases
        tracks = _tracks(tables)
        if tracks == self.before.tracks:
            tracks = self.before.tracks
        ruleset = Ruleset(tables, bases, tracks, self.last_table, self.last_order)
        return Result(
            ruleset, tuple(self.timed), tuple(self.gone_tables), tuple(self.gone_sets),
            tuple(gone_counters), tuple(self.added),
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
            tx.forget(key)


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
    tx.forget(key)


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
            raise failed(op, UNSUPPORTED, (op.whole[0], op.whole[1] + 1))
        if body.policy is not None and body.policy != found.policy:
            draft.put_chain(found.ruled(body.policy))
        return
    if body.hook and body.hook not in priorities.TYPES[body.type]:
        raise failed(op, UNSUPPORTED, (op.whole[0], op.whole[1] + 1))
    if body.type == "nat" and body.priority <= -200:
        raise failed(op, UNSUPPORTED, (op.whole[0], op.whole[1] + 1))
    tx.last_order += bool(body.hook)
    made = Chain(
        op.name, draft.handle(), (body.type, body.hook, body.priority), body.policy or "accept",
        body.comment, tx.last_order,
    )  # fmt: skip
    tx.added.append((op, made.handle))
    draft.put_chain(made)


# ---------------------------------------------------------------- rules


def _rule(tx: Transaction, op: Op) -> None:
    draft = tx.draft(op)
    body: RuleBody = op.body
    if op.verb == "flush" and not op.name:
        return
    chain = draft.chain(op.name) or tx.chain(op, draft)
    content = draft.rules(op.name)
    if op.verb in {"delete", "destroy"}:
        _delete_rule(op, draft, content)
        return
    rule: Rule = body.rule
    if rule.targets or rule.sets or rule.objects or rule.nat:
        _check_rule(tx, op, draft, chain, rule)
    if rule.targets or rule.sets:
        tx.touched[draft.key, op.name] = op
    place = _place(op, content) if op.verb != "add" or body.at is not None else -1
    draft.last_handle = handle = draft.last_handle + rule.anonymous + 1
    draft.count_rule(rule, 1)
    if op.verb == "replace":
        draft.drop_rule(content.rules[place], content.handles[place])
        content.rules[place], content.handles[place] = rule, handle
    elif place < 0:
        content.rules.append(rule)
        content.handles.append(handle)
    else:
        content.rules.insert(place, rule)
        content.handles.insert(place, handle)
    tx.added.append((op, handle))


def _place(op: Op, content: Content) -> int:
    body: RuleBody = op.body
    at = body.at
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
    draft.drop_rule(content.rules.pop(number), content.handles.pop(number))


def _check_rule(tx: Transaction, op: Op, draft: Draft, chain: Chain, rule: Rule) -> None:
    for target in rule.targets:
        found = draft.chain(target)
        if found is None:
            raise failed(op, NO_ENTRY, word(tx.text, op, target))
        if found.hook:
            raise failed(op, UNSUPPORTED, word(tx.text, op, target))
    for name, use in rule.sets:
        spec = draft.specs.get(name)
        if spec is None:
            raise no_set(tx, op, draft, name)
        gives = spec.data[0].name if spec.is_map else ""
        if use == "vmap" and gives != "verdict":
            message = (
                "datatype mismatch: expected netfilter verdict, expression has type "
                f"{spec.data[0].words}" if gives else "set is not a map"
            )  # fmt: skip
            raise NftError(message, *word(tx.text, op, f"@{name}"))
        if use == "map" and not gives:
            raise NftError("set is not a map", *word(tx.text, op, f"@{name}"))
    for kind, name in rule.objects:
        if (kind, name) not in draft.objects:
            raise failed(op, NO_ENTRY, word(tx.text, op, name))
    if rule.nat and chain.hook:
        hooks = ("prerouting", "output") if rule.nat == "destination" else (
            "postrouting", "input",
        )  # fmt: skip
        if chain.type != "nat" or chain.hook not in hooks:
            raise failed(op, UNSUPPORTED, (op.whole[0], op.whole[1] + 1))


_STEPS: dict[str, Callable[[Transaction, Op], None]] = {
    "ruleset": _ruleset,
    "table": _table,
    "chain": _chain,
    "rule": _rule,
    "set": change_set,
    "map": change_set,
    "element": change_element,
    "counter": change_object,
    "quota": change_object,
    "limit": change_object,
}
