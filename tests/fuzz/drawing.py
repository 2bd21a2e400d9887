"""What requests of every family are drawn from: kinds, names, objects, queries."""

from __future__ import annotations

import random
from typing import Any, NamedTuple
from urllib.parse import quote

from podwire.api import kinds, schema
from podwire.api.kinds import Kind
from tests.fuzz.values import Wild
from tests.samples import sample

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
NAMES = ("a", "b", "c")
"""Few, so that the store does not grow with the number of requests."""
PARAMETERS = (
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector",
    "fieldSelector",
    "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "force", "pretty",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "includeObject", "verbose",
    "sendInitialEvents", "allowWatchBookmarks", "tailLines", "sinceSeconds", "container",
)  # fmt: skip


class Asked(NamedTuple):
    """One request; ``family`` says what is tried with it."""

    family: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


def target_of(path: str, query: dict[str, str] | None = None) -> str:
    text = "&".join(
        f"{quote(key)}={quote(value, errors='replace')}" for key, value in (query or {}).items()
    )
    return f"{path}?{text}" if text else path


class Drawing:
    """Draws parts of requests from ``rng``, which all families share."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.wild = Wild(rng)
        self.kinds = [kind for kind in kinds.STORED if "create" in kind.verbs]

    def kind(self) -> Kind[Any]:
        return self.rng.choice(self.kinds)

    def object(self, kind: Kind[Any]) -> Any:
        """A good object spoilt, or one made by the table of types."""
        obj = sample(kind, self.rng.choice(NAMES))
        if self.rng.random() < 0.3:
            return obj
        type_ = schema.type_of(kind)
        if type_ is None or self.rng.random() < 0.4:
            return self.wild.broken(obj)
        made = self.wild.struct(type_)
        if self.rng.random() < 0.8:
            for key in ("metadata", "apiVersion", "kind"):
                made.pop(key, None)
        spec = (
            {**obj.get("spec", {}), **made["spec"]} if isinstance(made.get("spec"), dict) else None
        )
        return {**obj, **made, **({"spec": spec} if spec and self.rng.random() < 0.7 else {})}

    def collection(self, kind: Kind[Any]) -> str:
        return kind.path("default" if kind.namespaced else "")

    def named(self, kind: Kind[Any], part: str = "") -> str:
        return kind.path("default" if kind.namespaced else "", self.rng.choice(NAMES), part)

    def query_of(self, *, dry: float = 0.3) -> dict[str, str]:
        query = {"dryRun": "All"} if self.rng.random() < dry else {}
        while self.rng.random() < 0.3:
            query[self.rng.choice(PARAMETERS)] = self.rng.choice(
                (self.wild.text(), "1", "true", "0", "a")
            )
        return query
