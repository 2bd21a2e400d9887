"""What selectors ask of an entry, answered from its view where that is cheap.

Which fields are selectable is decided in ``podwire.api.field_selectors``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api import field_selectors, kinds, selectors
from podwire.api.kinds import Kind
from podwire.apiserver.cache.entry import Entry

Getter = Callable[[Entry], str]

_META: dict[str, Getter] = {
    "metadata.name": lambda entry: entry.name,
    "metadata.namespace": lambda entry: entry.namespace,
}

_FAST: dict[Kind[Any], dict[str, Getter]] = {
    kinds.POD: {
        "spec.nodeName": lambda entry: entry.view.spec.node_name,
        "status.phase": lambda entry: entry.view.status.phase,
        "status.podIP": lambda entry: entry.view.status.pod_ip,
    },
    kinds.EVENT: {
        "involvedObject.kind": lambda entry: entry.view.involved_object.kind,
        "involvedObject.namespace": lambda entry: entry.view.involved_object.namespace,
        "involvedObject.name": lambda entry: entry.view.involved_object.name,
        "involvedObject.uid": lambda entry: entry.view.involved_object.uid,
    },
}


def getter(kind: Kind[Any], field: str) -> Getter:
    """How to read a selectable field of a kind."""
    if kind.custom is not None and field not in _META:
        return lambda entry: field_selectors.text_of(entry.json(), field)
    fast = _META.get(field) or _FAST.get(kind, {}).get(field)
    if fast is not None:
        return fast
    return lambda entry: field_selectors.field_of(entry.json(), field)


TRIGGERS: dict[Kind[Any], dict[str, Getter]] = {
    kind: {"metadata.name": _META["metadata.name"]} for kind in kinds.ALL
}
"""Fields by which watchers are indexed, so an event does not ask every kubelet's watch."""

_BY_NAME = {"metadata.name": _META["metadata.name"]}


def triggers(kind: Kind[Any]) -> dict[str, Getter]:
    """Those of a kind."""
    return _BY_NAME if kind.custom is not None else TRIGGERS.get(kind, {})


TRIGGERS[kinds.POD]["spec.nodeName"] = _FAST[kinds.POD]["spec.nodeName"]


class Selection:
    """A label and a field selector together. Raises ApiError BadRequest for bad ones."""

    def __init__(self, kind: Kind[Any], labels: str, fields: str) -> None:
        self.kind = kind
        self.labels = selectors.parse(labels)
        self.fields = field_selectors.parse_fields(fields, kind)
        self._tests = [(getter(kind, r.field), r.value, r.equal) for r in self.fields.requirements]

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered out."""
        return self.labels.everything and self.fields.everything

    def demand_name(self, name: str) -> None:
        """Also demand ``metadata.name`` (a watch on one object's path)."""
        self.fields = field_selectors.FieldSelector(
            (field_selectors.FieldRequirement("metadata.name", name), *self.fields.requirements)
        )
        self._tests.append((_META["metadata.name"], name, True))

    def matches(self, entry: Entry) -> bool:
        """Whether an object is selected."""
        for get, value, equal in self._tests:
            if (get(entry) == value) is not equal:
                return False
        labels = self.labels
        return labels.everything or labels.matches(entry.view.metadata.labels)

    def scope(self, namespace: str) -> tuple[str, str, str]:
        """The narrowest scope a watch with this selection can be registered in."""
        for field in triggers(self.kind):
            value = self.fields.exact(field)
            if value:
                return (namespace, field, value)
        return (namespace, "", "")
