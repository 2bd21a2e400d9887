"""Field errors: their reasons, their texts, and the 422 answer that lists them.

Source: apimachinery pkg/util/validation/field (errors.go) and pkg/api/errors NewInvalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause

NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"


def show(value: Any) -> str:
    """A bad value as errors print it: strings quoted, objects as compact JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class Errors:
    """Collects the field errors of one object, in the order they are found."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def _add(self, reason: str, path: str, text: str, detail: str) -> None:
        message = f"{text}: {detail}" if detail else text
        self.causes.append(Cause(reason, message, path))

    def required(self, path: str, detail: str = "") -> None:
        """A value is missing."""
        self._add("FieldValueRequired", path, "Required value", detail)

    def invalid(self, path: str, value: Any, detail: str) -> None:
        """A value is malformed or out of bounds."""
        self._add("FieldValueInvalid", path, f"Invalid value: {show(value)}", detail)

    def type_invalid(self, path: str, value: Any, detail: str) -> None:
        """``invalid`` about a value of the wrong type."""
        self._add("FieldValueTypeInvalid", path, f"Invalid value: {show(value)}", detail)

    def omitted(self, path: str, detail: str) -> None:
        """``invalid`` about a value that is not shown."""
        self._add("FieldValueInvalid", path, "Invalid value", detail)

    def complaints(self, path: str, value: Any, details: Iterable[str]) -> None:
        """One ``invalid`` per complaint of a syntax check."""
        for detail in details:
            self.invalid(path, value, detail)

    def forbidden(self, path: str, detail: str) -> None:
        """A value is not permitted here or now."""
        self._add("FieldValueForbidden", path, "Forbidden", detail)

    def duplicate(self, path: str, value: Any) -> None:
        """A value that must be unique is not."""
        self._add("FieldValueDuplicate", path, f"Duplicate value: {show(value)}", "")

    def not_found(self, path: str, value: Any, detail: str = "") -> None:
        """A value refers to something that is not there."""
        self._add("FieldValueNotFound", path, f"Not found: {show(value)}", detail)

    def unsupported(self, path: str, value: Any, supported: Sequence[str]) -> None:
        """A value is none of an enumeration."""
        listed = ", ".join(show(item) for item in supported)
        text = f"Unsupported value: {show(value)}"
        self._add("FieldValueNotSupported", path, text, f"supported values: {listed}")

    def one_of(self, path: str, value: Any, supported: Sequence[str]) -> None:
        """``unsupported`` unless the value is in the enumeration."""
        if value not in supported:
            self.unsupported(path, value, supported)

    def too_long(self, path: str, limit: int) -> None:
        """A text has too many bytes."""
        detail = f"may not be more than {limit} byte{'' if limit == 1 else 's'}"
        self._add("FieldValueTooLong", path, "Too long", detail)

    def too_many(self, path: str, count: int, limit: int) -> None:
        """A list has too many items."""
        detail = f"must have at most {limit} item{'' if limit == 1 else 's'}"
        self._add("FieldValueTooMany", path, f"Too many: {count}", detail)

    def not_negative(self, path: str, value: Any) -> None:
        """``invalid`` when a number is below zero."""
        if value is not None and value < 0:
            self.invalid(path, value, NEGATIVE)

    def immutable(self, path: str, new: Any, old: Any) -> None:
        """``invalid`` when a value changed."""
        if new != old:
            self.invalid(path, new, IMMUTABLE)


def invalid_error(kind: Kind[Any], name: str, causes: Sequence[Cause]) -> ApiError:
    """The 422 that lists field errors.

    ``Deployment.apps "x" is invalid: spec.replicas: Invalid value: -1: ...``; several in brackets.
    """
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name, "kind": kind.kind}
    if kind.group:
        details["group"] = kind.group
    return ApiError(
        "Invalid", f'{qualified} "{name}" is invalid: {listed}', 0, details, tuple(causes)
    )
