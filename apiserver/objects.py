"""Bodies of calls through ``podwire.api``: decoding, patching, warnings."""

from __future__ import annotations

from typing import Any

from podwire.api import codec
from podwire.api import objects as api
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.calls import Call

_VALIDATIONS = (codec.IGNORE, codec.WARN, codec.STRICT)


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
    return decode_as(call, kind.api_version, kind.kind)


def decode_as(call: Call, api_version: str, kind: str) -> JSON:
    """The request's body as a kind that need not be served by itself (Scale, Binding)."""
    found = api.decode_as(
        call.content_type, call.request.body, api_version, kind, field_validation(call)
    )
    call.warnings += found.warnings
    found.obj.setdefault("metadata", {})
    return found.obj


def decode_options(call: Call) -> JSON:
    """DeleteOptions in a body; {} without one. Raises ApiError."""
    body = call.request.body
    if not body:
        return {}
    return api.decode_as(call.content_type, body, "v1", "DeleteOptions", codec.IGNORE).obj


def check_patch_type(call: Call) -> None:
    """Refuse a patch that can apply to nothing, whether or not its object exists. ApiError 415."""
    api.check_patch_type(call.kind, call.content_type)


def patched(call: Call, current: JSON, kind: Kind[Any] | None = None) -> JSON:
    """``current`` with the request's patch applied; ``kind`` when it is not the call's own.

    Raises ApiError.
    """
    body = call.request.body
    validation = field_validation(call)
    found = api.apply_patch(kind or call.kind, call.content_type, current, body, validation)
    call.warnings[:] = found.warnings
    found.obj.setdefault("metadata", {})
    return found.obj
