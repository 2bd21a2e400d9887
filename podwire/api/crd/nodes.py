"""The structural part of a schema, compiled: which fields there are, what they default to.

Source: apiextensions-apiserver pkg/apiserver/schema (structural.go, convert.go).
"""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.view import JSON

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
META = frozenset(("apiVersion", "kind", "metadata"))
"""Fields that every resource has, whatever its schema says."""


class Node:
    """One place of a schema. ``additional`` is None for ``additionalProperties: true``: values are
    kept, whatever is inside them is not known.
    """

    __slots__ = (
        "additional",
        "any_name",
        "default",
        "default_bytes",
        "defaulted",
        "embedded",
        "embeds",
        "fills",
        "has_default",
        "items",
        "keys",
        "list_type",
        "nullable",
        "preserve",
        "properties",
        "unique",
    )

    def __init__(self, schema: JSON) -> None:
        self.preserve = bool(schema.get(PRESERVE))
        self.embedded = bool(schema.get(EMBEDDED))
        self.nullable = bool(schema.get("nullable"))
        self.default: Any = schema.get("default")
        self.has_default = self.default is not None
        self.default_bytes = len(msgspec.json.encode(self.default)) if self.has_default else 0
        self.properties = {
            name: Node(inner) for name, inner in (schema.get("properties") or {}).items()
        }
        additional = schema.get("additionalProperties")
        self.any_name = additional is not None
        """Whether fields that ``properties`` does not name are known."""
        self.additional = Node(additional) if isinstance(additional, dict) else None
        items = schema.get("items")
        self.items = Node(items) if isinstance(items, dict) else None
        self.defaulted = {
            name: (node.default, node.nullable, node.default_bytes)
            for name, node in self.properties.items()
            if node.has_default
        }
        below = [*self.properties.values(), *(n for n in (self.additional, self.items) if n)]
        self.fills: bool = bool(self.defaulted) or any(n.fills or n.has_default for n in below)
        """Whether there are defaults below."""
        self.embeds: bool = self.embedded or any(node.embeds for node in below)
        """Whether there are embedded resources here or below."""
        self.list_type: str = schema.get("x-kubernetes-list-type", "")
        self.keys: list[str] = schema.get("x-kubernetes-list-map-keys") or []
        self.unique: bool = self.list_type in {"set", "map"} or any(n.unique for n in below)
        """Whether there are lists here or below whose items are unique."""


def root(schema: JSON) -> Node:
    """The schema of a whole object, whose metadata is nobody's but the API's."""
    node = Node(schema)
    node.embedded = True
    return node
