"""What to delete, what to report, when to finalize (pure).

Source: kubernetes pkg/controller/namespace/deletion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Namespace, Object
from podwire.client.effects import Delete, Effect, Patch, Replace
from podwire.controllers.common import condition_json, conditions_json

FINALIZER = "kubernetes"


@dataclass(frozen=True, slots=True)
class Content:
    """What a namespace still holds of one kind, as just listed."""

    kind: Kind[Any]
    items: Sequence[Object]


def deletions(contents: Sequence[Content]) -> list[Effect]:
    """Delete whatever is not being deleted yet."""
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
    """The status conditions that say what is left."""
    old = {c["type"]: c for c in conditions_json(namespace.status.conditions)}
    fresh = dict(old)
    for words in _conditions(contents, failures):
        condition = condition_json(*words, now_ns)
        have = old.get(words[0], {})
        if any(have.get(name) != condition[name] for name in ("status", "reason", "message")):
            fresh[words[0]] = condition
    if fresh == old and namespace.status.phase == "Terminating":
        return []
    meta = namespace.metadata
    patch = {
        "metadata": {"uid": meta.uid},
        "status": {"phase": "Terminating", "conditions": list(fresh.values())},
    }
    return [Patch(kinds.NAMESPACE, meta.name, patch, subresource="status", missing_ok=True)]


def _conditions(contents: Sequence[Content], failures: Failures) -> list[tuple[str, str, str, str]]:
    left = [found for found in contents if found.items]
    remaining = ", ".join(
        f"{found.kind.resource} has {len(found.items)} resource instances"
        if found.kind.group
        else f"{found.kind.plural}. has {len(found.items)} resource instances"
        for found in left
    )
    finalizers: dict[str, int] = {}
    for found in left:
        for item in found.items:
            for name in item.metadata.finalizers:
                finalizers[name] = finalizers.get(name, 0) + 1
    waiting = ", ".join(f"{n} in {finalizers[n]} resource instances" for n in sorted(finalizers))
    failed = ", ".join(sorted(failures.content))
    groups = ", ".join(f"{gv}: {failures.discovery[gv]}" for gv in sorted(failures.discovery))
    return [
        (
            "NamespaceDeletionDiscoveryFailure", "True", "DiscoveryFailed",
            (
                f"Discovery failed for some groups, {len(failures.discovery)} failing: "
                f"unable to retrieve the complete list of server APIs: {groups}"
            ),
        )
        if failures.discovery
        else (
            "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure", "True", "ContentDeletionFailed",
            f"Failed to delete all resource types, {len(failures.content)} remaining: {failed}",
        )
        if failures.content
        else (
            "NamespaceDeletionContentFailure", "False", "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain",
         f"Some resources are remaining: {remaining}")
        if left
        else ("NamespaceContentRemaining", "False", "ContentRemoved",
              "All content successfully removed"),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain",
         f"Some content in the namespace has finalizers remaining: {waiting}")
        if finalizers
        else ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers",
              "All content-preserving finalizers finished"),
    ]  # fmt: skip


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
