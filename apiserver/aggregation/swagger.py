"""OpenAPI v2 of several servers as one document: what an extension server's says of its group
version, and where that goes among this server's paths and definitions. Pure.

What gnostic's protobuf has no word for is left out, so that both forms say the same; parameters
that a document shares are told where they are used.
Source: kube-aggregator pkg/controllers/openapi/aggregator, kube-openapi pkg/aggregator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from podwire.api.untrusted import decoded
from podwire.api.view import JSON

_DEFINITIONS, _PARAMETERS = "#/definitions/", "#/parameters/"
_GVK = "x-kubernetes-group-version-kind"
_MAX_DEPTH = 64
_Keep = Callable[[Any, int], Any]
_Table = dict[str, _Keep]


def part_of(body: bytes, root: str) -> bytes:
    """What a document says of the paths below ``root``, encoded: those paths, and the definitions
    that they or nobody refers to. b"" when it says nothing of them. Raises ValueError.
    """
    whole: JSON = decoded(body, dict)
    paths, definitions = _object(whole.get("paths") or {}), _object(whole.get("definitions") or {})
    shared = _object(whole.get("parameters") or {})
    kept = {path: item for path, item in paths.items() if path.startswith(f"{root}/")}
    if not kept:
        return b""
    others = [item for path, item in paths.items() if path not in kept]
    kept = {path: _path_item(_with_shared(item, shared), 0) for path, item in kept.items()}
    used = _reached(kept.values(), definitions)
    foreign = _reached([*others, shared], definitions)
    found = {
        name: _schema(definition, 0)
        for name, definition in definitions.items()
        if name in used or name not in foreign
    }
    return msgspec.json.encode({"paths": kept, "definitions": found})


def merged(own: JSON, parts: Iterable[bytes], taken: Sequence[str]) -> JSON:
    """This server's document with ``parts`` of others, as ``part_of`` makes them, in order.

    Of a path that two know the first counts; a definition that differs from one of its name gets
    another name. Paths below the roots ``taken`` are not this server's.
    """
    roots = tuple(f"{root}/" for root in taken)
    paths = {path: item for path, item in own["paths"].items() if not path.startswith(roots)}
    definitions = dict(own["definitions"])
    for part in map(msgspec.json.decode, parts):
        new = {path: item for path, item in part["paths"].items() if path not in paths}
        needed = part["definitions"]
        if len(new) < len(part["paths"]):
            used = _reached(new.values(), needed)
            needed = {name: needed[name] for name in needed if name in used}
        names = _names(definitions, needed)
        for name, definition in needed.items():
            called = names[name]
            there = definitions.get(called)
            renamed = _renamed(definition, names)
            definitions[called] = renamed if there is None else _of_both(there, renamed)
        paths |= _renamed(new, names)
    return {**own, "paths": paths, "definitions": definitions}


# ---------------------------------------------------------------- references


def _references(node: Any) -> Iterator[str]:
    """The definitions that something refers to."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str) and ref.startswith(_DEFINITIONS):
                yield ref.removeprefix(_DEFINITIONS)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _reached(roots: Iterable[Any], definitions: JSON) -> set[str]:
    """The definitions that roots refer to, and those that these refer to."""
    found: set[str] = set()
    waiting = [name for root in roots for name in _references(root)]
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in found:
            found.add(name)
            waiting += _references(definitions[name])
    return found


def _with_shared(item: Any, shared: JSON) -> JSON:
    """A path with the parameters that it refers to in their places. Raises ValueError."""

    def told(holder: Any) -> Any:
        if not isinstance(holder, dict) or not isinstance(holder.get("parameters"), list):
            return holder
        return {**holder, "parameters": [parameter(p) for p in holder["parameters"]]}

    def parameter(given: Any) -> Any:
        ref = given.get("$ref") if isinstance(given, dict) else None
        if not isinstance(ref, str):
            return given
        if not ref.startswith(_PARAMETERS) or ref.removeprefix(_PARAMETERS) not in shared:
            raise ValueError(f"{ref[:200]} is nowhere")
        return shared[ref.removeprefix(_PARAMETERS)]

    return {name: told(value) for name, value in told(_object(item)).items()}


def _names(there: JSON, new: JSON) -> dict[str, str]:
    """What each new definition is called where those of ``there`` are."""
    found: dict[str, str] = {}
    taken = {*there, *new}
    for name, definition in new.items():
        called, number = name, 1
        while called in there and not _equal(there[called], definition):
            number += 1
            called = f"{name}_v{number}"
        if called != name and called not in there:
            while called in taken:
                number += 1
                called = f"{name}_v{number}"
            taken.add(called)
        found[name] = called
    return found


def _equal(one: JSON, other: JSON) -> bool:
    """Whether two definitions differ in whom they are the definition of, at most."""
    return one == other or (
        {**one, _GVK: None} == {**other, _GVK: None} and isinstance(one.get(_GVK, []), list)
    )


def _of_both(there: JSON, new: JSON) -> JSON:
    """A definition that two servers have: it defines the kinds of both."""
    kinds, more = there.get(_GVK) or [], new.get(_GVK) or []
    added = [kind for kind in more if kind not in kinds]
    if not added:
        return there
    both = sorted([*kinds, *added], key=lambda k: (k["group"], k["version"], k["kind"]))
    return {**there, _GVK: both}


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """A copy that refers to definitions by their new names."""
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: _renamed(value, names) for name, value in node.items()}
    ref = found.get("$ref")
    if isinstance(ref, str) and ref.startswith(_DEFINITIONS):
        name = ref.removeprefix(_DEFINITIONS)
        found["$ref"] = _DEFINITIONS + names.get(name, name)
    return found


# ---------------------------------------------------------------- what is kept of a document


def _object(value: Any) -> JSON:
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:80]} is no object")  # noqa: TRY004  it is input
    return value


def _kept(table: _Table, node: Any, depth: int) -> JSON:
    """The fields that a table has, and extensions. Raises ValueError."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    return {
        name: table[name](value, depth + 1) if name in table else value
        for name, value in _object(node).items()
        if name in table or name.startswith("x-")
    }


def _of(*types: type) -> _Keep:
    def keep(value: Any, _depth: int) -> Any:
        if type(value) not in types:
            raise ValueError(f"{str(value)[:80]} is no {types[0].__name__}")
        return value

    return keep


_text, _flag, _integer, _number = _of(str), _of(bool), _of(int), _of(float, int)


def _any(value: Any, _depth: int) -> Any:
    return value


def _list_of(keep: _Keep) -> _Keep:
    def kept(value: Any, depth: int) -> list[Any]:
        return [keep(item, depth) for item in _of(list)(value, depth)]

    return kept


def _map_of(keep: _Keep) -> _Keep:
    def kept(value: Any, depth: int) -> JSON:
        return {name: keep(item, depth) for name, item in _object(value).items()}

    return kept


def _schema(node: Any, depth: int) -> JSON:
    found = _kept(_SCHEMA, node, depth)
    kinds = found.get(_GVK, [])
    if not isinstance(kinds, list) or not all(_is_kind(kind) for kind in kinds):
        raise ValueError(f"{_GVK} lists no kinds")
    return found


def _is_kind(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(part), str) for part in ("group", "version", "kind")
    )


def _types(value: Any, depth: int) -> Any:
    return value if isinstance(value, str) else _TEXTS(value, depth)


def _additional(value: Any, depth: int) -> Any:
    return value if isinstance(value, bool) else _schema(value, depth)


def _parameter(node: Any, depth: int) -> JSON:
    where = _object(node).get("in")
    if where not in _WHERE:
        raise ValueError(f"no parameter is in {str(where)[:80]}")
    return _kept(_BODY if where == "body" else _PLAIN, node, depth)


def _responses(node: Any, depth: int) -> JSON:
    told = {name: value for name, value in _object(node).items() if not name.startswith("x-")}
    return {code: _kept(_RESPONSE, answer, depth) for code, answer in told.items()}


def _path_item(node: Any, depth: int) -> JSON:
    return _kept(_PATH_ITEM, node, depth)


def _table(table: _Table) -> _Keep:
    return lambda node, depth: _kept(table, node, depth)


_TEXTS = _list_of(_text)
_WHERE = ("body", "formData", "header", "path", "query")
_LIMITS: _Table = {
    "multipleOf": _number, "maximum": _number, "exclusiveMaximum": _flag, "minimum": _number,
    "exclusiveMinimum": _flag, "maxLength": _integer, "minLength": _integer, "pattern": _text,
    "maxItems": _integer, "minItems": _integer, "uniqueItems": _flag, "enum": _list_of(_any),
    "default": _any, "format": _text,
}  # fmt: skip
_SCHEMA: _Table = {
    **_LIMITS, "$ref": _text, "title": _text, "description": _text, "maxProperties": _integer,
    "minProperties": _integer, "required": _TEXTS, "additionalProperties": _additional,
    "type": _types, "items": _schema, "allOf": _list_of(_schema), "properties": _map_of(_schema),
    "discriminator": _text, "readOnly": _flag, "example": _any,
}  # fmt: skip
_ITEMS: _Table = {**_LIMITS, "type": _text, "collectionFormat": _text}
_ITEMS["items"] = _table(_ITEMS)
_PLAIN: _Table = {
    **_ITEMS, "required": _flag, "in": _text, "description": _text, "name": _text,
    "allowEmptyValue": _flag,
}  # fmt: skip
_BODY: _Table = {
    "description": _text, "name": _text, "in": _text, "required": _flag, "schema": _schema,
}  # fmt: skip
_RESPONSE: _Table = {"description": _text, "schema": _schema}
_OPERATION: _Table = {
    "tags": _TEXTS, "summary": _text, "description": _text, "operationId": _text,
    "produces": _TEXTS, "consumes": _TEXTS, "parameters": _list_of(_parameter),
    "responses": _responses, "schemes": _TEXTS, "deprecated": _flag,
}  # fmt: skip
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_PATH_ITEM: _Table = {
    **dict.fromkeys(_METHODS, _table(_OPERATION)), "parameters": _list_of(_parameter),
}  # fmt: skip
