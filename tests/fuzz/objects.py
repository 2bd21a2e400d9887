"""Objects whole, in parts and patched: what writes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from podwire.api import schema
from tests.fuzz.drawing import JSON, PATCHES, Asked, Drawing, target_of
from tests.samples import sample

KEPT = frozenset(("Namespace", "CustomResourceDefinition", "ServiceAccount"))
"""Kinds without which nothing else could be tried: never deleted all at once."""


class Objects(Drawing):
    """Writes of whole objects."""

    def create(self) -> Asked:
        """POST of an object."""
        kind = self.kind()
        body = self.wild.encoded(self.object(kind))
        return Asked(
            "create",
            "POST",
            target_of(self.collection(kind), self.query_of()),
            {"Content-Type": JSON},
            body,
        )

    def update(self) -> Asked:
        """PUT of an object, which may or may not be there."""
        kind = self.kind()
        body = self.wild.encoded(self.object(kind))
        return Asked(
            "update",
            "PUT",
            target_of(self.named(kind), self.query_of()),
            {"Content-Type": JSON},
            body,
        )

    def subresource(self) -> Asked:
        """Any verb on a part of an object."""
        kind = self.kind()
        part = self.rng.choice((*kind.subresources, "status", "scale", self.wild.text() or "x"))
        method = self.rng.choice(("GET", "PUT", "POST", "PATCH", "DELETE"))
        types = (JSON, *PATCHES.values()) if method == "PATCH" else (JSON,)
        body = b"" if method == "GET" else self.wild.encoded(self.object(kind))
        target = target_of(self.named(kind, quote(part, errors="replace")), self.query_of())
        return Asked("subresource", method, target, {"Content-Type": self.rng.choice(types)}, body)

    def delete(self) -> Asked:
        """DELETE of an object or of a whole collection, with options that may be wrong."""
        kind = self.kind()
        many = self.rng.random() < 0.3
        path = self.collection(kind) if many else self.named(kind)
        if kind.kind in KEPT and many:
            path = self.named(kind)
        options = self.wild.struct(schema.type_named("meta.v1.DeleteOptions"))
        body = self.rng.choice((b"", self.wild.encoded(options)))
        return Asked(
            "delete", "DELETE", target_of(path, self.query_of()), {"Content-Type": JSON}, body
        )


class Patches(Drawing):
    """The four kinds of patches."""

    def patch(self) -> Asked:
        """One of the four kinds of patches."""
        kind, (name, media) = self.kind(), self.rng.choice(list(PATCHES.items()))
        obj = sample(kind, "a")
        if name == "json":
            body: Any = [self._operation(obj) for _ in range(self.rng.randrange(1, 6))]
        elif name == "apply":
            body = self.object(kind)
        else:
            body = self.wild.broken(obj) if self.rng.random() < 0.5 else self.wild.value()
            if isinstance(body, dict) and self.rng.random() < 0.5:
                self._directives(body)
        query = self.query_of()
        if name == "apply" and self.rng.random() < 0.9:
            query = {"fieldManager": self.rng.choice(("f", "g")), "force": "true", **query}
        return Asked(
            f"patch {name}",
            "PATCH",
            target_of(self.named(kind), query),
            {"Content-Type": media},
            self.wild.encoded(body),
        )

    def _operation(self, obj: Any) -> Any:
        verb = self.rng.choice(("add", "remove", "replace", "move", "copy", "test", "x"))
        made = {"op": verb, "path": self.wild.pointer(obj), "from": self.wild.pointer(obj)}
        if self.rng.random() < 0.9:
            made["value"] = self.wild.value()
        if self.rng.random() < 0.05:
            made.pop(self.rng.choice(("op", "path", "from")))
        return made

    def _directives(self, at: Any) -> None:
        """Strategic merge's directives, where they belong and where they do not."""
        places = [at]
        while places:
            here = places.pop()
            inner = here.values() if isinstance(here, dict) else here
            places += [value for value in inner if isinstance(value, dict | list)]
            if isinstance(here, dict) and self.rng.random() < 0.3:
                key = self.rng.choice(
                    (
                        "$patch",
                        "$retainKeys",
                        "$setElementOrder/containers",
                        "$deleteFromPrimitiveList/finalizers",
                        "$setElementOrder/x",
                    )
                )
                here[key] = self.rng.choice(
                    ("delete", "replace", "merge", ["a"], [{"name": "web"}], self.wild.value())
                )
