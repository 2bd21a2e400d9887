"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

``merge(type, original, patch)`` is pure: it returns a new object and changes neither argument.
Source of the behaviour: apimachinery pkg/util/strategicpatch (apply direction).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Any

from podwire.api.gotext import go_value
from podwire.api.schema import Field, Type, type_named
from podwire.api.view import JSON

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
SET_ORDER = "$setElementOrder/"
DELETE_ITEMS = "$deleteFromPrimitiveList/"


class StrategicError(ValueError):
    """The patch contradicts itself or the schema; the message is close to upstream's."""


def merge(type: Type, original: JSON, patch: JSON) -> JSON:
    """The original with the patch applied. Raises StrategicError."""
    return _merge_map(original, patch, type)


def _field(type: Type | None, name: str) -> Field | None:
    return None if type is None else type.fields.get(name)


def _inner(field: Field | None) -> Type | None:
    """The type of a field's message, or of its list's or map's items."""
    return type_named(field.ref) if field is not None and field.code.endswith("m") else None


def _merges(field: Field | None) -> bool:
    return field is not None and "merge" in field.patch_strategy.split(",")


def _replaces(field: Field | None) -> bool:
    return field is not None and "replace" in field.patch_strategy.split(",")


def _merge_map(original: JSON, patch: JSON, type: Type | None) -> JSON:
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        return _plain_map({k: v for k, v in patch.items() if k != DIRECTIVE})
    if directive == "delete":
        return {}
    if directive is not None:
        raise StrategicError(f"unknown patch type: {directive} in map: {go_value(patch)}")
    found = dict(original)
    done: Container[str] = ()
    if any(name[:1] == "$" for name in patch):
        done = _direct(found, patch, type)
    for name, value in patch.items():
        if name in done:
            continue
        if value is None:
            found.pop(name, None)
        elif name in found:
            found[name] = _merge_value(found[name], value, _field(type, name))
        else:
            plain = _plain(value)
            if plain is not _DROPPED:
                found[name] = plain
    return found


def _direct(found: JSON, patch: JSON, type: Type | None) -> Container[str]:
    """Do what the directives of a map say; the names that need no merging any more."""
    _retain_keys(found, patch)
    for name, items in patch.items():
        if name.startswith(DELETE_ITEMS):
            target = name.removeprefix(DELETE_ITEMS)
            unwanted = _need_list(_BAD_PRIMITIVES, items)
            if isinstance(found.get(target), list):
                found[target] = _without(found[target], unwanted)
    ordered = {
        name.removeprefix(SET_ORDER): v for name, v in patch.items() if name.startswith(SET_ORDER)
    }
    for name, order in ordered.items():
        _merge_ordered(found, patch, name, _need_list(_BAD_ORDER, order), type)
    told = (name for name in patch if _is_directive(name))
    return dict.fromkeys((*ordered, *told))


def _is_directive(name: str) -> bool:
    return name in {DIRECTIVE, RETAIN_KEYS} or name.startswith((SET_ORDER, DELETE_ITEMS))


def _merge_value(original: Any, value: Any, field: Field | None) -> Any:
    if value.__class__ is str:
        return value
    if isinstance(original, dict) and isinstance(value, dict) and not _replaces(field):
        if field is not None and field.shape == "{":
            return _merge_free_map(original, value, _inner(field))
        return _merge_map(original, value, _inner(field))
    if isinstance(original, list) and isinstance(value, list) and _merges(field):
        assert field is not None, "a list merges only by its field's strategy"
        return _merge_list(original, value, field)
    plain = _plain(value)
    return {} if plain is _DROPPED else plain


def _merge_free_map(original: JSON, patch: JSON, item: Type | None) -> JSON:
    """A map with arbitrary keys (labels): its keys are data, its values share one type."""
    directive = patch.get(DIRECTIVE)
    if directive is not None:
        return _merge_map(original, patch, None)
    found = dict(original)
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict) and isinstance(found.get(name), dict):
            found[name] = _merge_map(found[name], value, item)
        else:
            found[name] = _plain(value)
    return found


def _retain_keys(found: JSON, patch: JSON) -> None:
    retained = patch.get(RETAIN_KEYS)
    if retained is None:
        return
    names = _need_list(_BAD_RETAINED, retained)
    for name, value in patch.items():
        if not name.startswith("$") and value is not None and name not in names:
            raise StrategicError(_BAD_RETAINED)
    for name in list(found):
        if name not in names:
            del found[name]


_BAD_PRIMITIVES = "invalid patch format of primitive list"
_BAD_ORDER = "invalid patch format of setElementOrder list"
_BAD_RETAINED = "invalid patch format of retainKeys"


def _need_list(otherwise: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise StrategicError(otherwise)
    return value


def _without(items: list[Any], unwanted: list[Any]) -> list[Any]:
    key = _identity(None)
    gone = _positions([item for item in unwanted if not isinstance(item, dict)], key)
    return [item for item in items if isinstance(item, dict) or key(item) not in gone]


def _merge_ordered(
    found: JSON, patch: JSON, name: str, order: list[Any], type: Type | None
) -> None:
    """A list whose final order the patch dictates with $setElementOrder."""
    field = _field(type, name)
    before, change = found.get(name), patch.get(name)
    if change is None and name in patch:
        found.pop(name, None)
        return
    if before is None and change is None:
        return
    before = before if isinstance(before, list) else []
    key = _identity(field)
    if change is None:
        merged = list(before)
    else:
        change = _need_list(f"expected a []interface {{}}, but received a {name}", change)
        _check_order(change, order, key)
        keyed = field is not None and _merges(field)
        merged = _merge_list(before, change, field) if keyed and field else _plain(change)
        before = _shifted(before, change, key)
    found[name] = _in_order(merged, order, before, key)


def _shifted(before: list[Any], change: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """The order of the server's list after the change, as upstream sees it.

    New items take the places that deleted ones left, at the end: Go appends them to the array that
    the deletions shortened.
    """
    gone = _positions([item for item in change if _directive(item) == "delete"], key)
    if not gone:
        return before
    kept = [item for item in before if key(item) not in gone]
    known = _positions(before, key)
    new = [item for item in change if not _directive(item) and key(item) not in known]
    return [*kept, *new[: len(before) - len(kept)]]


def _check_order(change: list[Any], order: list[Any], key: Callable[[Any], Any]) -> None:
    wanted = _positions(order, key)
    given = [key(item) for item in change if not _directive(item)]
    positions = [wanted[k] for k in given if k in wanted]
    if len(positions) != len(given) or positions != sorted(positions):
        raise StrategicError(
            f"The order in patch list:\n{go_value(change)}\n doesn't match "
            f"{SET_ORDER[:-1]} list:\n{go_value(order)}\n"
        )


def _directive(item: Any) -> Any:
    return item.get(DIRECTIVE) if isinstance(item, dict) else None


def _identity(field: Field | None) -> Callable[[Any], Any]:
    """What makes list items the same: their merge key's value, or the item itself (hashable)."""
    name = field.merge_key if field is not None else ""

    def key(item: Any) -> Any:
        if isinstance(item, dict):
            if not name or name not in item:
                shown = go_value(item)
                raise StrategicError(f"map: {shown} does not contain declared merge key: {name}")
            item = item[name]
        return repr(item) if isinstance(item, dict | list) else item

    return key


def _merge_list(original: list[Any], patch: list[Any], field: Field) -> list[Any]:
    usual = _merge_usual(original, patch, field)
    if usual is not None:
        return usual
    key = _identity(field)
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        unique = {key(item): item for item in reversed([*original, *patch])}
        return _in_order(list(reversed(unique.values())), patch, original, key)
    if any(_directive(item) == "replace" for item in patch):
        kept = [item for item in patch if _directive(item) != "replace"]
        return [item for item in map(_plain, kept) if item is not _DROPPED]
    gone: dict[Any, None] = {}
    changes: dict[Any, list[JSON]] = {}
    for item in patch:
        if not isinstance(item, dict):
            raise StrategicError("invalid JSON document: a list mixes objects and other values")
        directive = _directive(item)
        if directive == "delete":
            gone[key(item)] = None
        elif directive is None:
            changes.setdefault(key(item), []).append(item)
        elif directive == "merge":
            raise StrategicError("merging lists cannot yet be specified in the patch")
        else:
            raise StrategicError(f"unknown patch type: {directive} in map: {go_value(item)}")
    inner = _inner(field)
    merged: list[Any] = []
    order = [change for same in changes.values() for change in same]
    for item in original:
        name = key(item)
        if name in gone:
            continue
        for change in changes.pop(name, ()):
            item = _merge_map(item, change, inner)  # noqa: PLW2901 - merged step by step
        merged.append(item)
    for first, *more in changes.values():
        item = _plain_map(first)
        for change in more:
            item = _merge_map(item, change, inner)
        merged.append(item)
    return _in_order(merged, order, original, key)


def _merge_usual(original: list[Any], patch: list[Any], field: Field) -> list[Any] | None:
    """What mostly happens: some items of the original are changed, each once, in their order, and
    nothing else; None if it is not so.
    """
    name = field.merge_key
    wanted: dict[str, JSON] = {}
    for item in patch:
        key = item.get(name) if item.__class__ is dict and DIRECTIVE not in item else None
        if key.__class__ is not str or key in wanted:
            return None
        wanted[key] = item
    merged: list[Any] = []
    seen: dict[str, None] = {}
    waiting = iter(wanted)
    due = next(waiting, None)
    inner = _inner(field)
    for item in original:
        key = item.get(name) if item.__class__ is dict else None
        if key.__class__ is not str or key in seen:
            return None
        seen[key] = None
        if key == due:
            item = _merge_map(item, wanted[key], inner)  # noqa: PLW2901 - merged
            due = next(waiting, None)
        merged.append(item)
    return merged if due is None else None


def _in_order(
    merged: list[Any], patch: list[Any], server: list[Any], key: Callable[[Any], Any]
) -> list[Any]:
    """Items of the patch in its order; the server's others where they stood relative to those.

    An item new to the server comes before the server's remaining ones, as upstream has it.
    """
    order = _positions(patch, key)
    stood = _positions(server, key)
    if len(merged) == len(stood):  # mostly nothing comes and nothing goes, in the same order
        places = [stood.get(name, -1) for name in order]
        as_it_was = [stood.get(key(item)) for item in merged] == [*range(len(merged))]
        if as_it_was and places == sorted(places) and places[:1] != [-1]:
            return merged
    ours = sorted((i for i in merged if key(i) in order), key=lambda i: order[key(i)])
    theirs = deque(item for item in merged if key(item) not in order)
    found: list[Any] = []
    for item in ours:
        at = stood.get(key(item), -1)
        while theirs and stood.get(key(theirs[0]), at) < at:
            found.append(theirs.popleft())
        found.append(item)
    return [*found, *theirs]


def _positions(items: list[Any], key: Callable[[Any], Any]) -> dict[Any, int]:
    """Where each identity occurs first."""
    found: dict[Any, int] = {}
    for i, item in enumerate(items):
        found.setdefault(key(item), i)
    return found


_DROPPED = object()


def _plain(value: Any) -> Any:
    """A patch value that meets no original, copied: nulls and directives have nothing to act on."""
    if value.__class__ is str:
        return value
    if isinstance(value, dict):
        return _DROPPED if value.get(DIRECTIVE) == "delete" else _plain_map(value)
    if isinstance(value, list):
        return [item for item in map(_plain, value) if item is not _DROPPED]
    return value


def _plain_map(value: JSON) -> JSON:
    found = {}
    for name, item in value.items():
        if item is None or (name[:1] == "$" and _is_directive(name)):
            continue
        plain = _plain(item)
        if plain is not _DROPPED:
            found[name] = plain
    return found
