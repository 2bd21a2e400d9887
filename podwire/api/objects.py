"""The counter of this room for the API server: from bytes to an object fit to be stored.

The life of a write, and who does what::

    body --decode--> obj        syntax, types, unknown fields           (here, 400/415)
    obj  --registry--> obj      name from generateName, namespace, uid, timestamps
    obj  --default--> obj                                               (here)
    obj  --registry--> obj      owners of fields, admission, status rules
    obj  --check_create--> obj  validation                              (here, 422)
    obj  --registry--> stored   allocation, revision

    patch --apply_patch--> obj  the patch on the stored object, checked (here, 400/415/422)
    obj   --default, check_update--> obj   the same against the old object

``obj`` belongs to the caller: default fills in in place. ``old`` is only read. All raise ApiError
and nothing else.
"""

from __future__ import annotations

from typing import Any

from podwire.api import defaults, kinds, validation
from podwire.api.codec import Decoded, check, decode, decode_as
from podwire.api.crd.coercion import DefaultsTooLargeError
from podwire.api.defaults.pod import default_pod_status
from podwire.api.defaults.service import keep_allocated
from podwire.api.kinds import Kind
from podwire.api.patch import apply_patch, check_patch_type
from podwire.api.status import ApiError, Cause
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON

__all__ = [
    "Decoded",
    "apply_patch",
    "check",
    "check_create",
    "check_patch_type",
    "check_update",
    "decode",
    "decode_as",
    "default",
]


_CHECKED_BY_PARTS = ("ephemeralcontainers", "resize")
"""Subresources that may change what an update may not; of the rest of the object nothing."""


_TOO_LARGE = "etcdserver: request is too large"
"""Upstream finds out when it stores the object."""


def default(kind: Kind[Any], new: JSON, old: JSON | None = None, subresource: str = "") -> None:
    """Fill in what decoding fills in upstream, in place; ``old`` is what ``new`` replaces."""
    if old is not None and kind is kinds.SERVICE and not subresource:
        keep_allocated(new, old)
    if kind.custom is not None:
        try:
            kind.custom.fill(new)
        except DefaultsTooLargeError:
            raise ApiError("RequestEntityTooLarge", _TOO_LARGE) from None
    elif kind is kinds.POD and old is not None and new["spec"] is old["spec"]:
        default_pod_status(new["status"])
    else:
        defaults.apply(kind, new)


def check_create(kind: Kind[Any], obj: JSON, asked: Kind[Any] | None = None) -> None:
    """Hold a new, defaulted object of the stored ``kind`` to its rules, and to those of the version
    that was ``asked``. Raises ApiError Invalid (422) with all causes.
    """
    if kind.custom is not None:
        causes = kind.custom.complaints(kind, obj, None, "")
    else:
        causes = validation.validate(kind, obj, None, asked)
    _demand_none(kind, obj, causes)


def check_update(
    kind: Kind[Any], new: JSON, old: JSON, subresource: str = "", asked: Kind[Any] | None = None
) -> None:
    """The same for a defaulted successor of ``old``.

    ``subresource`` ``status`` checks metadata and what is reported; some are checked by their
    parts (apiserver/registry/parts.py) and have metadata checked only.
    """
    if kind.custom is not None:
        causes = kind.custom.complaints(kind, new, old, subresource)
    elif subresource == "status":
        causes = validation.validate_status(kind, new, old)
    elif subresource in _CHECKED_BY_PARTS:
        causes = validation.validate_metadata(kind, new, old)
    else:
        causes = validation.validate(kind, new, old, asked)
    _demand_none(kind, new, causes)


def _demand_none(kind: Kind[Any], obj: JSON, causes: list[Cause]) -> None:
    if causes:
        raise invalid_error(kind, obj["metadata"].get("name", ""), causes)
