"""Owners and what they own, looked up in informers (for the shells)."""

from __future__ import annotations

from typing import Any, TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client.informer import Informer
from podwire.controllers.common import owned_by_kind

T = TypeVar("T", bound=Object)


def owner_key(item: Object | None, owners: Informer[Any], kind: Kind[Any]) -> str:
    """The key of the object's controller if it is of that kind and still the same, else ''."""
    reference = owned_by_kind(item, kind)
    if item is None or reference is None:
        return ""
    owner = owners.get(item.metadata.namespace, reference.name)
    return owner.key if owner is not None and owner.metadata.uid == reference.uid else ""


def own_and_orphans(informer: Informer[T], owner: Object) -> list[T]:
    """What an owner has, and what nobody has in its namespace; needs the index ``owner``."""
    return [
        *informer.by_index("owner", owner.metadata.uid),
        *informer.by_index("owner", f"orphan/{owner.metadata.namespace}"),
    ]
