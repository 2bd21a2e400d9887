"""Columns of custom objects: those that their definition names, else Name and Age.

Source: apiextensions-apiserver pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.api.crd.jsonpath import Path, PathError, printed
from podwire.api.times import TimeError
from podwire.api.view import JSON
from podwire.apiserver.tables.words import since

if TYPE_CHECKING:
    from podwire.api.crd.served import Custom
    from podwire.apiserver.tables.columns import Column

_AGE: JSON = {
    "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
    "description": "CreationTimestamp is a timestamp representing the server time when this object "
    "was created. It is not guaranteed to be set in happens-before order across separate "
    "operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC."
    "\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
}  # fmt: skip


def cells(custom: Custom, column: type[Column]) -> tuple[list[Column], Callable[..., list[Any]]]:
    """The columns and what fills a row of them; those behind a path that cannot be read are left
    out.
    """
    columns = [column("Name", "string", "name")]
    paths: list[tuple[Path, str]] = []
    for told in custom.columns or [_AGE]:
        text = told["jsonPath"]
        try:
            path = Path(text)
        except PathError:
            break
        described = told.get("description") or (
            f"Custom resource definition column (in JSONPath format): {text}"
        )
        columns.append(
            column(
                told["name"], told["type"], told.get("format", ""), told.get("priority", 0),
                described,
            )
        )  # fmt: skip
        paths.append((path, told["type"]))

    def fill(obj: JSON, now_ns: int) -> list[Any]:
        row: list[Any] = [obj["metadata"]["name"]]
        for path, type_ in paths:
            found = path.find(obj)
            row.append(_cell(found[0], type_, now_ns) if found else None)
        return row

    return columns, fill


def _cell(value: Any, type_: str, now_ns: int) -> Any:
    if value is None:
        return None
    if type_ == "string":
        return printed(value)
    if type_ == "integer" and value.__class__ in {int, float}:
        return int(value)
    if type_ == "number" and value.__class__ in {int, float}:
        return value
    if type_ == "boolean" and value.__class__ is bool:
        return value
    if type_ == "date" and value.__class__ is str:
        try:
            return since(value, now_ns)
        except TimeError:
            return "<invalid>"
    return None
