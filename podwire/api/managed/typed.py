"""Typed walks of server-side apply: check, field set, merge, removal.

Source: structured-merge-diff typed (validate.go, tofieldset.go, merge.go, remove.go) and
fieldpath/set.go (EnsureNamedFieldsAreMembers).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from podwire.api.gotext import go_value
from podwire.api.managed.compare import ABSENT, Many, indexed
from podwire.api.managed.fields import MEMBER, Fields, is_member, shown, with_self
from podwire.api.managed.plans import FREE, KEYED, LEAF, LISTS, MAP, MAPS, STRUCT, KeysError, Step
from podwire.api.view import JSON

# ------------------------------------------------------------------ check


def complaints(step: Step, value: Any) -> list[str]:
    """What is wrong with a configuration: ``path: why``, as upstream words it."""
    found: list[tuple[_Path, str]] = []
    _check(step, value, (), found)
    return [f"{shown(path)}: {why}" for path, why in found]


_Path = tuple[str, ...]


def _check(step: Step, value: Any, path: _Path, found: list[tuple[_Path, str]]) -> None:
    shape = step.shape
    if value is None or shape == FREE:
        return
    if shape == LEAF:
        if why := _wrong_scalar(step.code, value):
            found.append((path, why))
    elif shape in LISTS:
        if value.__class__ is list:
            _check_items(step, value, path, found)
        else:
            found.append((path, f"expected list, got &{{{go_value(value)}}}"))
    elif value.__class__ is not dict:
        found.append((path, f"expected map, got &{{{go_value(value)}}}"))
    else:
        table = step.table
        for name, item in value.items():
            inner = step.item if shape == MAP else table.get(name) or step.other
            if inner is None:
                found.append(((*path, f"f:{name}"), "field not declared in schema"))
            elif inner.shape:
                _check(inner, item, (*path, f"f:{name}"), found)
            elif item is not None and (why := _wrong_scalar(inner.code, item)):
                found.append(((*path, f"f:{name}"), why))


def _check_items(step: Step, items: list[Any], path: _Path, found: list[tuple[_Path, str]]) -> None:
    seen: dict[str, None] = {}
    for i, item in enumerate(items):
        try:
            key = step.element(item)
        except KeysError as error:
            found.append((path, f"element {i}: {error}"))
            return
        if key in seen:
            found.append((path, f"duplicate entries for key {shown([key])}"))
        seen[key] = None
        _check(step.item, item, (*path, key), found)


def _wrong_scalar(code: str, value: Any) -> str:
    """Why a value does not fit a field that is owned as one; '' when it does."""
    fit = _FIT.get(code)
    if fit is not None and value.__class__ in fit:
        return ""
    if code.startswith("["):
        return "" if isinstance(value, list) else f"expected list, got &{{{go_value(value)}}}"
    if code == "m" or code.startswith("{"):
        return "" if isinstance(value, dict) else f"expected map, got &{{{go_value(value)}}}"
    if code in {"s", "y"}:
        return f"expected string, got &value.valueUnstructured{{Value:{go_value(value)}}}"
    if code in {"i", "l", "f"}:
        return f"expected numeric (int or float), got {_go_type(value)}"
    if code == "b":
        return f"expected boolean, got &{{{go_value(value)}}}"
    if code in {"t", "u", "q", "x"} and isinstance(value, dict | list):
        return f"expected any scalar, got &{{{go_value(value)}}}"
    return ""


_FIT: dict[str, frozenset[type]] = {
    "s": frozenset((str,)), "y": frozenset((str,)), "b": frozenset((bool,)),
    **dict.fromkeys("ilf", frozenset((int, float))),
}  # fmt: skip
"""Which JSON values fit a scalar's code."""


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


# ------------------------------------------------------------------ field set


def field_set(step: Step, value: Any) -> Fields:
    """Every field and item that a value mentions. Raises KeysError.

    Structs are not members themselves unless empty or null; entries of maps and lists are.
    """
    shape = step.shape
    node: Fields = {}
    if shape == STRUCT:
        leaves, table = step.leaves, step.table
        for name, item in (value or {}).items():
            key = leaves.get(name)
            if key is not None:
                node[key] = MEMBER
                continue
            inner = table.get(name) or step.other
            if inner is None:
                continue
            key = inner.key or f"f:{name}"
            if item is None or inner is step.other:
                node[key] = _entry(inner, item)
            elif item.__class__ is dict and not item:
                node[key] = MEMBER
            elif below := field_set(inner, item):
                node[key] = below
    elif shape in MAPS:
        if value.__class__ is dict:
            for name, item in value.items():
                node[f"f:{name}"] = _entry(step.item, item)
    elif value:
        for key, item in indexed(step, value).items():
            node[key] = MEMBER if item.__class__ is Many else _entry(step.item, item)
    return node


def _entry(step: Step, value: Any) -> Fields:
    """The node of a value that is a member itself."""
    return with_self(field_set(step, value)) if step.shape and value else MEMBER


def ensure_named(step: Step | None, fields: Fields) -> Fields:
    """The set with every declared field that leads to a member made a member."""
    found = {}
    for key, node in fields.items():
        if not node:
            found[key] = node
            continue
        inner = _below(step, key)
        named = step is not None and step.shape == STRUCT and key[2:] in step.table
        below = ensure_named(inner, node)
        found[key] = with_self(below) if named and key[:2] == "f:" else below
    return found


def _below(step: Step | None, key: str) -> Step | None:
    """The step that a path element leads to."""
    if step is None:
        return None
    if key[:2] == "f:":
        if step.shape == STRUCT:
            return step.table.get(key[2:]) or step.other
        return step.item if step.shape in MAPS else None
    return step.item if step.shape == KEYED else None


# ------------------------------------------------------------------ merge


def merge(step: Step, live: Any, config: Any) -> Any:
    """The live value with everything that the configuration says; ABSENT for neither.

    Lists that are maps or sets keep the order of the configuration for what it names, and the live
    items between those where they stood. Neither argument is changed. Raises KeysError.
    """
    if config is ABSENT:
        return live
    shape = step.shape
    if shape == FREE:
        shape = MAP if isinstance(config, dict) and isinstance(live, dict) else LEAF
    if shape == LEAF or live is ABSENT or not live:
        return config
    if not config:
        return live
    if shape in LISTS:
        return _merge_lists(step, live, config)
    found = dict(live)
    for name, value in config.items():
        inner = step.item if shape == MAP else step.table.get(name) or step.other
        if inner is not None:
            merged = merge(inner, live.get(name, ABSENT), value)
            if merged is ABSENT:
                found.pop(name, None)
            else:
                found[name] = merged
    return found


def _merge_lists(step: Step, live: list[Any], config: list[Any]) -> list[Any]:
    left = [(step.element(item), item) for item in live]
    right = {step.element(item): item for item in config}
    mine = dict(left)
    if len(mine) < len(left):
        mine = indexed(step, live)
    shared = deque(key for key in right if key in mine)
    found: list[Any] = []
    done: dict[str, None] = {}

    def take(key: str) -> None:
        was = mine.get(key, ABSENT)
        # Live items that share the key are replaced: there is no telling which one is meant.
        found.append(merge(step.item, ABSENT if was.__class__ is Many else was, right[key]))
        done[key] = None
        if shared and shared[0] == key:
            shared.popleft()

    ours = list(right)
    at, turn = 0, 0
    while at < len(left) or turn < len(ours):
        if at < len(left):
            key, item = left[at]
            if turn < len(ours):
                if key == ours[turn]:
                    take(key)
                    at, turn = at + 1, turn + 1
                    continue
                if key in right and shared and shared[0] != key:
                    at += 1  # named, but not the next one named
                    continue
            if key not in right:
                found.append(item)
                at += 1
                continue
            if key in done:
                at += 1
        if turn < len(ours):
            take(ours[turn])
            turn += 1
    return found


# ------------------------------------------------------------------ removal


def remove(step: Step, value: Any, gone: Fields) -> Any:
    """The value without the members of a set; None when nothing is left of it.

    Raises KeysError.
    """
    shape = step.shape
    if shape == FREE:
        shape = MAP if isinstance(value, dict) else LEAF
    if shape == LEAF:
        # A scalar stays; whatever is owned as a whole goes when one asks inside it.
        return value if not isinstance(value, dict | list) else None
    if not value:
        return None
    if shape in LISTS:
        items = []
        for item in value:
            node = gone.get(step.element(item))
            if node is None:
                items.append(item)
            elif not is_member(node):
                items.append(remove(step.item, item, node))
        return items or None
    found: JSON = {}
    for name, item in value.items():
        node = gone.get(f"f:{name}")
        if node is None:
            found[name] = item
        elif not is_member(node):
            inner = step.item if shape == MAP else step.table.get(name) or step.other
            found[name] = item if inner is None else remove(inner, item, node)
    return found or None
