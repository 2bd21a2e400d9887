"""Cells of Deployments, ReplicaSets, StatefulSets, DaemonSets, ControllerRevisions and Jobs."""

from __future__ import annotations

from typing import Any

from podwire.api.times import parse_time
from podwire.api.views import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from podwire.apiserver.tables.words import (
    NONE,
    containers,
    human_duration,
    labels,
    selector,
    since,
)


def deployment(view: Deployment, now_ns: int) -> list[Any]:
    """Ready of desired, updated, available."""
    status = view.status
    return [
        view.metadata.name,
        f"{status.ready_replicas}/{view.spec.replicas}",
        str(status.updated_replicas),
        str(status.available_replicas),
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def replica_set(view: ReplicaSet, now_ns: int) -> list[Any]:
    """Desired, current, ready."""
    return [
        view.metadata.name,
        view.spec.replicas,
        view.status.replicas,
        view.status.ready_replicas,
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def stateful_set(view: StatefulSet, now_ns: int) -> list[Any]:
    """Ready of desired."""
    return [
        view.metadata.name,
        f"{view.status.ready_replicas}/{view.spec.replicas}",
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
    ]


def daemon_set(view: DaemonSet, now_ns: int) -> list[Any]:
    """Desired, current, ready, up-to-date, available."""
    status = view.status
    return [
        view.metadata.name,
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled,
        status.number_available,
        labels(view.spec.template.spec.get("nodeSelector") or {}),
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def controller_revision(view: ControllerRevision, now_ns: int) -> list[Any]:
    """The controller is printed as resource/name."""
    owner = view.metadata.controller()
    named = NONE
    if owner is not None:
        group = owner.api_version.partition("/")[0]
        named = f"{owner.kind.lower()}.{group}/{owner.name}"
    age = since(view.metadata.creation_timestamp, now_ns)
    return [view.metadata.name, named, str(view.revision), age]


def job(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Completions and duration, from the whole object (Jobs are stored only)."""
    spec, status, meta = body.get("spec", {}), body.get("status", {}), body["metadata"]
    conditions = {c["type"] for c in status.get("conditions") or [] if c.get("status") == "True"}
    state = next((s for s in ("Complete", "Failed", "Suspended") if s in conditions), "Running")
    wanted = spec.get("completions", 1)
    duration = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        end_ns = parse_time(end) if end else now_ns
        duration = human_duration((end_ns - parse_time(status["startTime"])) // 10**9)
    return [
        meta["name"],
        state,
        f"{status.get('succeeded', 0)}/{wanted}",
        duration,
        since(meta["creationTimestamp"], now_ns),
        *containers(spec.get("template", {}).get("spec", {})),
        labels((spec.get("selector") or {}).get("matchLabels") or {}),
    ]
