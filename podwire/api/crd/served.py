"""Kinds made of a CustomResourceDefinition."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api.crd import objects, ownership
from podwire.api.crd.coercion import DefaultsTooLargeError, coerced, fill, read_metadata
from podwire.api.crd.nodes import Node, root
from podwire.api.crd.values import Check
from podwire.api.kinds import ALL_VERBS, Kind, Subresource
from podwire.api.managed.plans import Step, schemaless
from podwire.api.status import Cause
from podwire.api.structure import StructureError, check_depth, describe
from podwire.api.view import JSON
from podwire.api.views import Object

if TYPE_CHECKING:
    from podwire.api.cel.rules import Rules

MAX_DEPTH = 100
"""How deep custom objects may nest."""
_PART_VERBS = ("get", "patch", "update")


class Custom:
    """What one version of a definition says of its objects. What is made of the schema is made
    when it is first needed.
    """

    def __init__(self, definition: Definition, version: JSON) -> None:
        self.definition = definition
        self.version: str = version["name"]
        self.served: bool = version.get("served", False)
        self.schema: JSON | None = (version.get("schema") or {}).get("openAPIV3Schema")
        subresources = version.get("subresources") or {}
        self.has_status = subresources.get("status") is not None
        self.scale: JSON | None = subresources.get("scale")
        self.columns: list[JSON] | None = version.get("additionalPrinterColumns")
        self.selectable = [
            field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()
        ]
        self.deprecation = _deprecation(definition, version)
        """What every request for this version is warned of, or ''."""
        self.layout: Any = None
        """What tables show of it, once somebody asked (apiserver/tables)."""

    @property
    def by_webhook(self) -> bool:
        """Whether versions are made by a webhook, which has to be asked."""
        return self.definition.conversion.get("strategy") == "Webhook"

    @property
    def stored(self) -> Kind[Any]:
        """The kind of the version that objects are stored in."""
        return self.definition.stored

    @cached_property
    def root(self) -> Node:
        """The structural schema."""
        return root(self.schema or {"x-kubernetes-preserve-unknown-fields": True})

    @cached_property
    def check(self) -> Check:
        """The schema's checks of values."""
        return Check(self.schema or {})

    @cached_property
    def plan(self) -> Step:
        """How fields are owned."""
        return ownership.plan(self.schema) if self.schema else schemaless()

    @cached_property
    def rules(self) -> Rules | None:
        """The schema's rules in CEL, None when it has none."""
        if self.schema is None or not _mentions(self.schema, "x-kubernetes-validations"):
            return None
        # CEL imports validation's words, which import the rules of definitions
        from podwire.api.cel.rules import compile_rules  # noqa: PLC0415

        return compile_rules(self.schema)

    # ------------------------------------------------------------ decoding

    def decoded(self, raw: JSON) -> tuple[JSON, list[str]]:
        """An object of a request's body, and its unknown fields. ``raw`` is not changed.

        Raises StructureError.
        """
        check_depth(raw, MAX_DEPTH)
        for name in ("apiVersion", "kind"):
            if not isinstance(raw.get(name, ""), str):
                given = describe(raw[name])
                raise StructureError(f"json: cannot unmarshal {given} into Go value of type string")
        metadata, unknown = read_metadata(raw.get("metadata"))
        unknown = [f"metadata.{field}" for field in unknown]
        found, pruned = coerced(raw, self.root)
        found["metadata"] = metadata
        return found, unknown + pruned

    def fill(self, obj: JSON) -> None:
        """Put the defaults in, in place. Raises DefaultsTooLargeError."""
        if self.root.fills:
            fill(obj, self.root)

    def complaints(
        self, kind: Kind[Any], new: JSON, old: JSON | None, subresource: str
    ) -> list[Cause]:
        """Everything wrong with an object, as the successor of ``old``."""
        return objects.complaints(kind, self, new, old, subresource)

    def warnings(self, new: JSON, old: JSON | None) -> list[str]:
        """What a write is warned of: finalizers that are not qualified by a domain."""
        return objects.finalizer_warnings(new, old)


def _mentions(schema: JSON | None, word: str) -> bool:
    return schema is not None and word.encode() in msgspec.json.encode(schema)


class Definition:
    """A CustomResourceDefinition whose names are accepted, and its kinds: one for each version that
    is served or stored.
    """

    def __init__(self, obj: JSON) -> None:
        spec, names = obj["spec"], obj["status"]["acceptedNames"]
        self.uid: str = obj["metadata"]["uid"]
        self.name: str = obj["metadata"]["name"]
        self.group: str = spec["group"]
        self.plural: str = names["plural"]
        self.kind: str = names["kind"]
        self.namespaced: bool = spec["scope"] == "Namespaced"
        self.conversion: JSON = spec.get("conversion") or {"strategy": "None"}
        self.terminating = is_true(obj, "Terminating") or bool(
            obj["metadata"].get("deletionTimestamp")
        )
        self.established = is_true(obj, "Established")
        self.versions: list[JSON] = spec["versions"]
        self.converted: dict[bytes, bytes] = {}
        """What a webhook made of values that are stored in other versions than the present one."""
        stored = next(v["name"] for v in self.versions if v.get("storage"))
        made = [
            self._made(version, names, stored)
            for version in sorted(self.versions, key=lambda v: version_rank(v["name"]))
            if version.get("served") or version["name"] == stored
        ]
        self.kinds: dict[str, Kind[Any]] = {kind.version: kind for kind in made}
        """By version, the preferred one first."""
        self.stored = self.kinds[stored]

    @property
    def served(self) -> list[Kind[Any]]:
        """The kinds that requests may name."""
        return [k for k in self.kinds.values() if k.custom is not None and k.custom.served]

    def _made(self, version: JSON, names: JSON, stored: str) -> Kind[Any]:
        custom = Custom(self, version)
        parts = {}
        if custom.has_status:
            parts["status"] = Subresource("status", self.kind, _PART_VERBS)
        if custom.scale is not None:
            parts["scale"] = Subresource("scale", "Scale", _PART_VERBS, "autoscaling/v1")
        return Kind(
            Object, self.group, custom.version, self.kind, self.plural, names["singular"],
            self.namespaced, tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            ALL_VERBS, parts, True, False,
            f"{self.group}/{stored}/{self.kind}", names["listKind"], custom,
        )  # fmt: skip


def is_true(definition: JSON, condition: str) -> bool:
    """Whether a condition of a definition holds."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(c["type"] == condition and c["status"] == "True" for c in conditions)


def version_rank(version: str) -> tuple[int, int, int, str]:
    """A key that sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1alpha1, others.

    Source: apimachinery pkg/version/helpers.go.
    """
    major, stage, minor = _parts(version)
    if stage is None:
        return (3, 0, 0, version)
    return (stage, -major, -minor, version)


def _parts(version: str) -> tuple[int, int | None, int]:
    digits = version.removeprefix("v")
    if digits == version:
        return 0, None, 0
    for stage, word in ((1, "beta"), (2, "alpha")):
        major, found, minor = digits.partition(word)
        if found:
            fit = major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()
            return (int(major), stage, int(minor)) if fit else (0, None, 0)
    return (int(digits), 0, 0) if digits.isascii() and digits.isdigit() else (0, None, 0)


def _deprecation(definition: Definition, version: JSON) -> str:
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        told: str = version["deprecationWarning"]
        return told
    name = version["name"]
    message = f"{definition.group}/{name} {definition.kind} is deprecated"
    better = [
        v["name"]
        for v in definition.versions
        if v.get("served")
        and not v.get("deprecated")
        and version_rank(v["name"]) < version_rank(name)
    ]
    if better:
        newest = min(better, key=version_rank)
        message += f"; use {definition.group}/{newest} {definition.kind}"
    return message


def served_version(value: bytes) -> str:
    """The version in which stored bytes are: ``apiVersion`` comes first in them."""
    end = value.index(b'"', _OPENING)
    return value[_OPENING:end].decode().rpartition("/")[2]


_OPENING = len(b'{"apiVersion":"')


def _fill_for_reading(custom: Custom, obj: JSON) -> None:
    """What is stored can be read, even if defaults that came later make too much of it."""
    with suppress(DefaultsTooLargeError):
        custom.fill(obj)


def shown(kind: Kind[Any], obj: JSON) -> JSON:
    """A stored object, in whatever version it was written, as ``kind`` shows it: pruned and
    defaulted by the schema it was written with, then by that of ``kind``. ``obj`` is used up.

    Versions are converted by their name alone (strategy None).
    """
    custom = kind.custom
    assert custom is not None, f"{kind} is custom"
    written = custom.definition.kinds.get(obj["apiVersion"].rpartition("/")[2])
    if written is not None and written.custom is not None and written is not kind:
        obj, _ = coerced(obj, written.custom.root, lenient=True)
        _fill_for_reading(written.custom, obj)
    obj, _ = coerced(obj, custom.root, lenient=True)
    _fill_for_reading(custom, obj)
    obj["apiVersion"] = kind.api_version
    obj["metadata"].setdefault("generation", 1)
    return obj
