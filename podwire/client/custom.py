"""The kinds of CustomResourceDefinitions as clients learn of them: one informer tells which there
are, who follows all kinds is told when one comes or goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api.kinds import Kind, Subresource
from podwire.api.views import CustomResourceDefinition, Object
from podwire.client.informer import Informer

Added = Callable[[Kind[Any]], None]


class CustomKinds:
    """Kinds of established definitions, in one served version each (the stored one if it is)."""

    def __init__(self, definitions: Informer[CustomResourceDefinition]) -> None:
        self._kinds: dict[str, Kind[Any]] = {}
        self._groups: dict[str, str] = {}
        """Names of definitions by group and kind."""
        self._added: list[Added] = []
        self._gone: list[Added] = []
        definitions.on_change(self._changed)

    def all(self) -> list[Kind[Any]]:
        """What there is now, by the names of the definitions."""
        return [self._kinds[name] for name in sorted(self._kinds)]

    def by_gvk(self, api_version: str, kind: str) -> Kind[Any] | None:
        """The kind of an owner reference, whatever version it names."""
        group = api_version.rpartition("/")[0]
        name = self._groups.get(f"{group}/{kind}")
        return self._kinds.get(name) if name is not None else None

    def follow(self, added: Added, gone: Added) -> None:
        """Be told of every kind that is there or comes, and of every one that goes."""
        self._added.append(added)
        self._gone.append(gone)
        for kind in self.all():
            added(kind)

    def _changed(
        self, old: CustomResourceDefinition | None, new: CustomResourceDefinition | None
    ) -> None:
        about = new if new is not None else old
        assert about is not None
        name = about.metadata.name
        made = _kind(new) if new is not None and new.is_true("Established") else None
        had = self._kinds.get(name)
        if had is not None and made is not None and _same(had, made):
            return
        if had is not None:
            del self._kinds[name]
            self._groups.pop(f"{had.group}/{had.kind}", None)
            for tell in self._gone:
                tell(had)
        if made is not None:
            self._kinds[name] = made
            self._groups[f"{made.group}/{made.kind}"] = name
            for tell in self._added:
                tell(made)


def _kind(definition: CustomResourceDefinition) -> Kind[Any] | None:
    """None when no version is served."""
    spec, names = definition.spec, definition.status.accepted_names
    served = [version for version in spec.versions if version.served]
    stored = [version for version in served if version.storage]
    if not served or not names.plural:
        return None
    version = (stored or served)[0]
    parts = {}
    if version.subresources.get("scale") is not None:
        verbs = ("get", "patch", "update")
        parts["scale"] = Subresource("scale", "Scale", verbs, "autoscaling/v1")
    return Kind(
        Object, spec.group, version.name, names.kind, names.plural, names.singular,
        spec.scope == "Namespaced", parts=parts,
    )  # fmt: skip


def _same(one: Kind[Any], two: Kind[Any]) -> bool:
    return (one.api_version, one.kind, one.plural, one.subresources) == (
        two.api_version, two.kind, two.plural, two.subresources
    )  # fmt: skip
