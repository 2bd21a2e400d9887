"""What to delete, what to report, when to finalize (pure).

Source: kubernetes pkg/controller/namespace/deletion. Pods go first, so that what guards them
(NetworkPolicies) outlives them; nothing else is deleted, or told to remain, before the last has
gone. Upstream looks again after half of the pods' grace; here what vanishes brings the next look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.times import NS
from podwire.api.view import JSON
from podwire.api.views import Namespace, Object, Pod
from podwire.client.effects import Delete, Effect, Patch, Replace
from podwire.controllers.common import condition_json, conditions_json, since_epoch

FINALIZER = "kubernetes"


@dataclass(frozen=True, slots=True)
class Content:
    """What a namespace still holds of one kind, as just listed."""

    kind: Kind[Any]
    items: Sequence[Object]


def stage(contents: Sequence[Content]) -> Sequence[Content]:
    """What is deleted now: pods as long as there are any, then the rest."""
    return [found for found in contents if found.kind is kinds.POD and found.items] or contents


def deletions(contents: Sequence[Content]) -> list[Effect]:
    """Delete what is not being deleted yet."""
    return [
        Delete(
            found.kind,
            item.metadata.name,
            item.metadata.namespace,
            uid=item.metadata.uid,
            propagation_policy="Background",
        )
        for found in contents
        for item in found.items
        if not item.metadata.deletion_timestamp
    ]


def overdue_s(namespace: Namespace, contents: Sequence[Content], now_ns: int) -> float | None:
    """Seconds until pods that still stand there are unexpected (0: they are); None without such.

    Their grace counts from the namespace's deletion (estimateGracefulTermination); finalizers
    explain any delay.
    """
    pods = [pod for found in contents for pod in found.items if isinstance(pod, Pod)]
    if not pods or any(pod.metadata.finalizers for pod in pods):
        return None
    alive = [pod for pod in pods if pod.status.phase not in {"Succeeded", "Failed"}]
    grace_s = max((pod.spec.termination_grace_period_seconds for pod in alive), default=0)
    began_ns = since_epoch(namespace.metadata.deletion_timestamp)
    return max(0.0, grace_s - (now_ns - began_ns) / NS)


def only_events(contents: Sequence[Content]) -> bool:
    """Whether nothing but Events is left (nobody watches those, so the next pass is at once)."""
    return bool(contents) and all(found.kind is kinds.EVENT for found in contents)


@dataclass(frozen=True, slots=True)
class Failures:
    """What of extension servers nobody could find out; nothing ends before that is known."""

    discovery: Mapping[str, str] = field(default_factory=dict)
    """Why, by group version."""
    content: Sequence[str] = ()
    """Why collections could not be listed."""

    def __bool__(self) -> bool:
        return bool(self.discovery or self.content)


NONE = Failures()


def report(
    namespace: Namespace, contents: Sequence[Content], now_ns: int, failures: Failures = NONE
) -> list[Effect]:
    """The status conditions that say what is left; ``contents``: what is deleted now."""
    old = conditions_json(namespace.status.conditions)
    told = _failed(failures) | _conditions(namespace, contents, now_ns)
    fresh = updated(old, told, now_ns)
    if fresh == old and namespace.status.phase == "Terminating":
        return []
    meta = namespace.metadata
    patch = {
        "metadata": {"uid": meta.uid},
        "status": {"phase": "Terminating", "conditions": fresh},
    }
    return [Patch(kinds.NAMESPACE, meta.name, patch, subresource="status", missing_ok=True)]


Words = tuple[str, str, str]
"""Status, reason, message."""
_OK: dict[str, Words] = {
    "NamespaceDeletionDiscoveryFailure": (
        "False", "ResourcesDiscovered", "All resources successfully discovered",
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "False", "ParsedGroupVersions", "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "False", "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": (
        "False", "ContentRemoved", "All content successfully removed",
    ),
    "NamespaceFinalizersRemaining": (
        "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished",
    ),
}  # fmt: skip


def updated(old: Sequence[JSON], told: Mapping[str, Words], now_ns: int) -> list[JSON]:
    """The conditions with what is ``told``; of the others the words for "all is well".

    What keeps its status keeps its time (updateConditions).
    """
    found = {condition["type"]: condition for condition in old}
    for type_, ok in _OK.items():
        status, reason, message = told.get(type_, ok)
        have = found.get(type_, {})
        made = condition_json(type_, status, reason, message, now_ns)
        if have.get("status") == status:
            made["lastTransitionTime"] = have.get("lastTransitionTime")
        found[type_] = made
    return list(found.values())


def _failed(failures: Failures) -> dict[str, Words]:
    said: dict[str, Words] = {}
    if failures.discovery:
        groups = ", ".join(f"{gv}: {failures.discovery[gv]}" for gv in sorted(failures.discovery))
        what = (
            f"Discovery failed for some groups, {len(failures.discovery)} failing: "
            f"unable to retrieve the complete list of server APIs: {groups}"
        )
        said["NamespaceDeletionDiscoveryFailure"] = ("True", "DiscoveryFailed", what)
    if failures.content:
        number, why = len(failures.content), ", ".join(sorted(failures.content))
        what = f"Failed to delete all resource types, {number} remaining: {why}"
        said["NamespaceDeletionContentFailure"] = ("True", "ContentDeletionFailed", what)
    return said


def _conditions(namespace: Namespace, contents: Sequence[Content], now_ns: int) -> dict[str, Words]:
    if any(found.kind is kinds.POD for found in contents):
        if overdue_s(namespace, contents, now_ns) != 0:
            return {}
        why = f"unexpected items still remain in namespace: {namespace.metadata.name} for gvr: "
        what = f"Failed to delete all resource types, 1 remaining: {why}/v1, Resource=pods"
        return {"NamespaceDeletionContentFailure": ("True", "ContentDeletionFailed", what)}
    # What has no finalizer is gone as soon as it is deleted.
    left: dict[str, int] = {}
    finalizers: dict[str, int] = {}
    for found in contents:
        for item in found.items:
            for name in item.metadata.finalizers:
                finalizers[name] = finalizers.get(name, 0) + 1
            if item.metadata.finalizers:
                name = f"{found.kind.plural}.{found.kind.group}"
                left[name] = left.get(name, 0) + 1
    return remaining(left, finalizers)


def remaining(left: Mapping[str, int], finalizers: Mapping[str, int]) -> dict[str, Words]:
    """What to say of resources (``plural.group``) and finalizers that are left, by number."""
    said: dict[str, Words] = {}
    if left:
        items = ", ".join(f"{name} has {left[name]} resource instances" for name in sorted(left))
        what = f"Some resources are remaining: {items}"
        said["NamespaceContentRemaining"] = ("True", "SomeResourcesRemain", what)
    if finalizers:
        items = ", ".join(f"{n} in {finalizers[n]} resource instances" for n in sorted(finalizers))
        what = f"Some content in the namespace has finalizers remaining: {items}"
        said["NamespaceFinalizersRemaining"] = ("True", "SomeFinalizersRemain", what)
    return said


def finalize(namespace: Namespace) -> list[Effect]:
    """Take our finalizer off by the finalize subresource."""
    if FINALIZER not in namespace.spec.finalizers:
        return []
    meta = namespace.metadata
    body: JSON = {
        "metadata": {"name": meta.name, "uid": meta.uid},
        "spec": {"finalizers": [f for f in namespace.spec.finalizers if f != FINALIZER]},
    }
    return [Replace(kinds.NAMESPACE, body, "finalize", missing_ok=True)]
