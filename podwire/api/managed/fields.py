"""Sets of field paths, held as the JSON that FieldsV1 is.

A set is a tree of dicts. Its keys are path elements in their serialized form (``f:spec``,
``k:{"name":"web"}``, ``v:"a"``, ``i:0``); ``{}`` is a member without children, ``{".": {}, ...}`` a
member with children, any other dict only leads to members. Sets are never changed once made, so
that subtrees are shared freely and a stored fieldsV1 is a set as it stands.

Source: structured-merge-diff fieldpath (set.go, serialize.go, serialize-pe.go, element.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import msgspec

Fields = dict[str, Any]
"""A set of paths below one node."""

SELF = "."
MEMBER: Fields = {}
"""The node of a member without children."""

MAX_DEPTH = 64
"""Fields of objects nest less deep; a deeper set is refused."""


class FieldsError(ValueError):
    """Not a FieldsV1 value; the message is close to upstream's."""


# ------------------------------------------------------------------ path elements


@lru_cache(maxsize=16384)
def quoted(value: str) -> str:
    """A JSON string as Go writes it: HTML's special characters are escaped."""
    text = encode_basestring(value)
    if "<" in text or ">" in text or "&" in text:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def scalar(value: Any) -> str:
    """A JSON scalar in a path element."""
    if value.__class__ is str:
        return quoted(value)
    return str(value) if value.__class__ is int else json.dumps(value)


def by_key(values: Iterable[tuple[str, Any]]) -> str:
    """The element of a list item that is known by its keys: ``k:{"name":"web"}``."""
    return "k:{" + ",".join(f"{quoted(k)}:{scalar(v)}" for k, v in sorted(values)) + "}"


def by_value(value: Any) -> str:
    """The element of a set's item: ``v:"a"``."""
    return "v:" + scalar(value)


def canonical(element: str) -> str | None:
    """An element in the one spelling podwire uses, None for kinds of elements it does not know.

    Raises FieldsError.
    """
    if len(element) < 2:
        raise FieldsError("key must be 2 characters long:")
    if element[1] != ":":
        raise FieldsError(f"missing colon: {element}")
    kind, rest = element[0], element[2:]
    if kind == "f":
        return element
    if kind == "i":
        if not re.fullmatch(r"[+-]?\d{1,18}", rest):
            raise FieldsError(f'strconv.Atoi: parsing "{rest}": invalid syntax')
        return f"i:{int(rest)}"
    if kind not in "kv":
        return None
    try:
        value = json.loads(rest)
    except (ValueError, RecursionError) as error:
        raise FieldsError(f"parsing key as path element: {error}") from None
    if kind == "v":
        return by_value(value)
    if not isinstance(value, dict):
        raise FieldsError(f"parsing key as path element: {rest} is no object")
    return by_key(value.items())


def shown(path: Iterable[str]) -> str:
    """A path as messages print it: ``.spec.containers[name="web"].image``."""
    return "".join(map(_shown, path))


def _shown(element: str) -> str:
    kind, rest = element[0], element[2:]
    if kind == "f":
        return f".{rest}"
    if kind == "i":
        return f"[{rest}]"
    if kind == "v":
        return f"[={_text(json.loads(rest))}]"
    return "[" + ",".join(f"{k}={_text(v)}" for k, v in json.loads(rest).items()) + "]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def order(element: str) -> tuple[Any, ...]:
    """Upstream's order: the node itself, fields by name, keys, values, indices."""
    kind, rest = element[0], element[2:]
    if kind == "k":
        return (2, [(name, *_rank(value)) for name, value in json.loads(rest).items()])
    if kind == "v":
        return (3, _rank(json.loads(rest)))
    if kind == "i":
        return (4, int(rest))
    return (0 if element == SELF else 1, rest)


def _rank(value: Any) -> tuple[Any, ...]:
    """Numbers before strings before booleans, then what can hardly be compared at all."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, json.dumps(value))


# ------------------------------------------------------------------ sets


def with_self(node: Fields) -> Fields:
    """The node as a member too."""
    return {SELF: MEMBER, **node} if node else MEMBER


def is_member(node: Fields) -> bool:
    """Whether the path to the node is in the set, not only paths below it."""
    return not node or SELF in node


def union(one: Fields, two: Fields) -> Fields:
    """What is in either."""
    found = dict(one)
    for key, theirs in two.items():
        mine = found.get(key)
        if mine is None:
            found[key] = theirs
        elif mine is not theirs:
            if not mine or not theirs:
                found[key] = with_self({k: v for k, v in (mine or theirs).items() if k != SELF})
            else:
                found[key] = union(mine, theirs)
    return found


def difference(one: Fields, two: Fields) -> Fields:
    """Members of ``one`` that are not members of ``two``; children of removed members stay."""
    found = {}
    for key, mine in one.items():
        theirs = two.get(key)
        if theirs is None:
            found[key] = mine
        elif not mine:
            if not is_member(theirs):
                found[key] = mine
        elif (rest := difference(mine, theirs or _ITSELF)) != MEMBER:
            found[key] = _tidy(rest)
    return found


_ITSELF: Fields = {SELF: MEMBER}


def _tidy(node: Fields) -> Fields:
    """A member whose children went is written without its dot."""
    return MEMBER if len(node) == 1 and SELF in node else node


def recursive_difference(one: Fields, two: Fields) -> Fields:
    """``one`` without the members of ``two`` and without everything below those."""
    found = {}
    for key, mine in one.items():
        theirs = two.get(key)
        if theirs is None:
            found[key] = mine
        elif is_member(theirs):
            continue
        elif not mine:
            found[key] = mine
        elif rest := recursive_difference(mine, theirs):
            found[key] = _tidy(rest)
    return found


def intersection(one: Fields, two: Fields) -> Fields:
    """What is in both."""
    found = {}
    for key, mine in one.items():
        theirs = two.get(key)
        if theirs is None:
            continue
        if not mine or not theirs:
            if is_member(mine) and is_member(theirs):
                found[key] = MEMBER
        elif both := intersection(mine, theirs):
            found[key] = _tidy(both)
    return found


def intersects(one: Fields, two: Fields) -> bool:
    """Whether something is in both."""
    for key, mine in one.items():
        theirs = two.get(key)
        if theirs is None:
            continue
        if not mine or not theirs:
            if is_member(mine) and is_member(theirs):
                return True
        elif intersects(mine, theirs):
            return True
    return False


def contains(big: Fields, small: Fields) -> bool:
    """Whether every member of ``small`` is in ``big``."""
    for key, wanted in small.items():
        have = big.get(key)
        if have is None:
            return False
        if have is wanted:
            continue
        if not wanted:
            if not is_member(have):
                return False
        elif not contains(have or _ITSELF, wanted):
            return False
    return True


def leaves(one: Fields) -> Fields:
    """Members that have no members below them."""
    found = {}
    for key, node in one.items():
        if key != SELF:
            found[key] = leaves(node) if node else node
    return found


def paths(one: Fields) -> Iterator[tuple[str, ...]]:
    """Every member: those of a node in order, then those below its children."""
    keys = sorted((key for key in one if key != SELF), key=order)
    for key in keys:
        if is_member(one[key]):
            yield (key,)
    for key in keys:
        for rest in paths(one[key]):
            yield (key, *rest)


def of_paths(wanted: Iterable[Iterable[str]]) -> Fields:
    """The set of some paths."""
    found: Fields = {}
    for path in wanted:
        node: Fields = MEMBER
        for key in reversed(list(path)):
            node = {key: node}
        found = union(found, node)
    return found


# ------------------------------------------------------------------ FieldsV1


def parse(value: Any) -> Fields:
    """The set that a FieldsV1 value from outside stands for. Raises FieldsError."""
    return _parse(value, 0)[0]


def _parse(value: Any, depth: int) -> tuple[Fields, bool]:
    """Children, and whether the node itself is a member."""
    if not isinstance(value, dict):
        raise FieldsError(f"expect {{ or n, but found {json.dumps(value)[:20]}")
    if depth > MAX_DEPTH:
        raise FieldsError("exceeded max depth")
    children: Fields = {}
    member = False
    for key, below in value.items():
        if key == SELF:
            member = True
            continue
        element = canonical(key)
        if element is None:
            continue
        inner, itself = _parse(below, depth + 1)
        node = with_self(inner) if itself else inner
        children = union(children, {element: node}) if element in children else children
        children.setdefault(element, node)
    return children, member or not children


plain = msgspec.json.Encoder(order="sorted").encode
"""A set's JSON with its keys in the order of their text: upstream's where they hold no numbers."""

_NUMBERED = re.compile(rb'"[kv]:(?:\{\\"\w+\\":)?-?\d')
_NUMBERED_KEY = re.compile(r'[kv]:(?:\{"\w+":)?-?\d')


def encode(one: Fields) -> bytes:
    """The set's FieldsV1 JSON, in upstream's order."""
    text = plain(one)
    several = len(_NUMBERED.findall(text)) > 1
    return renumbered(text) if several else text


def _rivals(one: Fields) -> bool:
    """Whether two siblings anywhere are told apart by numbers."""
    return numbered(one) > 1 or any(below and _rivals(below) for below in one.values())


def numbered(elements: Iterable[str]) -> int:
    """How many elements begin with a number."""
    return sum(key[0] in "kv" and _NUMBERED_KEY.match(key) is not None for key in elements)


def sorts_plainly(value: str) -> bool:
    """Whether elements with this string stand in upstream's order when sorted by their text."""
    return _PLAIN.fullmatch(value) is not None


_PLAIN = re.compile(r'[^\x00-!"&<>\\]*')
"""No character that is written otherwise, none that sorts before the closing quote."""


@lru_cache(maxsize=1024)
def renumbered(text: bytes) -> bytes:
    """A set's text in upstream's order, where numbers sort as numbers: as it is if no siblings
    are told apart by numbers.

    Remembered: many objects of a kind are owned alike.
    """
    one: Fields = msgspec.json.decode(text)
    return msgspec.json.encode(_in_order(one)) if _rivals(one) else text


@lru_cache(maxsize=1024)
def stored(text: bytes) -> Fields:
    """The set that ``encode`` wrote. Remembered, and shared by all who ask."""
    found: Fields = msgspec.json.decode(text)
    return found


def _in_order(one: Fields) -> Fields:
    """``one``, in the order of its text, in upstream's: fields stand already as they should."""
    last = next(reversed(one), "f")
    keys = one if last[0] in "f." else sorted(one, key=order)  # i, k and v come behind f
    return {key: _in_order(below) if (below := one[key]) else below for key in keys}
