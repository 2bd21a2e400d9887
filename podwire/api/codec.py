"""Request bodies: content type and bytes in, checked object out.

Every failure is an ApiError 4xx with upstream's message; nothing else escapes.
Source of the behaviour: apiserver endpoints/handlers (create.go, rest.go), negotiation/errors.go
and the JSON, YAML and protobuf serializers of apimachinery.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds, protobuf, structure, typed, yamldoc
from podwire.api.kinds import Kind
from podwire.api.schema import Type, type_of_gvk
from podwire.api.status import ApiError
from podwire.api.view import JSON

if TYPE_CHECKING:
    from podwire.api.crd.served import Custom

JSON_TYPE = "application/json"
YAML_TYPE = "application/yaml"
PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE)
TEXTUAL = (JSON_TYPE, YAML_TYPE)

MAX_BODY_BYTES = 3 * 1024 * 1024
"""Upstream's limit of a request body (apiserver MaxRequestBodyBytes)."""
TOO_LARGE = f"Request entity too large: limit is {MAX_BODY_BYTES}"

MAX_REPORTED = 100
"""Unknown or duplicate fields beyond this many are not listed."""

STRICT, WARN, IGNORE = "Strict", "Warn", "Ignore"
"""Values of ?fieldValidation=; the server's default is Warn."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A checked body, fit to be defaulted and validated."""

    obj: JSON
    warnings: list[str] = field(default_factory=list)
    """Texts for ``Warning: 299`` headers."""


def decode(
    content_type: str, body: bytes, kind: Kind[Any], field_validation: str = WARN
) -> Decoded:
    """The object of ``kind`` in a request body. Raises ApiError (400, 413, 415)."""
    return decode_as(content_type, body, kind.api_version, kind.kind, field_validation, kind.custom)


def decode_as(
    content_type: str,
    body: bytes,
    api_version: str,
    kind: str,
    field_validation: str = WARN,
    custom: Custom | None = None,
) -> Decoded:
    """As decode, for bodies that are no served kind: Scale, Binding, Eviction, DeleteOptions.

    ``custom`` is what is known of a custom kind.
    """
    if len(body) > MAX_BODY_BYTES:
        raise ApiError("RequestEntityTooLarge", TOO_LARGE)
    media = content_type
    if media != JSON_TYPE:
        media = content_type.partition(";")[0].strip().lower() or JSON_TYPE
    accepted = ACCEPTED if custom is None else TEXTUAL
    if media not in accepted:
        raise unsupported_media_type(accepted)
    struct = type_of_gvk(api_version, kind) if custom is None else None
    if media == JSON_TYPE and struct is not None:
        obj = typed.read(struct, body)
        if obj is not None:  # there is nothing to report
            if obj.get("apiVersion") != api_version or obj.get("kind") != kind:
                _check_gvk(obj, api_version, kind)
                obj["apiVersion"], obj["kind"] = api_version, kind
            return Decoded(obj)
    try:
        raw = _read(media, body, kind)
    except _UnreadableError as error:
        raise _unrecognized(str(error), body, kind) from None
    duplicates: list[str] = []
    if media == JSON_TYPE and field_validation in {STRICT, WARN}:
        duplicates = duplicate_fields(body, raw)
    return check(raw, api_version, kind, field_validation, duplicates, custom)


def check(
    raw: Any,
    api_version: str,
    kind: str,
    field_validation: str = WARN,
    duplicates: list[str] | None = None,
    custom: Custom | None = None,
) -> Decoded:
    """A decoded JSON value as an object of a kind. Raises ApiError BadRequest.

    apiVersion and kind may be absent: the endpoint says what the body is.
    """
    if not isinstance(raw, dict):
        go_type = (
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
            'Kind string "json:\\"kind,omitempty\\"" }'
        )
        why = f"json: cannot unmarshal {structure.describe(raw)} into Go value of type {go_type}"
        raise _unrecognized(f"couldn't get version/kind; json parse error: {why}", b"", kind)
    version = api_version.rpartition("/")[2]
    try:
        if custom is not None:
            obj, unknown = custom.decoded(raw)
            _name_custom(obj, api_version, kind)
        else:
            struct = type_of_gvk(api_version, kind)
            _check_gvk(raw, api_version, kind)
            obj, unknown = _structure(struct, raw)
            obj["apiVersion"], obj["kind"] = api_version, kind
    except structure.StructureError as error:
        raise _bad(kind, version, kind, str(error)) from None
    found = [f'unknown field "{path}"' for path in unknown[:MAX_REPORTED]]
    found = [f'duplicate field "{path}"' for path in duplicates or ()] + found
    if field_validation == STRICT and found:
        raise _bad(kind, version, kind, f"strict decoding error: {', '.join(found)}")
    return Decoded(obj, found if field_validation != IGNORE else [])


def unsupported_media_type(accepted: tuple[str, ...]) -> ApiError:
    """415 with the list of what would have been accepted."""
    return ApiError(
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def _structure(type: Type | None, raw: JSON) -> tuple[JSON, list[str]]:
    if type is None:
        structure.check_depth(raw)
        return dict(raw), []
    return structure.check(type, raw)


def _name_custom(obj: JSON, api_version: str, kind: str) -> None:
    """Another version is refused at once, another kind when the object is checked."""
    given = obj["apiVersion"] = obj.get("apiVersion") or api_version
    obj["kind"] = obj.get("kind") or kind
    if given != api_version:
        raise ApiError(
            "BadRequest",
            f"the API version in the data ({given}) does not match the expected API version "
            f"({api_version})",
        )


def _check_gvk(raw: JSON, api_version: str, kind: str) -> None:
    given_version = raw.get("apiVersion") or api_version
    given_kind = raw.get("kind") or kind
    if not isinstance(given_version, str) or not isinstance(given_kind, str):
        return  # the structural check tells it better
    if kind == "DeleteOptions" and given_kind == kind:
        return  # every group version knows it
    if given_version == api_version and given_kind == kind:
        return
    short = given_version.rpartition("/")[2]
    if kinds.by_gvk(given_version, given_kind) is None:
        why = (
            f'no kind "{given_kind}" is registered for version "{given_version}" in scheme '
            '"pkg/api/legacyscheme/scheme.go:30"'
        )
        raise _bad(given_kind, short, kind, why)
    if given_version != api_version:
        raise ApiError(
            "BadRequest",
            f"the API version in the data ({given_version}) does not match the expected API "
            f"version ({api_version})",
        )
    group = api_version.partition("/")[0].partition(".")[0] if "/" in api_version else "core"
    why = f"converting ({short}.{given_kind}) to ({group}.{kind}): unknown conversion"
    raise _bad(given_kind, short, kind, why)


def _bad(given: str, version: str, kind: str, why: str) -> ApiError:
    message = f'{given} in version "{version}" cannot be handled as a {kind}: {why}'
    return ApiError("BadRequest", message)


def _unrecognized(why: str, body: bytes, kind: str) -> ApiError:
    if not body:
        shown = "<empty>"
    else:
        head = body[:30]
        shown = head.decode(errors="replace") if body[:1] == b"{" else head.hex()
        shown += " ..." if len(body) > 30 else ""
    message = f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    return ApiError("BadRequest", message)


class _UnreadableError(ValueError):
    """The bytes are not JSON, YAML or protobuf."""


def value_of(content_type: str, body: bytes) -> Any:
    """The JSON value that a body encodes, of whatever kind; None when it cannot be read."""
    media = content_type.partition(";")[0].strip().lower()
    try:
        return _read(media if media in ACCEPTED else JSON_TYPE, body, "")
    except _UnreadableError:
        return None


def _read(media: str, body: bytes, kind: str) -> Any:
    """The JSON value that the bytes encode; raises _UnreadableError."""
    try:
        if media == JSON_TYPE:
            return load_json(body)
        if media == YAML_TYPE:
            return yamldoc.load(body)
        return _read_protobuf(body, kind)
    except yamldoc.YamlError as error:
        raise _UnreadableError(str(error)) from None
    except protobuf.ProtobufError as error:
        raise _UnreadableError(str(error)) from None
    except JsonError as error:
        why = f"couldn't get version/kind; json parse error: {error}"
        raise _UnreadableError(why) from None


def _read_protobuf(body: bytes, kind: str) -> JSON:
    api_version, given_kind, data = protobuf.unwrap(body)
    struct = type_of_gvk("v1" if given_kind == "DeleteOptions" else api_version, given_kind)
    if struct is None:
        if kinds.by_gvk(api_version, given_kind) is None:  # _check_gvk words it
            return {"apiVersion": api_version, "kind": given_kind or kind}
        raise protobuf.ProtobufError(f"{given_kind} has no protobuf form")
    obj = protobuf.decode(struct, data)
    obj["apiVersion"], obj["kind"] = api_version, given_kind
    return obj


class JsonError(ValueError):
    """The bytes are not JSON; the message says where."""


def load_json(body: bytes) -> Any:
    """A JSON value. Raises JsonError."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise JsonError("exceeded max depth") from None
    except (msgspec.DecodeError, ValueError) as error:
        if not body.strip():
            raise JsonError("unexpected end of JSON input") from None
        raise JsonError(str(error)) from None


class _Doubled(dict[str, Any]):
    """A JSON object in which names occurred more than once."""

    names: list[str]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    seen: dict[str, int] = {}
    for name, _ in pairs:
        seen[name] = seen.get(name, 0) + 1
    doubled.names = [name for name, count in seen.items() if count > 1]
    return doubled


def duplicate_fields(body: bytes, decoded: Any) -> list[str]:
    """Paths of names that occur twice in one object of a JSON text (which msgspec forgives)."""
    if typed.same_colons(body, msgspec.json.encode(decoded)):
        return []
    try:
        root = json.loads(body, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return []  # whoever decodes the body says what is wrong
    found: list[str] = []
    waiting: deque[tuple[Any, list[str | int]]] = deque([(root, [])])
    while waiting and len(found) < MAX_REPORTED:
        node, path = waiting.popleft()
        if isinstance(node, _Doubled):
            found += [structure.join_path(path, name) for name in node.names]
        if isinstance(node, dict):
            waiting += ((item, [*path, name]) for name, item in node.items() if _deep(item))
        elif isinstance(node, list):
            waiting += ((item, [*path, i]) for i, item in enumerate(node) if _deep(item))
    return found


def _deep(value: Any) -> bool:
    return value.__class__ not in {str, int, float, bool} and bool(value)
