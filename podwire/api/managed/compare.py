"""What a write changed: the fields that got a value, and those that went.

Source: structured-merge-diff typed/compare.go. Equal subtrees are recognised before they are
walked, so the cost follows the change and not the object.
"""

from __future__ import annotations

from typing import Any

from podwire.api.managed.fields import MEMBER, SELF, Fields
from podwire.api.managed.plans import FREE, LEAF, LISTS, MAPS, STRUCT, KeysError, Step
from podwire.api.view import JSON

ABSENT: Any = type("Absent", (), {"__repr__": lambda _self: "ABSENT", "__slots__": ()})()
"""No value, where None is JSON's null."""


class Many(list[Any]):
    """Items of one list that share one key; such are owned together."""


def compare(step: Step, old: JSON, new: JSON) -> tuple[Fields, Fields]:
    """(added or modified, removed) between two objects of a type. Raises KeysError."""
    touched: Fields = {}
    removed: Fields = {}
    _struct(step, old, new, touched, removed)
    return touched, removed


def whole(step: Step, value: Any) -> Fields:
    """Everything below a value that was not there before, the value itself not counted."""
    node: Fields = {}
    _fill(step, value, node)
    return node


def _member(step: Step, value: Any) -> Fields:
    """The node of a new value, itself a member."""
    node = {SELF: MEMBER}
    _fill(step, value, node)
    return node if len(node) > 1 else MEMBER


def _fill(step: Step, value: Any, node: Fields) -> None:
    shape = step.shape
    if shape == STRUCT:
        if value.__class__ is dict:
            leaves, table = step.leaves, step.table
            for name, item in value.items():
                key = leaves.get(name)
                if key is not None:
                    node[key] = MEMBER
                elif (inner := table.get(name) or step.other) is not None:
                    node[inner.key or f"f:{name}"] = _member(inner, item)
    elif shape in MAPS:
        if value.__class__ is dict:
            inner = step.item
            if inner.shape:
                for name, item in value.items():
                    node[f"f:{name}"] = _member(inner, item)
            else:
                for name in value:
                    node[f"f:{name}"] = MEMBER
    elif value.__class__ is list:
        inner = step.item
        for key, item in indexed(step, value).items():
            simple = not inner.shape or item.__class__ is Many
            node[key] = MEMBER if simple else _member(inner, item)


def indexed(step: Step, items: list[Any]) -> dict[str, Any]:
    """A list's items by their path elements; those that share one as Many. Raises KeysError."""
    element = step.element
    found: dict[str, Any] = {}
    for item in items:
        key = element(item)
        if key in found:
            before = found[key]
            if before.__class__ is Many:
                before.append(item)
            else:
                found[key] = Many([before, item])
        else:
            found[key] = item
    return found


def _struct(step: Step, old: JSON, new: JSON, touched: Fields, removed: Fields) -> None:
    table, other = step.table, step.other
    for name, after in new.items():
        before = old.get(name, ABSENT)
        if before is after or before == after:
            continue
        inner = table.get(name) or other
        if inner is not None:
            _pair(inner, inner.key or f"f:{name}", before, after, touched, removed)
    for name, before in old.items():
        if name not in new:
            inner = table.get(name) or other
            if inner is not None:
                _pair(inner, inner.key or f"f:{name}", before, ABSENT, touched, removed)


def _pair(step: Step, key: str, before: Any, after: Any, touched: Fields, removed: Fields) -> None:
    """Two values that differ; one of them may be ABSENT."""
    if step.shape == LEAF:
        gone = after is ABSENT and not step.keeps
        (removed if gone else touched)[key] = MEMBER
    elif before is ABSENT or after is ABSENT:
        into, value = (removed, before) if after is ABSENT else (touched, after)
        if not step.keeps:
            into[key] = _member(step, value)
        elif node := whole(step, value):
            into[key] = node
    elif step.shape == FREE and not (isinstance(before, dict) and isinstance(after, dict)):
        touched[key] = _member(step, after)
        if node := whole(step, before):
            removed[key] = node
    elif not before and not after:
        touched[key] = MEMBER  # empty became null, or the other way round
    else:
        inner_touched: Fields = {}
        inner_removed: Fields = {}
        _inside(step, before, after, inner_touched, inner_removed)
        if inner_touched:
            touched[key] = inner_touched
        if inner_removed:
            removed[key] = inner_removed


def _inside(step: Step, before: Any, after: Any, touched: Fields, removed: Fields) -> None:
    shape = step.shape
    fit = list if shape in LISTS else dict
    for value in (before, after):
        if value and value.__class__ is not fit:  # a custom object is judged later
            raise KeysError(f"expected {'list' if fit is list else 'map'}")
    if shape == STRUCT:
        _struct(step, before or {}, after or {}, touched, removed)
    elif shape in LISTS:
        _list(step, before or [], after or [], touched, removed)
    else:
        _map(step.item, before or {}, after or {}, touched, removed)


def _map(inner: Step, before: JSON, after: JSON, touched: Fields, removed: Fields) -> None:
    for name, value in after.items():
        was = before.get(name, ABSENT)
        if was is not value and was != value:
            _pair(inner, f"f:{name}", was, value, touched, removed)
    for name, value in before.items():
        if name not in after:
            _pair(inner, f"f:{name}", value, ABSENT, touched, removed)


def _list(
    step: Step, before: list[Any], after: list[Any], touched: Fields, removed: Fields
) -> None:
    left, right = indexed(step, before), indexed(step, after)
    for key, value in right.items():
        was = left.get(key, ABSENT)
        if was is value:
            continue
        if was.__class__ is Many or value.__class__ is Many:
            _many(step, key, was, value, touched, removed)
        elif was != value:
            _pair(step.item, key, was, value, touched, removed)
    for key, value in left.items():
        if key not in right:
            if value.__class__ is Many:
                removed[key] = MEMBER
            else:
                _pair(step.item, key, value, ABSENT, touched, removed)


def _many(step: Step, key: str, before: Any, after: Any, touched: Fields, removed: Fields) -> None:
    """Items with one key: the group is one field; what is single on one side comes or goes."""
    if before.__class__ is after.__class__:
        if before != after:
            touched[key] = MEMBER
        return
    if before.__class__ is Many:
        if after is not ABSENT:
            _pair(step.item, key, ABSENT, after, touched, removed)
        removed[key] = MEMBER
        return
    if before is not ABSENT:
        _pair(step.item, key, before, ABSENT, touched, removed)
    touched[key] = MEMBER
