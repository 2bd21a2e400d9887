"""The counter of this room for the API server: from bytes to an object fit to be stored.

The life of a write, and who does what::

    body --decode--> obj        syntax, types, unknown fields           (here, 400/415)
    obj  --registry--> obj      name from generateName, namespace, uid, timestamps, status rules
    obj  --prepare_create--> obj    defaults, then validation           (here, 422)
    obj  --registry--> stored   admission, allocation, revision

    patch --apply_patch--> obj  the patch on the stored object, checked (here, 400/415/422)
    obj   --prepare_update--> obj   defaults and validation against the old object

``obj`` belongs to the caller: prepare_* fill in defaults in place and return it. ``old`` is only
read. All raise ApiError and nothing else.
"""

from __future__ import annotations

from typing import Any

from podwire.api import defaults, kinds, validation
from podwire.api.codec import Decoded, check, decode, decode_as
from podwire.api.defaults.service import keep_allocated
from podwire.api.kinds import Kind
from podwire.api.patch import apply_patch, check_patch_type
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON

__all__ = [
    "Decoded",
    "apply_patch",
    "check",
    "check_patch_type",
    "decode",
    "decode_as",
    "prepare_create",
    "prepare_update",
]


def prepare_create(kind: Kind[Any], obj: JSON) -> JSON:
    """A new object with its defaults, valid. Raises ApiError Invalid (422) with all causes."""
    defaults.apply(kind, obj)
    return _valid(kind, obj, validation.validate(kind, obj))


def prepare_update(kind: Kind[Any], new: JSON, old: JSON, subresource: str = "") -> JSON:
    """A changed object with its defaults, valid as the successor of ``old``.

    ``subresource`` ``status`` checks metadata and what is reported.
    Raises ApiError Invalid (422) with all causes.
    """
    if kind is kinds.SERVICE and not subresource:
        keep_allocated(new, old)
    defaults.apply(kind, new)
    if subresource == "status":
        return _valid(kind, new, validation.validate_status(kind, new, old))
    return _valid(kind, new, validation.validate(kind, new, old))


def _valid(kind: Kind[Any], obj: JSON, causes: list[Any]) -> JSON:
    if causes:
        raise invalid_error(kind, obj["metadata"].get("name", ""), causes)
    return obj
