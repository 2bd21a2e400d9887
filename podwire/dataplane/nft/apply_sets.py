"""Steps of a transaction on sets, maps, their elements, and named objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.draft import Draft
from podwire.dataplane.nft.elements import Element, bounds, exact, show_key
from podwire.dataplane.nft.literals import many
from podwire.dataplane.nft.model import Key, Obj, SetSpec
from podwire.dataplane.nft.ops import ElementsBody, Op
from podwire.dataplane.nft.refusals import BUSY, EXISTS, FULL, INVALID, NO_ENTRY, failed, word
from podwire.dataplane.nft.text import NftError

if TYPE_CHECKING:
    from podwire.dataplane.nft.apply import Transaction


class Timed(NamedTuple):
    """A step on elements that belong to one namespace only (those with a timeout)."""

    verb: str
    key: Key
    name: str
    element: Element | None
    spot: tuple[int, int]


@lru_cache(maxsize=1 << 13)
def _elements(
    text: str, kinds: tuple[t.DataType, ...], data: tuple[t.DataType, ...]
) -> tuple[Element, ...]:
    return many(text, kinds, data)


def _quoted(name: str) -> str:
    return f"\N{LEFT SINGLE QUOTATION MARK}{name}\N{RIGHT SINGLE QUOTATION MARK}"


def no_set(tx: Transaction, op: Op, draft: Draft, name: str) -> NftError:
    """There is no such set; perhaps one with a name like it."""
    alike = get_close_matches(name, list(draft.specs), 1, 0.3)
    hint = ""
    if alike:
        what = "map" if draft.specs[alike[0]].is_map else "set"
        table = draft.table
        place = f"{_quoted(alike[0])} in table {table.family} {_quoted(table.name)}"
        hint = f"; did you mean {what} {place}?"
    spot = word(tx.text, op, f"@{name}") if op.what == "rule" else op.spot
    return NftError(NO_ENTRY + hint, *spot)


# ---------------------------------------------------------------- sets, maps and their elements


def change_set(tx: Transaction, op: Op) -> None:
    """Make, flush or delete a set or map. Raises NftError."""
    draft = tx.draft(op)
    if op.verb in {"add", "create"}:
        if op.body is None:
            raise NftError("unqualified type in set definition", *op.spot)
        _add_set(tx, op, draft, op.body)
        return
    name = op.name
    if isinstance(op.body, int):
        name = next((n for n, s in draft.specs.items() if s.handle == op.body), "")
    if name not in draft.specs:
        if op.verb == "destroy":
            return
        raise no_set(tx, op, draft, name)
    if op.verb == "flush":
        draft.flush_set(name)
        if draft.specs[name].dynamic:
            tx.timed.append(Timed("flush", draft.key, name, None, op.spot))
        return
    if draft.used(f"@{name}") > 0:
        raise failed(op, BUSY)
    draft.drop_spec(name)
    tx.gone_sets.append((*draft.key, name))


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


def change_element(tx: Transaction, op: Op) -> None:
    """Add or delete elements. Raises NftError."""
    draft = tx.draft(op)
    spec = draft.specs.get(op.name)
    if spec is None:
        raise no_set(tx, op, draft, op.name)
    body: ElementsBody = op.body
    try:
        elements = _elements(body.text, spec.kinds, spec.data)
    except NftError as error:
        raise error.shifted(body.start) from None
    if spec.dynamic:
        tx.timed += [Timed(op.verb, draft.key, spec.name, e, op.spot) for e in elements]
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
            old = draft.table.members.get(spec.name)
            words = "conflicting intervals specified"
            if old is not None and any(old.get(element.key) is not None for element in clash):
                words = "interval overlaps with an existing one"
            raise NftError(words, *_element_spot(tx, op, spec, clash[1]))
    if spec.size and len(draft.settled(spec.name)) > spec.size:
        raise failed(op, FULL)


def _clash(draft: Draft, spec: SetSpec) -> tuple[Element, Element] | None:
    kind = spec.kinds[0]
    spans = sorted(
        ((*bounds(kind, e.key), e) for e in draft.settled(spec.name)),
        key=lambda span: (span[0], -span[1]),
    )
    for one, two in pairwise(spans):
        if two[0] <= one[1]:
            return one[2], two[2]
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
            tx.touched[draft.key, element.data[1]] = op


def _element_spot(tx: Transaction, op: Op, spec: SetSpec, element: Element) -> tuple[int, int]:
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


def change_object(tx: Transaction, op: Op) -> None:
    """Make or delete a counter, quota or limit. Raises NftError."""
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
