"""Validation per kind: upstream's field paths and messages for the kinds that podwire models.

``validate`` expects an object that was decoded and defaulted; it returns every complaint.
Source of the behaviour: kubernetes pkg/apis/*/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.status import Cause
from podwire.api.validation import meta
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.view import JSON

__all__ = ["Errors", "invalid_error", "validate", "validate_metadata"]

Check = Callable[[Errors, JSON, JSON | None], None]


def validate(kind: Kind[Any], new: JSON, old: JSON | None = None) -> list[Cause]:
    """Everything wrong with an object (as the successor of ``old``), in upstream's order."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    check = _BY_KIND.get(kind)
    if check is not None:
        check(errors, new, old)
    return errors.causes


def validate_metadata(kind: Kind[Any], new: JSON, old: JSON | None = None) -> list[Cause]:
    """Everything wrong with an object's metadata."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    return errors.causes


def _metadata(errors: Errors, kind: Kind[Any], new: JSON, old: JSON | None) -> None:
    meta.metadata(errors, kind, new["metadata"])
    if old is not None:
        meta.metadata_update(errors, new["metadata"], old["metadata"])


_BY_KIND: dict[Kind[Any], Check] = {}
