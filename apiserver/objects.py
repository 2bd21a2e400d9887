"""Bodies of calls through ``podwire.api``: decoding, patching, warnings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from podwire.api import codec, kinds, structure, yamldoc
from podwire.api import objects as api
from podwire.api.kinds import Kind
from podwire.api.managed.apply import check_config
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.calls import Call

if TYPE_CHECKING:
    from podwire.api.crd.served import Custom

_VALIDATIONS = (codec.IGNORE, codec.WARN, codec.STRICT)
_EMPTIED = re.compile(rb"managedFields[\"']?\s*:\s*\[\s*\]")
"""How JSON and YAML say that all managers are to be forgotten."""


def field_validation(call: Call) -> str:
    """The call's ?fieldValidation=, Warn by default. Raises ApiError Invalid."""
    asked = call.query.get("fieldValidation")
    if asked and asked not in _VALIDATIONS:
        listed = ", ".join(f'"{name}"' for name in ("", *_VALIDATIONS))
        why = f'Unsupported value: "{asked}": supported values: {listed}'
        raise calls.bad_option(call, "fieldValidation", "FieldValueNotSupported", why)
    return asked or codec.WARN


def decode(call: Call, kind: Kind[Any]) -> JSON:
    """The request's body as an object of ``kind``; warnings go to the call. Raises ApiError."""
    return decode_as(call, kind.api_version, kind.kind, kind.custom)


def decode_as(call: Call, api_version: str, kind: str, custom: Custom | None = None) -> JSON:
    """The request's body as a kind that need not be served by itself (Scale, Binding)."""
    found = api.decode_as(
        call.content_type, call.request.body, api_version, kind, field_validation(call), custom
    )
    call.warnings += found.warnings
    metadata = found.obj.setdefault("metadata", {})
    textual = call.content_type != codec.PROTOBUF_TYPE  # which knows no empty lists
    body = call.request.body
    asked = textual and b"managedFields" in body and "managedFields" not in metadata
    if asked and _EMPTIED.search(body):
        _keep_emptied(call, metadata)
    return found.obj


def _keep_emptied(call: Call, metadata: JSON) -> None:
    """An empty managedFields is a request, which decoding drops like any empty list."""
    read = yamldoc.load if call.content_type == codec.YAML_TYPE else codec.load_json
    written = read(call.request.body).get("metadata")
    if isinstance(written, dict) and written.get("managedFields") == []:
        metadata["managedFields"] = []


def decode_options(call: Call) -> JSON:
    """DeleteOptions in a body; {} without one. Raises ApiError."""
    body = call.request.body
    if not body:
        return {}
    return api.decode_as(call.content_type, body, "v1", "DeleteOptions", codec.IGNORE).obj


def check_patch_type(call: Call) -> str:
    """The patch's media type; one that can apply to nothing is refused whether or not its object
    exists. Raises ApiError 415.
    """
    return api.check_patch_type(call.kind, call.content_type)


def configuration(call: Call, kind: Kind[Any] | None = None) -> JSON:
    """The configuration of a server-side apply; ``kind`` when it is not the call's own.

    Names that stand twice are refused or warned of; unknown fields are the merge's business.
    Raises ApiError BadRequest.
    """
    kind = kind or call.kind
    validation = field_validation(call)
    body = call.request.body
    duplicates: list[str] = []
    try:
        config = _read_configuration(body)
        structure.check_depth(config, _MAX_DEPTH)
    except (codec.JsonError, yamldoc.YamlError, structure.StructureError) as error:
        raise ApiError("BadRequest", f"error decoding patch: {error}") from None
    if validation != codec.IGNORE and body[:1] == b"{":
        duplicates = codec.duplicate_fields(body, config)
    config = check_config(config, kind.api_version, kind.kind)
    if duplicates:
        names = "\n".join(
            f'  line 1: key "{path.rpartition(".")[2]}" already set in map' for path in duplicates
        )
        why = f"yaml: unmarshal errors:\n{names}"
        if validation == codec.STRICT:
            raise ApiError("BadRequest", f"error strict decoding patch: {why}")
        call.warnings[:] = [why]
    return config


_MAX_DEPTH = 100


def _read_configuration(body: bytes) -> Any:
    """JSON is YAML too, and read faster as what it is."""
    if body[:1] == b"{":
        try:
            return codec.load_json(body)
        except codec.JsonError:
            pass  # perhaps a flow mapping
    return yamldoc.load(body)


_STATUS_TAKES = ("apiVersion", "kind", "metadata", "status")
"""What of an object /status looks at; the registry takes the rest from what is stored."""


def patched(call: Call, current: JSON, kind: Kind[Any] | None = None) -> JSON:
    """``current`` with the request's patch applied; ``kind`` when it is not the call's own.

    Raises ApiError.
    """
    body = call.request.body
    validation = field_validation(call)
    taken = None
    if call.subresource == "status" and kind is None and kinds.judged(call.kind) is call.kind:
        taken = _STATUS_TAKES
    found = api.apply_patch(
        kind or call.kind, call.content_type, current, body, validation, taken=taken
    )
    call.warnings[:] = found.warnings
    found.obj.setdefault("metadata", {})
    return found.obj
