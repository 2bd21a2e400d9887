"""The seam to ``podwire.api``: decoding, defaulting, validation and patching of bodies."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.calls import Call


def decode(call: Call, kind: Kind[Any]) -> JSON:
    """The request's body as an object of ``kind``; warnings go to the call.

    Raises ApiError BadRequest, UnsupportedMediaType.
    """
    try:
        body = msgspec.json.decode(call.request.body)
    except msgspec.DecodeError as error:
        raise ApiError("BadRequest", f"couldn't decode body: {error}") from None
    if not isinstance(body, dict):
        raise ApiError("BadRequest", "couldn't get version/kind; json parse error")
    body.setdefault("apiVersion", kind.api_version)
    body.setdefault("kind", kind.kind)
    body.setdefault("metadata", {})
    return body


def decode_as(call: Call, api_version: str, kind: str) -> JSON:
    """The request's body as a kind that is not served by itself (Scale, Binding)."""
    body: JSON = msgspec.json.decode(call.request.body)
    return body


def patched_as(call: Call, current: JSON) -> JSON:
    """``current`` with the request's patch applied, for kinds not served by themselves."""
    merged: JSON = _merge(current, msgspec.json.decode(call.request.body))
    return merged


def decode_options(call: Call) -> JSON:
    """DeleteOptions in a body; {} without one."""
    body = msgspec.json.decode(call.request.body) if call.request.body else {}
    return body if isinstance(body, dict) else {}


def prepare_create(kind: Kind[Any], obj: JSON) -> None:
    """Default and validate a new object in place. Raises ApiError Invalid."""


def prepare_update(kind: Kind[Any], new: JSON, old: JSON, subresource: str) -> None:
    """Default and validate a changed object in place. Raises ApiError Invalid."""


def patched(call: Call, current: JSON) -> JSON:
    """``current`` with the request's patch applied. Raises ApiError."""
    if call.content_type != "application/merge-patch+json":
        raise ApiError("UnsupportedMediaType", "only merge patches so far")
    merged: JSON = _merge(current, msgspec.json.decode(call.request.body))
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result
