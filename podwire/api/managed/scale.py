"""One object's entries as its scale subresource sees them, and back.

Source: apimachinery pkg/util/managedfields/scalehandler.go.
"""

from __future__ import annotations

from podwire.api.managed import fields as sets
from podwire.api.managed.fields import Fields
from podwire.api.managed.managers import (
    Entries,
    Manager,
    changed,
    identity,
    made,
    ordered,
    owned_by,
)
from podwire.api.view import JSON

VERSION = "autoscaling/v1"
REPLICAS = sets.of_paths([("f:spec", "f:replicas")])
"""The field of Scale, and of every kind that has one in Kubernetes' own API."""


def to_scale(entries: Entries, replicas: Fields = REPLICAS) -> Entries:
    """Entries that own ``replicas`` (of the parent), owning just those of the Scale."""
    return [
        changed(entry, REPLICAS) for entry in entries if sets.contains(owned_by(entry), replicas)
    ]


def to_parent(
    entries: Entries,
    before: Entries,
    after: Entries,
    api_version: str,
    replicas: Fields = REPLICAS,
) -> Entries:
    """The parent's entries: whoever lost the replicas of the Scale loses them here.

    ``before`` is to_scale(entries), ``after`` what a write to the Scale made of it.
    """
    kept = {identity(entry): entry for entry in after}
    owners = [identity(entry) for entry in before]
    found: list[JSON] = []
    for entry in entries:
        name = identity(entry)
        if name not in owners or kept.pop(name, None) is not None:
            found.append(entry)
        elif left := sets.difference(owned_by(entry), replicas):
            found.append(changed(entry, left))
    for entry in kept.values():
        by = Manager(
            entry["manager"], entry["operation"], api_version, entry.get("subresource", "")
        )
        found = [other for other in found if identity(other) != by.identity]
        found.append(made(by, replicas, ""))
    return ordered(found)
