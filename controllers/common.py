"""What several controllers decide alike: pods' states, owner references, conditions, patches.

Pure. Source: kubernetes pkg/controller/controller_utils.go, controller_ref_manager.go and
pkg/api/v1/pod/util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from podwire.api.kinds import Kind
from podwire.api.selectors import Selector
from podwire.api.times import NS, format_time, parse_time
from podwire.api.view import JSON, to_json
from podwire.api.views import Condition, Object, OwnerReference, Pod, PodTemplate
from podwire.client.effects import Announce, Effect, Patch

BURST_REPLICAS = 500
"""Most creations or deletions of one pass (upstream's BurstReplicas)."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@lru_cache(maxsize=8192)  # the same few moments are compared over and over
def since_epoch(text: str) -> int:
    """Nanoseconds of a timestamp; 0 when it is absent."""
    return parse_time(text) if text else 0


def next_tick(origin_ns: int, period_ns: int, at_ns: int) -> int:
    """The first tick of a period that is not before a moment; ``origin_ns`` is a tick."""
    return at_ns + (origin_ns - at_ns) % period_ns


def pod_active(pod: Pod) -> bool:
    """Whether the pod counts: not finished and not being deleted."""
    return not pod.metadata.deletion_timestamp and pod.status.phase not in {"Succeeded", "Failed"}


def pod_ready_ns(pod: Pod) -> int | None:
    """Since when the pod is Ready; None when it is not."""
    condition = pod.condition("Ready")
    if condition is None or condition.status != "True":
        return None
    return since_epoch(condition.last_transition_time)


def pod_available_in_ns(pod: Pod, min_ready_s: int, now_ns: int) -> int | None:
    """Nanoseconds until the pod counts as available (0: it does); None while it is not Ready, or
    Ready since nobody knows when.
    """
    if not min_ready_s:
        return 0 if pod.ready else None
    ready_ns = pod_ready_ns(pod)
    if not ready_ns:
        return None
    return max(0, ready_ns + min_ready_s * NS - now_ns)


def pod_available(pod: Pod, min_ready_s: int, now_ns: int) -> bool:
    """Whether the pod has been Ready for ``min_ready_s``."""
    return pod_available_in_ns(pod, min_ready_s, now_ns) == 0


def next_available_s(pods: Iterable[Pod], min_ready_s: int, now_ns: int) -> float | None:
    """Seconds until the next Ready pod becomes available, if one is on the way."""
    if not min_ready_s:
        return None
    waits = (pod_available_in_ns(pod, min_ready_s, now_ns) for pod in pods)
    left = [wait for wait in waits if wait]
    return min(left) / NS if left else None


def scaled(value: int | str, total: int, *, round_up: bool) -> int:
    """An int-or-percent value of a total. Raises ValueError for other texts."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: {value!r}")
    product = int(value[:-1]) * total
    return -(-product // 100) if round_up else product // 100


def safe_hash(content: Any, collisions: int = 0) -> str:
    """A name-safe FNV-1a hash of JSON content, in the form of pod-template-hash.

    Upstream hashes Go's dump of the typed template; ours hashes canonical JSON, so the texts
    differ from a real cluster's while behaving alike.
    """
    data = msgspec.json.encode(content, order="deterministic")
    if collisions:
        data += str(collisions).encode()
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))


# ---------------------------------------------------------------- ownership


def owner_json(owner: Object, kind: Kind[Any]) -> JSON:
    """The controller reference to an owner."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def references(item: Object) -> list[JSON]:
    """The owner references of an object as JSON."""
    return [to_json(reference) for reference in item.metadata.owner_references]


def owner_index(item: Object) -> tuple[str]:
    """Index function: the controller's uid, or ``orphan/<namespace>``."""
    reference = item.metadata.controller()
    return (reference.uid if reference else f"orphan/{item.metadata.namespace}",)


def owned_by_kind(item: Object | None, kind: Kind[Any]) -> OwnerReference | None:
    """The controller reference, if it is of that kind."""
    reference = item.metadata.controller() if item is not None else None
    if reference is None or reference.kind != kind.kind:
        return None
    group = reference.api_version.rpartition("/")[0]
    return reference if group == kind.group else None


@dataclass(frozen=True, slots=True)
class Claimed:
    """What an owner claims: its objects, and the patches that adopt and release."""

    items: list[Any]
    effects: list[Effect]


def claim(
    owner: Object,
    owner_kind: Kind[Any],
    kind: Kind[Any],
    selector: Selector,
    candidates: Iterable[Object],
    *,
    finalizer: str = "",
) -> Claimed:
    """Adopt matching orphans, release owned objects that match no longer (ref manager).

    ``finalizer`` comes with adoption and goes with release.
    """
    items: list[Any] = []
    effects: list[Effect] = []
    dying = bool(owner.metadata.deletion_timestamp)
    uid, matching = owner.metadata.uid, selector.matches
    for item in candidates:
        meta = item.metadata
        reference = meta.controller()
        matches = matching(meta.labels)
        if reference is not None:
            if reference.uid != uid:
                continue
            if matches:
                items.append(item)
            elif not dying:
                rest = [r for r in references(item) if r.get("uid") != owner.metadata.uid]
                effects.append(_set_owners(kind, item, rest, finalizer, adopt=False))
        elif matches and not dying and not meta.deletion_timestamp:
            mine = [*references(item), owner_json(owner, owner_kind)]
            effects.append(_set_owners(kind, item, mine, finalizer, adopt=True))
            items.append(item)
    return Claimed(items, effects)


def _set_owners(
    kind: Kind[Any], item: Object, owners: list[JSON], finalizer: str, *, adopt: bool
) -> Patch:
    meta = item.metadata
    patch: JSON = {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "ownerReferences": owners or None,
    }
    if finalizer and adopt != (finalizer in meta.finalizers):
        rest = [name for name in meta.finalizers if name != finalizer]
        patch["finalizers"] = [*rest, finalizer] if adopt else rest or None
    return Patch(kind, meta.name, {"metadata": patch}, meta.namespace, missing_ok=True)


def template_json(template: PodTemplate) -> JSON:
    """A pod template as JSON (labels, annotations, spec)."""
    meta = template.metadata
    fields = {"labels": meta.labels, "annotations": meta.annotations}
    return {"metadata": {k: dict(v) for k, v in fields.items() if v}, "spec": template.spec}


def pod_from_template(template: JSON, owner: Object, owner_kind: Kind[Any]) -> JSON:
    """A pod body with generateName from a template, owned by ``owner``."""
    name = owner.metadata.name
    meta = template.get("metadata", {})
    return {
        "metadata": {
            "generateName": f"{name}-",
            **{k: dict(meta[k]) for k in ("labels", "annotations") if meta.get(k)},
            **({"finalizers": meta["finalizers"]} if meta.get("finalizers") else {}),
            "ownerReferences": [owner_json(owner, owner_kind)],
        },
        "spec": template.get("spec", {}),
    }


def pod_words(owner: Object, verb: str) -> Announce:
    """The events about an owner's pod that was to be created or deleted (PodControl)."""
    if verb == "create":
        done = ("SuccessfulCreate", "Created pod: {name}")
        return Announce(owner, done, ("FailedCreate", "Error creating: {error}"))
    done = ("SuccessfulDelete", "Deleted pod: {name}")
    return Announce(owner, done, ("FailedDelete", "Error deleting: {error}"))


# ---------------------------------------------------------------- status


def condition_json(
    type: str, status: str, reason: str, message: str, now_ns: int, *, updated: bool = False
) -> JSON:
    """A fresh condition; ``updated`` adds lastUpdateTime (Deployments)."""
    now = format_time(now_ns)
    fields = {
        "type": type,
        "status": status,
        "lastUpdateTime": now if updated else "",
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    return {name: value for name, value in fields.items() if value}


def set_condition(conditions: list[JSON], new: JSON) -> None:
    """Put a condition into a list as upstream does.

    Same status and reason: nothing changes. Same status: the transition time stays.
    """
    for i, old in enumerate(conditions):
        if old["type"] == new["type"]:
            if old["status"] == new["status"]:
                if old.get("reason") == new.get("reason"):
                    return
                new = {**new, "lastTransitionTime": old.get("lastTransitionTime")}
            del conditions[i]
            break
    conditions.append(new)


def conditions_json(conditions: Sequence[Condition]) -> list[JSON]:
    """Conditions of a view as JSON."""
    return [to_json(condition) for condition in conditions]


def status_patch(
    kind: Kind[Any], item: Object, old: JSON, wanted: Mapping[str, Any], required: tuple[str, ...]
) -> list[Effect]:
    """The status patch that makes ``old`` (a view, defaults omitted) into ``wanted``, if any.

    Zero values are removed as Go's omitempty does, except ``required`` ones.
    """
    changed: JSON = {}
    for name, value in wanted.items():
        kept = value if value not in (0, "", None, []) else None
        if old.get(name) != kept:
            changed[name] = kept
    if not changed:
        return []
    for name in required:
        if not wanted.get(name):
            changed[name] = 0
    meta = item.metadata
    return [
        Patch(
            kind,
            meta.name,
            {"metadata": {"uid": meta.uid}, "status": changed},
            meta.namespace,
            subresource="status",
            missing_ok=True,
        )
    ]


def disruption_target(pod: Pod, reason: str, message: str, now_ns: int) -> JSON:
    """The condition that says why a pod is ended for its node's sake."""
    condition: JSON = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(now_ns),
    }
    if pod.metadata.generation:
        condition["observedGeneration"] = pod.metadata.generation
    return condition
