"""What decoding does to a custom object: unknown fields and idle nulls go, metadata of embedded
resources is read as such, defaults are filled in.

Source: apiextensions-apiserver pkg/apiserver (customresource_handler.go: unstructuredSchemaCoercer)
and pkg/apiserver/schema (pruning, defaulting, objectmeta).
"""

from __future__ import annotations

from typing import Any

from podwire.api import structure
from podwire.api.crd.nodes import META, Node
from podwire.api.schema import type_named
from podwire.api.structure import StructureError, fresh
from podwire.api.validation.field import show
from podwire.api.view import JSON

_Path = tuple[Any, ...] | None
"""(path above, name or index), None at the root."""


def coerced(obj: JSON, root: Node, *, lenient: bool = False) -> tuple[JSON, list[str]]:
    """The object without what its schema does not know, and the paths of that, sorted.

    ``obj`` is not changed; its own apiVersion, kind and metadata are left as they are. ``lenient``
    drops embedded metadata that cannot be read. Raises StructureError.
    """
    walk = _Walk(lenient=lenient)
    found = {name: obj[name] for name in obj if name in META}
    rest = {name: value for name, value in obj.items() if name not in META}
    found |= walk.fields(rest, root, None, keep=root.preserve)
    return found, sorted(walk.unknown)


class _Walk:
    """One pass over an object."""

    __slots__ = ("lenient", "unknown")

    def __init__(self, *, lenient: bool) -> None:
        self.lenient = lenient
        self.unknown: list[str] = []

    def value(self, value: Any, node: Node | None, path: _Path, *, keep: bool) -> Any:
        """``keep``: what is not known here stays."""
        if value.__class__ is dict:
            if node is None:
                if keep:
                    return value
                self.unknown += [_text((path, name)) for name in value]
                return {}
            return self.fields(value, node, path, keep=keep or node.preserve)
        if value.__class__ is list:
            if node is None and keep:
                return value
            inner = node.items if node is not None else None
            keep = keep or (node is not None and node.preserve)
            return [self.value(item, inner, (path, i), keep=keep) for i, item in enumerate(value)]
        return value

    def fields(self, value: JSON, node: Node, path: _Path, *, keep: bool) -> JSON:
        """The fields of a map that are known."""
        found: JSON = {}
        properties = node.properties
        for name, item in value.items():
            if node.embedded and name in META and path is not None:
                self._embedded(found, name, item, path)
                continue
            inner = properties.get(name)
            if inner is None:
                if not node.any_name:
                    if keep:
                        found[name] = item
                    else:
                        self.unknown.append(_text((path, name)))
                    continue
                inner = node.additional
            if item is None and inner is not None and not inner.nullable and not inner.has_default:
                continue
            if item.__class__ is dict or item.__class__ is list:
                item = self.value(item, inner, (path, name), keep=False)  # noqa: PLW2901
            found[name] = item
        return found

    def _embedded(self, found: JSON, name: str, value: Any, path: _Path) -> None:
        """apiVersion, kind or metadata of a resource within the object."""
        if name != "metadata":
            if value.__class__ is not str:
                if self.lenient:
                    return
                raise StructureError(
                    f"{_text((path, name))}: Invalid value: {show(value)}: must be a string"
                )
            found[name] = value
            return
        try:
            metadata, unknown = read_metadata(value)
        except StructureError as error:
            if not self.lenient:
                where = _text((path, name))
                raise StructureError(f"{where}: Invalid value: {show(value)}: {error}") from None
            return
        self.unknown += [f"{_text((path, name))}.{field}" for field in unknown]
        found[name] = metadata


def read_metadata(value: Any) -> tuple[JSON, list[str]]:
    """Metadata as Go decodes it, and its unknown fields. Raises StructureError."""
    if value is None:
        return {}, []
    return structure.check(type_named("meta.v1.ObjectMeta"), value)


def _text(path: _Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(f"[{part}]" if part.__class__ is int else f".{part}")
    return "".join(reversed(parts)).removeprefix(".")


class DefaultsTooLargeError(ValueError):
    """Defaults within defaults came to more than any object may have."""


MAX_DEFAULTS_BYTES = 8 * 1024 * 1024
_EACH_BYTES = 32


def fill(value: Any, node: Node) -> bool:
    """Put in the defaults, in place; whether anything was put in.

    Lists of defaults multiply what a small definition says, so they have a sum, far above what can
    be stored. Raises DefaultsTooLargeError, with the defaults of the sum put in.
    """
    filling = _Filling()
    filling.run(value, node)
    return filling.left < MAX_DEFAULTS_BYTES


class _Filling:
    """One object that defaults are put into."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_DEFAULTS_BYTES

    def _new(self, default: Any, size_bytes: int) -> Any:
        self.left -= size_bytes + _EACH_BYTES
        if self.left < 0:
            raise DefaultsTooLargeError
        return fresh(default)

    def run(self, value: Any, node: Node) -> None:
        """Put in the defaults of a value."""
        if value.__class__ is dict:
            self._fields(value, node)
        elif value.__class__ is list and node.items is not None:
            items = node.items
            for i, item in enumerate(value):
                if item is None and not items.nullable and items.has_default:
                    value[i] = self._new(items.default, items.default_bytes)
                if items.fills:
                    self.run(value[i], items)

    def _fields(self, value: JSON, node: Node) -> None:
        for name, (default, nullable, size_bytes) in node.defaulted.items():
            if name not in value or (value[name] is None and not nullable):
                value[name] = self._new(default, size_bytes)
        additional = node.additional
        for name, item in value.items():
            inner = node.properties.get(name)
            if inner is None:
                inner = additional
                if inner is None:
                    continue
                if item is None and not inner.nullable and inner.has_default:
                    item = value[name] = self._new(inner.default, inner.default_bytes)  # noqa: PLW2901
            if inner.fills:
                self.run(item, inner)
