"""FieldsV1 of a new object, written in one pass: what ``compare`` with an unset object, the
differences and ``fields.encode`` make together, text for text, without a set in between.

Objects repeat their shapes: which keys a struct or map has decides its text but for what nests
below, so that text is remembered for each combination of keys, within bounds.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

from podwire.api.managed import fields as sets
from podwire.api.managed.compare import ABSENT
from podwire.api.managed.fields import Fields
from podwire.api.managed.plans import LEAF, LISTS, STRUCT, KeysError, Step
from podwire.api.view import JSON

_NODE = "{}"
_OPEN = '{".":{},'
"""How the node of a member with children begins."""
_MOST_TEXT = 4096
_BUDGET = 4 << 20
"""How many characters of shapes are remembered before all are forgotten."""

_json = msgspec.json.Encoder().encode

Inner = tuple[tuple[str, Step], ...]
Shape = tuple[str, Inner]
"""The text of a node; a template when values nest: then their names and steps in its order."""


class _Unfit(Exception):  # noqa: N818  (an outcome, not an error)
    """The object is of a form that is left to ``compare``."""


class _Order:
    """Whether upstream's order and that of the text part in what was written."""

    __slots__ = ("rivals", "strange")

    def __init__(self) -> None:
        self.rivals = False
        """Siblings are told apart by numbers: upstream's order counts, everywhere."""
        self.strange = False
        """Siblings without such stand in the order of their text, which is not upstream's."""


def written(step: Step, zero: JSON, obj: JSON, ignored: Fields, stripped: Fields) -> bytes | None:
    """The FieldsV1 of a new object, b"" when it owns nothing; None if ``compare`` has to do it.

    ``zero`` is what Go prints of an unset object, ``ignored`` what the write resets, ``stripped``
    what nobody ever owns.
    """
    meta = obj.get("metadata")
    if meta.__class__ is not dict or "metadata" not in zero:
        return None
    if step.other is not None or any(ignored.values()):
        return None
    order = _Order()
    metadata = step.table["metadata"]
    rest = {name: value for name, value in obj.items() if name != "metadata"}
    try:
        parts = _grown(step, zero, rest, order)
        nobodys = stripped[metadata.key]
        mine = {name: value for name, value in meta.items() if f"f:{name}" not in nobodys}
        parts[metadata.key] = _beside(metadata, zero["metadata"], mine, order)
    except (_Unfit, KeysError):
        return None
    for key in (*stripped, *ignored):
        if key != metadata.key or key in ignored:
            parts.pop(key, None)
    text = _node(parts).encode()
    return sets.renumbered(text) if text and order.rivals and order.strange else text


def _node(parts: dict[str, str]) -> str:
    """The text of a node that is no member itself, '' for one without children."""
    text = ",".join([f'"{key}":{parts[key]}' for key in sorted(parts) if parts[key]])
    return f"{{{text}}}" if text else ""


# ------------------------------------------------------------------ beside an unset object


def _grown(step: Step, zero: JSON, value: JSON, order: _Order) -> dict[str, str]:
    """What a struct has got that an unset one has not: the texts of its children by their keys."""
    table = step.table
    parts: dict[str, str] = {}
    for name, after in value.items():
        before = zero.get(name, ABSENT)
        if before is not ABSENT and before == after:
            continue
        if (inner := table.get(name)) is not None:
            parts[inner.key] = _child(inner, before, after, order)
    for name in zero:
        inner = None if name in value else table.get(name)
        if inner is not None and inner.shape == LEAF and inner.keeps:
            parts[inner.key] = _NODE
    return parts


def _child(step: Step, before: Any, after: Any, order: _Order) -> str:
    """The text of a value that differs from the unset one; '' for nothing."""
    if step.shape == LEAF:
        return _NODE
    if before is ABSENT:
        text = _member(step, after, order)
        if not step.keeps:
            return text
        return "{" + text[len(_OPEN) :] if len(text) > len(_NODE) else ""
    if not before and not after:
        return _NODE
    if step.shape != STRUCT:
        raise _Unfit
    return _beside(step, before or {}, after or {}, order)


def _beside(step: Step, zero: JSON, value: JSON, order: _Order) -> str:
    """``_node(_grown(...))``: the remembered shape where nothing stands in an unset struct."""
    if zero or step.other is not None:
        return _node(_grown(step, zero, value, order))
    names = tuple(value)
    text, inner = step.shapes.get(names) or _learn(step, names)
    if inner:
        texts = []
        for name, below in inner:
            member = _member(below, value[name], order)
            if below.keeps:
                if len(member) <= len(_NODE):
                    return _node(_grown(step, zero, value, order))
                member = "{" + member[len(_OPEN) :]
            texts.append(member)
        text %= tuple(texts)
    return "{" + text[len(_OPEN) :] if len(text) > len(_NODE) else ""


# ------------------------------------------------------------------ what was not there at all


def _member(step: Step, value: Any, order: _Order) -> str:
    """The text of a new value below a struct, map or list, itself a member. Raises KeysError."""
    if step.shape in LISTS:
        return _items(step, value, order) if value.__class__ is list and value else _NODE
    if value.__class__ is not dict:
        return _NODE
    names = tuple(value)
    text, inner = step.shapes.get(names) or _learn(step, names)
    if inner:
        return text % tuple([_member(below, value[name], order) for name, below in inner])
    return text


def _items(step: Step, items: list[Any], order: _Order) -> str:
    """The text of a list that is a map or a set."""
    inner, first = step.item, items[0]
    if step.getter is None or first.__class__ is not dict:
        return _any_items(step, items, order)
    if inner.shape == STRUCT:
        names = tuple(first)
        if (inner.shapes.get(names) or _learn(inner, names))[1]:
            several = _nesting_items if step.prefix else _any_items
            return several(step, items, order)
    try:
        keys = tuple(map(step.getter, items))
        signature = (keys, tuple(map(tuple, items)))
    except (KeyError, TypeError, IndexError):
        return _any_items(step, items, order)
    if not _SCALARS.issuperset(map(type, keys if step.prefix else chain.from_iterable(keys))):
        return _any_items(step, items, order)
    text, own = step.shapes.get(signature) or _learn_items(step, items, signature)
    if own is not None:
        order.rivals |= own.rivals
        order.strange |= own.strange
    return text


def _learn_items(step: Step, items: list[Any], signature: Any) -> tuple[str, _Order | None]:
    """The same, remembered if nothing nests in the items."""
    inner, order = step.item, _Order()
    text = _any_items(step, items, order)
    learned = (text, order if order.rivals or order.strange else None)
    shapes = signature[1]
    if not (inner.shape and any((inner.shapes.get(s) or _learn(inner, s))[1] for s in shapes)):
        weight = sum(len(str(key)) for key in signature[0]) + sum(map(len, chain(*shapes)))
        _memory.keep(step.shapes, signature, learned, len(text) + weight)
    return learned


_SCALARS = frozenset((str, int))


def _nesting_items(step: Step, items: list[Any], order: _Order) -> str:
    """The text of a list whose items have one key each, a string; of others see ``_any_items``."""
    inner, name = step.item, step.keys[0][0]
    shapes = inner.shapes
    texts: dict[str, str] = {}
    own = _Order()
    for item in items:
        key = item.get(name) if item.__class__ is dict else None
        if key.__class__ is not str or not sets.sorts_plainly(key):
            return _any_items(step, items, order)
        names = tuple(item)
        text, below = shapes.get(names) or _learn(inner, names)
        if below:
            text %= tuple([_member(child, item[name], own) for name, child in below])
        texts[key] = f'\\"{key}\\"}}":{text}'  # as it is quoted: nothing in it is written otherwise
    if len(texts) < len(items):
        return _any_items(step, items, order)  # of a doubled key nothing below is looked at
    order.rivals |= own.rivals
    order.strange |= own.strange
    listed = f",{step.opening}".join([texts[key] for key in sorted(texts)])
    return f"{_OPEN}{step.opening}{listed}}}"


def _any_items(step: Step, items: list[Any], order: _Order) -> str:
    """The same for any keys, and for items of one key, which are owned together."""
    inner, leaf = step.item, step.item.shape == LEAF
    element = step.element
    found: dict[str, Any] = {}
    for item in items:
        key = element(item)
        found[key] = ABSENT if key in found else item
    keys = list(found)
    if len(keys) > 1:
        keys.sort()
        upstreams = sorted(keys, key=sets.order)
        if sets.numbered(keys) > 1:
            order.rivals = True
            keys = upstreams
        elif keys != upstreams:
            order.strange = True
    texts = []
    for key in keys:
        item = found[key]
        text = _NODE if leaf or item is ABSENT else _member(inner, item, order)
        texts.append(f"{_text(key)}:{text}")
    return f"{_OPEN}{','.join(texts)}}}"


def _text(element: str) -> str:
    return _json(element).decode()


# ------------------------------------------------------------------ shapes


class _Memory:
    """Every step's shapes, and how much they weigh."""

    def __init__(self) -> None:
        self.known: list[dict[Any, Any]] = []
        self.size = 0

    def keep(self, shapes: dict[Any, Any], key: Any, shape: Any, weight: int) -> None:
        """Remember a shape of a step, if it is no giant."""
        if weight > _MOST_TEXT:
            return
        if self.size + weight > _BUDGET:
            for others in self.known:
                others.clear()
            self.known, self.size = [], 0
        if not shapes:
            self.known.append(shapes)
        shapes[key] = shape
        self.size += weight


_memory = _Memory()


def _learn(step: Step, names: tuple[str, ...]) -> Shape:
    """The shape of a struct or map with these keys."""
    table, other = (step.table, step.other) if step.shape == STRUCT else ({}, step.item)
    children = []
    for name in names:
        below = table.get(name) or other
        if below is not None:
            children.append((below.key or f"f:{name}", name, below))
    children.sort(key=lambda child: child[0])
    inner = tuple((name, below) for _, name, below in children if below.shape != LEAF)
    parts = []
    for key, _, below in children:
        text = _text(key)
        if inner:
            text = text.replace("%", "%%")
        parts.append(f"{text}:{_NODE if below.shape == LEAF else '%s'}")
    shape = (f"{_OPEN}{','.join(parts)}}}" if parts else _NODE, inner)
    _memory.keep(step.shapes, names, shape, len(shape[0]) + sum(map(len, names)))
    return shape
