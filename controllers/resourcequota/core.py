"""What a quota counts, and what it has counted (pure).

Source: kubernetes pkg/controller/resourcequota. The bounds themselves are held by admission
(apiserver/admission/resource_quota.py), which counts for itself on each write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podwire.api import kinds, quotas
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object, Pod, ResourceQuota
from podwire.client.effects import Effect, Patch

_PODS = ("pods", "cpu", "memory", "ephemeral-storage")
_ENDED = ("Succeeded", "Failed")
COUNTABLE = tuple(k for k in kinds.STORED if k.namespaced and "list" in k.verbs)


def hard(quota: ResourceQuota) -> JSON:
    """spec.hard."""
    found: JSON = quota.spec.get("hard") or {}
    return found


def concerns(quota: ResourceQuota, kind: Kind[Any]) -> bool:
    """Whether the quota bounds something that objects of a kind use."""
    return any(_names(name, kind) for name in hard(quota))


def _names(name: str, kind: Kind[Any]) -> bool:
    if name == f"count/{kind.resource}":
        return True
    if kind.group:
        return False
    prefix, _, rest = name.partition(".")
    if kind is kinds.POD:
        storage = name == "requests.storage" or name.endswith("persistentvolumeclaims")
        pods = name in _PODS or name.startswith("hugepages-")
        return pods or (prefix in {"requests", "limits"} and bool(rest) and not storage)
    if kind.plural == "persistentvolumeclaims":
        return name in {kind.plural, "requests.storage"} or ".storageclass.storage.k8s.io/" in name
    return name == kind.plural or (kind is kinds.SERVICE and prefix == "services")


def matters(kind: Kind[Any], old: Object | None, new: Object | None) -> bool:
    """Whether a change of an object can change what is used."""
    if old is None or new is None:
        return True
    if isinstance(old, Pod) and isinstance(new, Pod):
        ended = (old.status.phase in _ENDED) != (new.status.phase in _ENDED)
        return ended or old.metadata.generation != new.metadata.generation
    return kind is kinds.SERVICE or kind.plural == "persistentvolumeclaims"


def used(
    quota: ResourceQuota, objects: Iterable[tuple[Kind[Any], JSON]], now_ns: int
) -> dict[str, int]:
    """What the objects use of everything that is bounded, in nano units."""
    total = dict.fromkeys(sorted(hard(quota)), 0)
    body = {"spec": quota.spec}
    for kind, item in objects:
        uses = quotas.usage(kind, item, now_ns)
        names = [name for name in total if name in uses]
        if names and quotas.counts(body, kind, item):
            for name in names:
                total[name] += uses[name]
    return total


def reconcile(quota: ResourceQuota, total: dict[str, int]) -> list[Effect]:
    """Write status.hard and status.used where they differ."""
    wanted: JSON = {
        "hard": dict(hard(quota)),
        "used": {name: quotas.show(name, nano) for name, nano in total.items()},
    }
    have = {name: quota.status.get(name) or {} for name in wanted}
    if have == wanted:
        return []
    status = {
        name: {**dict.fromkeys(key for key in have[name] if key not in values), **values}
        for name, values in wanted.items()
    }
    meta = quota.metadata
    patch = {"metadata": {"uid": meta.uid}, "status": status}
    return [
        Patch(kinds.RESOURCE_QUOTA, meta.name, patch, meta.namespace, "status", missing_ok=True)
    ]
