"""The patches of the API: JSON patch, JSON merge patch, strategic merge patch.

Server-side apply, which has a media type of patches too, is in ``podwire.api.managed``.

All are pure: they return a new object and leave the original as it was.
Source: RFC 6902, RFC 7386, apiserver endpoints/handlers/patch.go for errors and status codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any

import msgspec

from podwire.api import codec, kinds, strategic, typed
from podwire.api.codec import Decoded
from podwire.api.gotext import go_quoted, go_value
from podwire.api.kinds import Kind
from podwire.api.schema import Type, type_of
from podwire.api.status import ApiError, Cause
from podwire.api.structure import describe, fresh
from podwire.api.view import JSON

JSON_PATCH_TYPE = "application/json-patch+json"
MERGE_PATCH_TYPE = "application/merge-patch+json"
STRATEGIC_PATCH_TYPE = "application/strategic-merge-patch+json"
APPLY_PATCH_TYPE = "application/apply-patch+yaml"
ACCEPTED = (JSON_PATCH_TYPE, MERGE_PATCH_TYPE, STRATEGIC_PATCH_TYPE, APPLY_PATCH_TYPE)
MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = codec.MAX_BODY_BYTES
"""How much the ``copy`` operations of one JSON patch may add. Source: server config.go."""


class PatchError(ValueError):
    """A JSON patch that does not apply; the message is close to upstream's library's."""


def apply_patch(
    kind: Kind[Any],
    content_type: str,
    original: JSON,
    patch: bytes,
    field_validation: str = codec.WARN,
    *,
    taken: Container[str] | None = None,
) -> Decoded:
    """The patched object, structurally checked; ``original`` is left alone.

    ``taken`` are the fields that the endpoint takes at all (None: all): those that it does not, and
    that the patch does not name, are the original's own, neither copied nor checked again.

    Raises ApiError: 400 for a malformed patch, 413, 415 for another content type, 422 when it does
    not apply or its outcome is no object of the kind.
    """
    if len(patch) > codec.MAX_BODY_BYTES:
        raise ApiError("RequestEntityTooLarge", codec.TOO_LARGE)
    media = check_patch_type(kind, content_type)
    struct = type_of(kind)
    try:
        change = codec.load_json(patch)
    except codec.JsonError as error:
        raise ApiError("BadRequest", f"error decoding patch: {error}") from None
    told = _doubtful(media, patch, change) if field_validation != codec.IGNORE else []
    try:
        return _applied(kind, struct, media, original, change, field_validation, told, taken)
    except PatchError as error:
        raise ApiError("Invalid", _REJECTED) from error
    except strategic.StrategicError as error:
        told_of = str(error).partition(" in map: ")[0] if kind is kinds.SECRET else str(error)
        raise ApiError("BadRequest", told_of) from None
    except RecursionError:
        raise ApiError("BadRequest", "error decoding patch: exceeded max depth") from None


def _applied(
    kind: Kind[Any], struct: Type | None, media: str, original: JSON, change: Any,
    validation: str, told: list[str], taken: Container[str] | None,
) -> Decoded:  # fmt: skip
    if media == JSON_PATCH_TYPE:
        patched = json_patch(original, change)
    elif media == MERGE_PATCH_TYPE or struct is None:
        patched = merge_patch(original, _need_map(change))
    else:
        patched = strategic.merge(struct, original, _need_map(change))
    if struct is not None and patched.__class__ is dict and (not told or validation == codec.WARN):
        named = patched.get("apiVersion"), patched.get("kind")
        if named == (kind.api_version, kind.kind):
            obj = _quickly(struct, original, patched, change, taken)
            if obj is not None:  # there is nothing to report
                return Decoded(obj, told)
    found = _checked(kind, patched, validation, told, media, change)
    if _emptied(patched):  # to forget all managers, which decoding drops like any empty list
        found.obj["metadata"]["managedFields"] = []
    return found


def _quickly(
    struct: Type, original: JSON, patched: JSON, change: Any, taken: Container[str] | None
) -> JSON | None:
    """The checked object, None when in doubt."""
    if _emptied(patched):
        return None
    if taken is None or change.__class__ is not dict:
        return typed.remade(struct, patched)
    kept = {n: v for n, v in original.items() if n not in taken and n not in change}
    if "metadata" in original and "metadata" not in change:
        kept["metadata"] = dict(original["metadata"])  # the caller writes into it
    made = typed.remade(struct, {n: v for n, v in patched.items() if n not in kept})
    if made is None:
        return None
    named = {n: kept[n] if n in kept else made.get(n) for n in patched}
    return {n: v for n, v in {**named, **made, **kept}.items() if v is not None}


def _emptied(patched: Any) -> bool:
    metadata = patched.get("metadata")
    return isinstance(metadata, dict) and metadata.get("managedFields") == []


def check_patch_type(kind: Kind[Any], content_type: str) -> str:
    """The media type of a patch of ``kind``. Raises ApiError 415."""
    media = content_type.partition(";")[0].strip().lower()
    accepted: tuple[str, ...] = ACCEPTED
    if type_of(kind) is None:  # no schema, no strategy
        accepted = tuple(media for media in ACCEPTED if media != STRATEGIC_PATCH_TYPE)
    if media not in accepted:
        raise codec.unsupported_media_type(accepted)
    return media


def _need_map(change: Any) -> JSON:
    if not isinstance(change, dict):
        go_type = "map[string]interface {}"
        why = f"json: cannot unmarshal {describe(change)} into Go value of type {go_type}"
        raise ApiError("BadRequest", f"error decoding patch: {why}")
    return change


_REJECTED = "the server rejected our request due to an error in our request"
"""All that upstream tells of a JSON patch that does not apply (patch.go); not why."""


def _doubtful(media: str, patch: bytes, change: Any) -> list[str]:
    """What strict decoding says of the patch itself: names that stand twice, unknown ones."""
    twice = [f'duplicate field "{path}"' for path in codec.duplicate_fields(patch, change)]
    if media != JSON_PATCH_TYPE:
        return twice
    # The paths of a list's items begin with an index, whose bracket join_path takes for a dot.
    found = ["json patch " + text.replace('"', '"[', 1) for text in twice]
    found += [
        f'json patch unknown field "[{i}].{name}"'
        for i, operation in enumerate(change if isinstance(change, list) else ())
        if isinstance(operation, dict)
        for name in operation
        if name not in _OPERATION
    ]
    return found[: codec.MAX_REPORTED]


_OPERATION = ("op", "path", "from", "value")


def _checked(
    kind: Kind[Any], patched: Any, validation: str, told: list[str], media: str, change: Any
) -> Decoded:
    """The outcome through the structural check; what is wrong with it is the patch's fault."""
    lenient = codec.IGNORE if validation == codec.IGNORE else codec.WARN
    try:
        found = codec.check(patched, kind.api_version, kind.kind, lenient, None, kind.custom)
    except ApiError as error:
        why = error.message.partition(": ")[2] or error.message
        if media == STRATEGIC_PATCH_TYPE:
            why = _as_converter(why)
        raise _bad_outcome(kind, patched, media, change, why) from None
    warnings = told + found.warnings
    if validation == codec.STRICT and warnings:
        why = f"strict decoding error: {', '.join(warnings)}"
        raise _bad_outcome(kind, patched, media, change, why)
    return Decoded(found.obj, warnings)


def _as_converter(why: str) -> str:
    """What is said of a type where no JSON is decoded: an outcome that is a map goes through
    apimachinery's runtime.DefaultUnstructuredConverter.
    """
    found = _WRONG_TYPE.search(why)
    if found is None:
        return why
    given = "float64" if found["number"] else _GO_KINDS[found["given"]]
    wanted = found["wanted"]
    if wanted.startswith("map["):
        return f"cannot restore map from {given}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {given}"
    if wanted not in _PLAIN:
        return f"cannot restore struct from: {given}" if found["field"] else why
    if (given, wanted) == ("int64", "string") or (given == "float64" and wanted != "bool"):
        return f"cannot convert {given} to {wanted}"
    return f"unrecognized type: {wanted}"


_WRONG_TYPE = re.compile(
    r"cannot unmarshal (?P<given>\w+)(?P<number> [-\d.e+]+)? into Go "
    r"(?:(?P<field>struct field) \S+|value) of type (?P<wanted>\S+)$"
)
_GO_KINDS = {
    "string": "string", "number": "int64", "bool": "bool", "object": "map", "array": "slice",
}  # fmt: skip
_PLAIN = ("string", "bool", "int32", "int64", "float64")


def _bad_outcome(kind: Kind[Any], patched: Any, media: str, change: Any, why: str) -> ApiError:
    """422 that shows the outcome, or the patch itself where it was strategic.

    Not of a Secret, though upstream does: the message goes to audit logs and terminals.
    """
    if kind is kinds.SECRET:
        shown = "(a Secret is not shown)"
    elif media == STRATEGIC_PATCH_TYPE:
        shown = go_value(change)
    else:
        shown = msgspec.json.encode(patched).decode()
    text = f"Invalid value: {go_quoted(shown)}: {why}"
    cause = Cause("FieldValueInvalid", text, "patch")
    return ApiError("Invalid", f' "" is invalid: patch: {text}', causes=(cause,))


def merge_patch(original: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return fresh(patch)
    found = dict(original) if isinstance(original, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), value)
    return found


def json_patch(original: JSON, operations: Any) -> Any:
    """RFC 6902. Raises ApiError BadRequest (malformed) or PatchError (does not apply)."""
    if not isinstance(operations, list):
        why = f"json: cannot unmarshal {describe(operations)} into Go value of type jsonpatch.Patch"
        raise ApiError("BadRequest", f"error decoding patch: {why}")
    if len(operations) > MAX_OPERATIONS:
        message = (
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(operations)}"
        )
        raise ApiError("RequestEntityTooLarge", f"Request entity too large: {message}")
    document, copied = fresh(original), 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            copied += _size(document, operation)
            if copied > MAX_COPIED_BYTES:
                raise PatchError(f"copies add {copied} bytes, limit is {MAX_COPIED_BYTES}")
        document = _operate(document, operation)
    return document


def _operate(document: Any, operation: Any) -> Any:
    name = operation.get("op") if isinstance(operation, dict) else None
    verb = _VERBS.get(name) if isinstance(name, str) else None
    if verb is None:
        raise PatchError(f"Unexpected kind: {name}")
    path = operation.get("path")
    if not isinstance(path, str):
        raise PatchError(f"{name} operation does not apply: missing path")
    try:
        return verb(document, path, operation)
    except KeyError as error:
        why = error.args[0]
        raise PatchError(f"{name} operation does not apply: {why}") from None


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise KeyError(f"doc is missing path: {path}: missing value")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _index(token: str, length: int, path: str) -> int:
    """A list index; negative ones count from the end, as upstream's library has it."""
    digits = token.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise KeyError(f"doc is missing path: {path}: missing value")
    at = int(token)
    if at < 0:
        at += length
    if not 0 <= at < length:
        raise KeyError(f"Unable to access invalid index: {token}: invalid index referenced")
    return at


def _step(node: Any, token: str, path: str) -> Any:
    if isinstance(node, dict) and token in node:
        return node[token]
    if isinstance(node, list):
        return node[_index(token, len(node), path)]
    raise KeyError(f"doc is missing path: {path}: missing value")


def _lookup(document: Any, path: str) -> Any:
    for token in _tokens(path):
        document = _step(document, token, path)
    return document


def _parent(document: Any, path: str) -> tuple[Any, str]:
    *way, last = _tokens(path)
    for token in way:
        document = _step(document, token, path)
    if not isinstance(document, dict | list):
        raise KeyError(f"doc is missing path: {path}: missing value")
    return document, last


def _value(operation: JSON) -> Any:
    if "value" not in operation:
        raise KeyError("missing value")
    return fresh(operation["value"])


def _put(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        parent.insert(_index(last, len(parent) + 1, path), value)
    return document


def _add(document: Any, path: str, operation: JSON) -> Any:
    return _put(document, path, _value(operation))


def _remove(document: Any, path: str, _operation: JSON) -> Any:
    if not path:
        raise KeyError("doc is missing key: : missing value")
    parent, last = _parent(document, path)
    if isinstance(parent, list):
        del parent[_index(last, len(parent), path)]
    elif last in parent:
        del parent[last]
    else:
        raise KeyError(f"doc is missing key: {path}: missing value")
    return document


def _replace(document: Any, path: str, operation: JSON) -> Any:
    value = _value(operation)
    if not path:
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, list):
        parent[_index(last, len(parent), path)] = value
    elif last in parent:
        parent[last] = value
    else:
        raise KeyError(f"doc is missing key: {path}: missing value")
    return document


def _from(operation: JSON) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise KeyError("missing from")
    return source


def _move(document: Any, path: str, operation: JSON) -> Any:
    source = _from(operation)
    if path.startswith(f"{source}/"):
        raise KeyError(f"doc is missing path: {path}: missing value")
    value = _lookup(document, source)
    if source == path:
        return document
    return _put(_remove(document, source, operation), path, value)


def _size(document: Any, operation: JSON) -> int:
    """How much a copy adds; nothing when it does not apply."""
    try:
        return len(msgspec.json.encode(_lookup(document, _from(operation))))
    except KeyError:
        return 0


def _copy(document: Any, path: str, operation: JSON) -> Any:
    return _put(document, path, fresh(_lookup(document, _from(operation))))


def _test(document: Any, path: str, operation: JSON) -> Any:
    wanted = operation.get("value")
    try:
        found = _lookup(document, path)
    except KeyError:
        if wanted is None:
            return document
        raise PatchError(f"testing path {path} failed: missing value") from None
    if not _same(found, wanted):
        raise PatchError(f"testing value {path} failed: test failed")
    return document


def _same(one: Any, two: Any) -> bool:
    """Equality of JSON values: 1 is not true, 1 is 1.0."""
    if isinstance(one, bool) or isinstance(two, bool):
        return one is two
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same, one, two))
    return bool(one == two)


_VERBS: dict[str, Callable[[Any, str, JSON], Any]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy,
    "test": _test,
}  # fmt: skip
